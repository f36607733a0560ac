"""Losses against numbers worked out by hand, and one set of properties that every entry of the table must have."""

import math

import pytest
import torch

from inranker.errors import UserError
from inranker.losses import LOSSES, Targets, margin, mse_terms

LN3 = math.log(3)  # a margin of ln 3 is P(true) = 3/4


def from_margins(*margins: float) -> torch.Tensor:
    """Logits (−m/2, m/2): what a one-logit model of output m stands for."""
    return torch.tensor([[-m / 2, m / 2] for m in margins])


# teacher logits centred by Eq. 1: (1, 3) -> (−1, 1) and (2, −2) -> (2, −2)
TEACHER = torch.tensor([[1.0, 3.0], [2.0, -2.0]])
STUDENT = torch.tensor([[0.5, 2.0], [-1.0, 1.0]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mse", ((1.5**2 + 1.0**2) + (3.0**2 + 3.0**2)) / 2),  # 10.625
        ("mse_mean", 5.3125),
        ("true_only", (1.0**2 + 3.0**2) / 2),  # 5
    ],
)
def test_squared_losses_equal_hand_computed_numbers(name, expected):
    loss = LOSSES[name](STUDENT, Targets(teacher_logits_B2=TEACHER))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_kl_equals_hand_computed_number():
    # 3/4 ln(3/2) + 1/4 ln(1/2) = 0.130812 and 1/2 ln 2 + 1/2 ln(2/3) = 0.143841
    loss = LOSSES["kl"](from_margins(0, LN3), Targets(teacher_logits_B2=from_margins(LN3, 0) + 5))
    assert loss.item() == pytest.approx((0.1308120 + 0.1438410) / 2, abs=1e-6)


def test_ce_equals_hand_computed_number():
    # −ln 3/4 = 0.287682 for the relevant pair, −ln 1/4 = 1.386294 for the other
    loss = LOSSES["ce"](from_margins(LN3, LN3), Targets(labels_B=torch.tensor([1, 0])))
    assert loss.item() == pytest.approx((0.2876821 + 1.3862944) / 2, abs=1e-6)


def test_pairwise_losses_equal_hand_computed_numbers():
    targets = Targets(from_margins(3, 1, 0, 0, 2), groups_B=torch.tensor([7, 7, 7, 9, 9]))
    student = from_margins(1, 2, 0, 0, 1)
    # query 7: (−1 − 2)², (1 − 3)², (2 − 1)², mean 14/3; query 9: (−1 − −2)² = 1
    assert LOSSES["margin_mse"](student, targets).item() == pytest.approx((14 / 3 + 1) / 2, rel=1e-6)
    # query 7: ln(1 + e^1), ln(1 + e^-1), ln(1 + e^-2); query 9: ln(1 + e^-1)
    expected = ((1.3132617 + 0.3132617 + 0.1269280) / 3 + 0.3132617) / 2
    assert LOSSES["ranknet"](student, targets).item() == pytest.approx(expected, abs=1e-6)


def test_listwise_losses_equal_hand_computed_numbers():
    groups = torch.tensor([1, 1, 2, 2])
    kl = LOSSES["listwise_kl"](from_margins(0, 0, LN3, 0), Targets(from_margins(LN3, 0, 0, 0), groups_B=groups))
    assert kl.item() == pytest.approx((0.1308120 + 0.1438410) / 2, abs=1e-6)
    # soft ranks (1.5, 1.5) and (1.25, 1.75) against (1, 2), discounts 1 and 1 / log2(3)
    rank = LOSSES["adr_mse"](from_margins(0, 0, LN3, 0), Targets(from_margins(1, 0, 1, 0), groups_B=groups))
    expected = ((0.25 + 0.25 / 1.5849625) / 2 + (0.0625 + 0.0625 / 1.5849625) / 2) / 2
    assert rank.item() == pytest.approx(expected, abs=1e-6)


def test_lce_equals_hand_computed_number():
    # query 1: two relevant passages of margin 0, each against the one irrelevant of 0: ln 2; query 2: ln 4/3, its
    # irrelevant ones of −ln 3 · 2 and −ln 3 · 2 + ln 2 weigh 1/9 and 2/9; query 3 has none relevant
    groups, labels = torch.tensor([1, 1, 1, 2, 2, 2, 3]), torch.tensor([1, 0, 1, 1, 0, 0, 0])
    student = from_margins(0, 0, 0, 0, -2 * LN3, -2 * LN3 + math.log(2), 5)
    loss = LOSSES["lce"](student, Targets(labels_B=labels, groups_B=groups))
    assert loss.item() == pytest.approx((math.log(2) + math.log(4 / 3) + 0) / 3, abs=1e-6)


def test_delta_and_s_terms_add_up_to_eq_2():
    targets = Targets(teacher_logits_B2=TEACHER)
    terms = mse_terms(STUDENT, targets)
    # δ = (0.75, 1), x = (1, −2), s = (1.25, 0)
    assert terms["delta"].item() == pytest.approx(2 * (0.25**2 + 3**2) / 2, rel=1e-6)
    assert terms["s"].item() == pytest.approx(2 * 1.25**2 / 2, rel=1e-6)
    assert (terms["delta"] + terms["s"]).item() == pytest.approx(LOSSES["mse"](STUDENT, targets).item(), rel=1e-6)


def test_a_student_that_starts_as_its_own_teacher_has_no_delta_term():
    assert mse_terms(TEACHER, Targets(teacher_logits_B2=TEACHER))["delta"].item() == 0
    assert mse_terms(TEACHER, Targets(teacher_logits_B2=TEACHER))["s"].item() > 0


@pytest.fixture
def batch():
    """Three queries of unequal size; each has one relevant pair, the teacher's best."""
    generator = torch.Generator().manual_seed(3)
    groups = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2])
    teacher = torch.randn(9, 2, generator=generator) * 2
    labels = torch.zeros(9, dtype=torch.int64)
    for query in range(3):
        rows = (groups == query).nonzero().flatten()
        labels[rows[margin(teacher)[rows].argmax()]] = 1
    return torch.randn(9, 2, generator=generator), Targets(teacher, labels, groups)


def take(targets: Targets, rows: torch.Tensor) -> Targets:
    return Targets(targets.teacher_logits_B2[rows], targets.labels_B[rows], targets.groups_B[rows])


@pytest.mark.parametrize("name", LOSSES)
class TestEveryLoss:
    def test_is_a_finite_float32_scalar_with_a_finite_gradient(self, name, batch):
        student, targets = batch[0].to(torch.bfloat16).requires_grad_(), batch[1]
        loss = LOSSES[name](student, targets)
        loss.backward()
        assert loss.shape == () and loss.dtype == torch.float32 and loss.isfinite() and loss >= 0
        assert student.grad.isfinite().all() and student.grad.abs().sum() > 0

    def test_does_not_depend_on_the_order_of_the_batch(self, name, batch):
        student, targets = batch
        rows = torch.randperm(9, generator=torch.Generator().manual_seed(1))
        shuffled = LOSSES[name](student[rows], take(targets, rows))
        assert shuffled.item() == pytest.approx(LOSSES[name](student, targets).item(), rel=1e-5)

    def test_pieces_weighted_by_their_units_add_up_to_the_batch(self, name, batch):
        student, targets = batch
        whole, units = 0.0, 0
        for rows in (torch.arange(4), torch.arange(4, 9)):
            piece = take(targets, rows)
            count = len(rows) if LOSSES[name].unit == "pair" else len(piece.groups_B.unique())
            whole, units = whole + count * LOSSES[name](student[rows], piece).item(), units + count
        assert whole / units == pytest.approx(LOSSES[name](student, targets).item(), rel=1e-5)

    def test_descending_it_ranks_the_best_passage_first(self, name, batch):
        student, targets = batch[0].clone().requires_grad_(), batch[1]
        optimizer = torch.optim.Adam([student], lr=0.05)
        for _ in range(300):
            optimizer.zero_grad()
            LOSSES[name](student, targets).backward()
            optimizer.step()
        score = student[:, 1] if LOSSES[name].score == "true" else margin(student)
        for query in range(3):
            rows = targets.groups_B == query
            assert score[rows].argmax() == margin(targets.teacher_logits_B2)[rows].argmax()

    def test_says_what_is_missing(self, name, batch):
        with pytest.raises(UserError, match=r"needs the teacher's logits|needs hard labels|which query"):
            LOSSES[name](batch[0], Targets())

    def test_names_its_paper(self, name, batch):
        assert LOSSES[name].source.startswith("https://")
