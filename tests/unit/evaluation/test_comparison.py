"""The comparison of systems with a baseline: verdicts, and the table a person reads."""

from inranker.evaluation.comparison import comparison, render_comparison

IDS = [f"q{number:02}" for number in range(40)]
TEXTS = {query_id: f"query {query_id}" for query_id in IDS}
BASE = {query_id: 0.5 for query_id in IDS}
VALUES = {
    "bm25": BASE,
    "up": {query_id: 0.6 + 0.01 * (index % 5) for index, query_id in enumerate(IDS)},
    "down": {query_id: 0.4 - 0.01 * (index % 5) for index, query_id in enumerate(IDS)},
    "mixed": {query_id: 0.5 + (0.1 if index % 2 else -0.1) for index, query_id in enumerate(IDS)},
}


def test_verdicts_follow_the_interval() -> None:
    found = comparison("bm25", VALUES, TEXTS, resamples=500)
    assert {name: row["better"] for name, row in found["systems"].items()} == {
        "up": "yes",
        "down": "no",
        "mixed": "unclear",
    }
    assert found["systems"]["up"]["worst"] == []
    assert len(found["systems"]["down"]["worst"]) == 10
    assert found["systems"]["down"]["worst"][0]["query_id"] == "q04"
    assert found["systems"]["mixed"]["p_t_test_holm"] > 0.9


def test_table() -> None:
    found = comparison("bm25", {"bm25": BASE, "up": VALUES["up"]}, TEXTS, resamples=500)
    header, _, row = render_comparison(found, "nDCG@10").splitlines()
    assert header.startswith("| nDCG@10 against bm25 | difference |")
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:2] == ["up", "+0.1200"]
    assert cells[3] == "< 0.0001"
    assert cells[5:] == ["40/0/0", "yes"]


def test_the_same_seed_gives_the_same_figures() -> None:
    assert comparison("bm25", VALUES, TEXTS, 3, 200) == comparison("bm25", VALUES, TEXTS, 3, 200)
