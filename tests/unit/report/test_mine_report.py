"""The report of a mine mined: its figures are those of the pairs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from inranker.errors import UserError
from inranker.mining import MineConfig, MineExecution, mine
from inranker.report.job import REPORT
from inranker.report.mine import RANK_STEPS, PairFigures, length_measure, report
from tests.builders import PAIR_SCHEMA, make_tokenizer
from tests.unit.report.pages import Page


def rows(*made: tuple[str, str, str, str, int | None]) -> pa.Table:
    """Pairs of (query_id, passage_id, passage, kind, rank)."""
    names = ("query_id", "passage_id", "passage", "kind", "rank")
    full = [{**dict(zip(names, row, strict=True)), "query": row[0], "source": "s", "language": "en"} for row in made]
    return pa.Table.from_pylist(full, PAIR_SCHEMA)


def test_the_page_tells_what_the_first_stage_missed(mined: MineConfig) -> None:
    page = Page(Path(mined.output, REPORT).read_text())
    assert "positives the first stage misses25 %" in page.text
    for title in ("Ranks of positives", "Positives found by depth", "Passage length in words", "Chain of custody"):
        assert title in page.text
    assert not page.loads and "script" not in page.tags and "img" not in page.tags


def test_a_finished_job_is_reported_again_with_a_tokenizer(mined: MineConfig, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path / "tokenizer")
    page = report(replace(mined, execution=MineExecution(report_tokenizer=str(tokenizer))))["report"]
    text = Path(page).read_text()
    assert "Passage length in tokens" in text and "in words" not in text
    unit, measure = length_measure(str(tokenizer))
    assert unit == "tokens" and measure(["open file", "open file open file"]) == [
        measure(["open file"])[0],
        2 * measure(["open file"])[0],
    ]


def test_figures_are_those_of_the_pairs() -> None:
    figures = PairFigures(lambda texts: [len(text.split()) for text in texts], 1000, seed=0)
    figures.add(rows(("q0", "p0", "a b c", "positive", 1), ("q0", "p1", "a b", "negative", 4)))
    figures.add(
        rows(
            ("q1", "p2", "a b c", "positive", 30),
            ("q1", "p3", "same", "positive", None),
            ("q1", "p1", "a b", "negative", 900),
            ("q1", "p4", "same", "negative", 12),
        )
    )
    assert (figures.rows, figures.missed) == (6, 1)
    assert dict(figures.bands) == {"1": 1, "2–10": 0, "11–100": 1, "101–1,000": 0, "over 1,000": 0}
    found = np.cumsum(figures.steps)
    assert [int(found[np.searchsorted(RANK_STEPS, depth)]) for depth in (1, 10, 32, 1000)] == [1, 1, 2, 2]
    assert sorted(figures.per_query["positive"].counts()) == [1, 2]
    assert sorted(figures.per_query["negative"].counts()) == [1, 2]
    assert figures.ids.repeats().distinct == 5 and figures.texts.repeats().distinct == 3
    assert figures.pairs.repeats().repeated == 1  # q1 with `same` under two ids
    assert figures.lengths.count == 6 and figures.lengths.highest == 3
    assert figures.negative_ranks.count == 3 and figures.negative_ranks.highest == 900


def test_what_is_no_pairs_directory_is_refused(mined: MineConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has not finished"):
        report(replace(mined, output=str(tmp_path)))


def test_a_report_that_fails_leaves_the_pairs_finished(
    mined: MineConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = MineExecution(progress=False, report_tokenizer=str(tmp_path / "nowhere"))
    summary = mine(MineConfig(mined.identity, str(tmp_path / "pairs"), missing))
    assert summary["report"] is None and summary["counts"]["pairs"] > 0
    assert "mine.py … --report" in capsys.readouterr().err
    assert mine(MineConfig(mined.identity, str(tmp_path / "pairs"), missing))["skipped"]
