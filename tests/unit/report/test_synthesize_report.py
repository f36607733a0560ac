"""The report of a synthesis synthesized: its figures are those of the queries."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inranker.errors import UserError
from inranker.mining import MineConfig
from inranker.report.synthesize import QueryFigures, report
from inranker.synthesis.config import SynthesizeConfig
from inranker.synthesis.filters import FilterOptions
from inranker.synthesis.kinds import query_kind
from inranker.synthesis.refilter import RefilterConfig, RefilterExecution, RefilterIdentity, refilter
from tests.unit.report.pages import ATTACK, Page


def read(config: SynthesizeConfig | RefilterConfig) -> Page:
    return Page(Path(report(config)["report"]).read_text())


def test_the_page_shows_queries_beside_passages_and_scores(synthesized: SynthesizeConfig) -> None:
    page = read(synthesized)
    for title in ("Left after each filter", "Kinds of queries kept", "Mean log-probability", "Dropped by length"):
        assert title in page.text
    table = pq.read_table(Path(synthesized.output, "queries.parquet"))
    kept = table.filter(table["dropped_by"].is_null())
    shown = [text for text in kept["query"].to_pylist() if text in page.text]
    assert len(shown) == min(20, kept.num_rows), "twenty queries that were kept"
    row = kept.filter(pa.array([text == shown[0] for text in kept["query"].to_pylist()])).to_pylist()[0]
    assert f"{row['passage_id']} · vanilla · mean log prob" in page.text and "round trip rank 1" in page.text
    assert ATTACK.split("<img")[0] in page.text, "as text"
    assert not page.loads and "script" not in page.tags and "img" not in page.tags


def test_the_page_tells_yields_kinds_and_cost(synthesized: SynthesizeConfig) -> None:
    text = read(synthesized).text
    assert "length604880 %" in text  # sixty in, forty-eight of more than two words out
    assert "spent1.25" in text and "tokens written a second12" in text and "time of the engines1 min 15 s" in text
    assert "No filter" not in text


def test_figures_of_synthesized_queries_do_not_depend_on_how_they_were_cut(synthesized: SynthesizeConfig) -> None:
    table = pq.read_table(Path(synthesized.output, "queries.parquet"))
    whole, parts = QueryFigures(), QueryFigures()
    whole.add(table)
    for start in range(0, table.num_rows, 7):
        parts.add(table.slice(start, 7))
    assert (whole.rows, whole.kept, whole.kinds, whole.ranks, whole.ranked) == (
        parts.rows,
        parts.kept,
        parts.kinds,
        parts.ranks,
        parts.ranked,
    )
    assert whole.rows == 60 and whole.ranked == 48 and sum(whole.kinds["dropped"].values()) == 60 - whole.kept
    assert whole.keys() == parts.keys() and len(whole.keys()) > 20
    assert whole.words["kept"].bins == parts.words["kept"].bins


def test_a_set_that_was_filtered_anew_has_a_report_too(synthesized: SynthesizeConfig, tmp_path: Path) -> None:
    chosen = RefilterIdentity(synthesized.output, ["duplicates"], FilterOptions())
    summary = refilter(RefilterConfig(chosen, str(tmp_path / "out"), RefilterExecution(progress=False)))
    text = Page(Path(summary["report"]).read_text()).text
    assert "duplicates6060100 %" in text and "spent" not in text and "round trip rank" not in text


def test_what_is_no_query_set_has_no_such_report(mined: MineConfig) -> None:
    with pytest.raises(UserError, match="stage 'mine', not a query set"):
        report(mined)


@pytest.mark.parametrize(
    ("query", "language", "kind"),
    [
        ("who makes honey", "en", "question"),
        ("bees make honey, don't they?", "en", "question"),
        ("Bees do not hibernate.", "en", "claim"),
        ("honey yield per hive", "en", "keywords"),
        ("como as abelhas produzem mel", "pt-BR", "question"),
        ("produção de mel por colmeia", "pt", "keywords"),
        ("蜂蜜是怎么做的？", "zh", "question"),
        ("蜂蜜", "zh", "keywords"),
    ],
)
def test_kinds_of_synthesized_queries(query: str, language: str, kind: str) -> None:
    assert query_kind(query, language) == kind
