"""Arms over sets and seeds: figures that can be worked out, and evaluations written as the stage writes them."""

import numpy as np
import pytest

from inranker.errors import UserError
from inranker.evaluation.arms import ArmsConfig, arms, compare_arms
from inranker.evaluation.output import write_output
from inranker.storage import Store
from inranker.types import ScoredDoc


def test_equal_differences_leave_no_doubt() -> None:
    found = compare_arms([np.full(5, 0.25), np.full(40, 0.25)], seed=0, resamples=999)
    assert found == {"difference": 0.25, "low": 0.25, "high": 0.25, "p": pytest.approx(2 / 1000)}


def test_two_constant_sets_give_the_binomial_of_which_sets_are_drawn() -> None:
    # Drawing two of {−1, +3} gives −1, 1, 3 with 1/4, 1/2, 1/4: whatever the queries, which do not differ.
    found = compare_arms([np.full(3, -1.0), np.full(9, 3.0)], seed=1, resamples=20_000)
    assert (found["difference"], found["low"], found["high"]) == (1.0, -1.0, 3.0)
    assert found["p"] == pytest.approx(2 * 0.25, abs=0.02)


def test_one_set_is_the_ordinary_bootstrap_of_a_mean() -> None:
    values = np.random.default_rng(3).normal(0.1, 1.0, 400)
    found = compare_arms([values], seed=2, resamples=20_000)
    error = values.std() / np.sqrt(400)
    assert found["low"] == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found["high"] == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_sets_count_alike_however_many_queries_they_have() -> None:
    assert compare_arms([np.zeros(1000), np.ones(2)], seed=0, resamples=10)["difference"] == 0.5


def test_the_spread_is_that_of_sets_and_of_queries_within_them() -> None:
    # Var of the mean of S drawn sets: (variance of set means + mean of s²/n) / S.
    rng = np.random.default_rng(7)
    sets = [rng.normal(centre, 1.0, 30) for centre in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    found = compare_arms(sets, seed=4, resamples=40_000)
    between = np.var([values.mean() for values in sets])
    within = np.mean([values.var() / len(values) for values in sets])
    width = 2 * 1.96 * np.sqrt((between + within) / len(sets))
    assert found["high"] - found["low"] == pytest.approx(width, rel=0.03)


def written(place, collection, systems, depth=100):
    """An evaluation's output: system -> values of its queries in order."""
    values = {
        system: {"nDCG@10": {str(number): value for number, value in enumerate(found)}}
        for system, found in systems.items()
    }
    runs = {system: {"0": [ScoredDoc("0", "d", 1.0)]} for system in systems}
    summary = {
        "stage": "evaluate",
        "collection": f"beir/{collection}",
        "depth": depth,
        "fingerprint": "f",
        "queries": 2,
        "systems": {},
    }
    identity = {"collection": {"name": collection}, "systems": {}}
    write_output(Store(str(place)), summary, runs, values, identity)
    return str(place)


@pytest.fixture
def evaluations(tmp_path):
    return [
        written(tmp_path / "a0", "a", {"bm25": [0.5, 0.5], "x": [0.6, 0.8], "y": [0.5, 0.5]}),
        written(tmp_path / "a1", "a", {"bm25": [0.5, 0.5], "x": [0.8, 0.8], "y": [0.5, 0.7]}),
        written(tmp_path / "b0", "b", {"bm25": [0.1], "x": [0.4], "y": [0.5]}),
    ]


def test_seeds_are_averaged_by_query_then_queries_by_set_then_sets(evaluations, tmp_path) -> None:
    groups = {"out": ["a", "b"], "in": ["a"]}
    found = arms(
        ArmsConfig(evaluations, groups, "x - y", ["x - y", "x - bm25"], command="make it", output=str(tmp_path / "out"))
    )
    assert found["command"] == "make it"
    assert found["sets"]["a"] == pytest.approx({"bm25": 0.5, "x": 0.75, "y": 0.55})
    assert found["seeds"]["a"]["x"] == 2 and found["seeds"]["b"]["x"] == 1
    assert found["averages"]["out"] == pytest.approx({"bm25": 0.3, "x": 0.575, "y": 0.525})
    assert found["primary"]["difference"] == pytest.approx(0.05) and "p_holm" not in found["primary"]
    assert found["primary"]["by_set"] == pytest.approx({"a": 0.2, "b": -0.1})
    asked = [(row["group"], row["comparison"]) for row in found["comparisons"]]
    assert asked == [("out", "x - bm25"), ("in", "x - y"), ("in", "x - bm25")]
    assert all(row["p_holm"] >= row["p"] for row in found["comparisons"])
    assert Store(str(tmp_path / "out")).exists("arms.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"primary": "x - z"}, "no system 'z'"),
        ({"primary": "x"}, "no comparison"),
        ({"groups": {"out": ["c"]}}, "no evaluation is of c"),
        ({"groups": {}}, "at least one group"),
        ({"measure": "AP"}, "has no AP"),
    ],
)
def test_what_is_not_there_is_said(change, message, evaluations) -> None:
    with pytest.raises(UserError, match=message):
        arms(ArmsConfig(**{"evaluations": evaluations, "groups": {"out": ["a"]}, "primary": "x - y", **change}))


def test_seeds_at_other_depths_are_refused(evaluations, tmp_path) -> None:
    other = written(tmp_path / "a2", "a", {"x": [0.1, 0.1]}, depth=20)
    with pytest.raises(UserError, match="another depth"):
        arms(ArmsConfig([*evaluations, other], {"out": ["a"]}, "x - y"))
