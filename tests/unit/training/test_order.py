"""The order of the data: a function of (seed, epoch, step), the same for any number of workers and any resume."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inranker.errors import UserError
from inranker.training.order import Order, OrderRules, pieces


def data(count: int = 1000, queries: int = 100, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lengths, positives and groups: ten pairs a query, the first of them positive."""
    random = np.random.default_rng(seed)
    groups = np.arange(count) % queries
    return random.integers(5, 200, count), np.arange(count) < queries, groups


def all_batches(order: Order, steps: int) -> list[list[int]]:
    return [order.batch(step).tolist() for step in range(steps)]


RULES = [
    OrderRules(seed=7, batch_size=32),
    OrderRules(seed=7, batch_size=32, length_window=1),
    OrderRules(seed=7, batch_size=32, negatives_per_positive=1),
    OrderRules(seed=7, batch_size=32, grouped=True),
    OrderRules(seed=7, batch_size=32, negatives_per_positive=2, grouped=True),
]


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_a_batch_depends_on_its_step_alone(rules):
    steps = 80
    forward = all_batches(Order(rules, *data()), steps)
    backward = Order(rules, *data())
    assert [backward.batch(step).tolist() for step in reversed(range(steps))] == forward[::-1]
    assert Order(rules, *data()).batch(57).tolist() == forward[57]


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_an_epoch_holds_every_chosen_pair_and_the_next_one_another_order(rules):
    order = Order(rules, *data())
    first = all_batches(order, order.steps_per_epoch)
    second = [order.batch(order.steps_per_epoch + step).tolist() for step in range(order.steps_per_epoch)]
    assert first != second
    seen = {row for batch in first for row in batch}
    if rules.negatives_per_positive is None:
        assert seen == set(range(1000))
    else:
        assert len(seen) == 100 * (1 + rules.negatives_per_positive)
        assert set(range(100)) <= seen


def test_another_seed_is_another_order():
    one, two = (Order(OrderRules(seed, 32), *data()).batch(0).tolist() for seed in (1, 2))
    assert one != two


def test_resume_sees_exactly_the_batches_that_were_left():
    rules = OrderRules(seed=3, batch_size=48, negatives_per_positive=1)
    undisturbed = all_batches(Order(rules, *data()), 30)
    resumed = Order(rules, *data())
    assert [resumed.batch(step).tolist() for step in range(13, 30)] == undisturbed[13:]


def test_drawn_negatives_are_of_the_same_query_without_repetition_and_change_with_the_epoch():
    lengths, positive, groups = data()
    order = Order(OrderRules(7, 40, negatives_per_positive=3), lengths, positive, groups)
    epochs = []
    for epoch in range(2):
        rows = np.concatenate([order.batch(epoch * order.steps_per_epoch + s) for s in range(order.steps_per_epoch)])
        assert len(rows) == len(set(rows.tolist())) == 400
        negatives = rows[~positive[rows]]
        assert (np.bincount(groups[negatives], minlength=100) == 3).all()
        epochs.append(set(negatives.tolist()))
    assert epochs[0] != epochs[1]


def test_a_query_with_two_positives_gets_twice_the_negatives_and_one_without_enough_gets_all_it_has():
    positive = np.array([True, True, False, False, False, False, True, False])
    groups = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    order = Order(OrderRules(0, 8, negatives_per_positive=2), np.full(8, 9), positive, groups)
    assert sorted(order.batch(0).tolist()) == list(range(8))
    fewer = Order(OrderRules(0, 5, negatives_per_positive=1), np.full(8, 9), positive, groups)
    taken = set(fewer.batch(0).tolist()) | set(fewer.batch(1).tolist())
    assert len(taken & {2, 3, 4, 5}) == 2 and {6, 7} <= taken


def test_grouped_batches_hold_whole_queries():
    lengths, positive, groups = data()
    order = Order(OrderRules(5, 32, grouped=True), lengths, positive, groups)
    for step in range(order.steps_per_epoch):
        rows = order.batch(step)
        assert len(rows) == 30  # three queries of ten fit into 32
        assert (np.bincount(groups[rows])[np.unique(groups[rows])] == 10).all()


def test_a_large_query_takes_no_room_from_the_batches_of_the_others():
    sizes = np.r_[40, 16, np.full(50, 8), np.full(7, 3)]
    groups = np.repeat(np.arange(len(sizes)), sizes)
    random = np.random.default_rng(2)
    lengths, positive = random.integers(5, 200, len(groups)), np.zeros(len(groups), bool)
    order = Order(OrderRules(5, 48, length_window=1, grouped=True), lengths, positive, groups)
    epochs = [
        [order.batch(epoch * order.steps_per_epoch + step) for step in range(order.steps_per_epoch)] for epoch in (0, 1)
    ]
    for batches in epochs:
        assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(len(groups)))
        assert all(
            len(rows) <= 48
            and (np.bincount(groups[rows])[np.unique(groups[rows])] == sizes[np.unique(groups[rows])]).all()
            for rows in batches
        )
    assert order.steps_per_epoch == 11  # 40; 16, four 8s; six 8s, seven times; four 8s, five 3s; two 3s
    assert not all(np.array_equal(a, b) for a, b in zip(*epochs, strict=True))


def test_length_windows_cut_padding_without_sorting_the_epoch():
    lengths, positive, groups = data(6400, 640)

    def padded(window: int) -> float:
        order = Order(OrderRules(1, 32, length_window=window), lengths, positive, groups)
        batches = [order.batch(step) for step in range(order.steps_per_epoch)]
        return sum(lengths[rows].max() * len(rows) for rows in batches) / sum(lengths[rows].sum() for rows in batches)

    assert padded(50) < 1.05 < 1.5 < padded(1)
    order = Order(OrderRules(1, 32, length_window=50), lengths, positive, groups)
    means = [lengths[order.batch(step)].mean() for step in range(order.steps_per_epoch)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.2


@given(
    count=st.integers(1, 70), batch_size=st.integers(1, 40), window=st.integers(1, 5), seed=st.integers(0, 2**31 - 1)
)
def test_batches_are_full_and_cover_everything(count, batch_size, window, seed):
    order = Order(
        OrderRules(seed, batch_size, window), np.arange(count) % 7 + 1, np.ones(count, bool), np.arange(count)
    )
    batches = all_batches(order, order.steps_per_epoch)
    assert all(len(batch) == batch_size for batch in batches)
    assert {row for batch in batches for row in batch} == set(range(count))
    assert len(batches) == -(-count // batch_size)


@given(size=st.integers(1, 64), workers=st.integers(1, 8), accumulation=st.integers(1, 4))
def test_pieces_are_the_batch_whoever_takes_them(size, workers, accumulation):
    rows = np.random.default_rng(size).permutation(size)
    parts = pieces(rows, None, workers * accumulation)
    assert sorted(np.concatenate(parts).tolist()) == sorted(rows.tolist())
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_pieces_of_grouped_batches_hold_whole_queries():
    groups = np.repeat([4, 1, 9, 2, 7], [3, 2, 3, 1, 3])
    parts = pieces(np.arange(12), groups, 2)
    assert [set(groups[part].tolist()) for part in parts] == [{4, 9, 7}, {1, 2}]


def test_errors_say_what_to_do():
    lengths, positive, groups = data()
    with pytest.raises(UserError, match="raise batch_size"):
        Order(OrderRules(1, 8, grouped=True), lengths, positive, groups)
    with pytest.raises(UserError, match="no pair is positive"):
        Order(OrderRules(1, 8, negatives_per_positive=1), lengths, np.zeros(1000, bool), groups)
    with pytest.raises(UserError, match="no pairs to train on"):
        Order(OrderRules(1, 8), np.zeros(0), np.zeros(0, bool), np.zeros(0))
