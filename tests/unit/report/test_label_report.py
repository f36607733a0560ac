"""The report of a label job: its figures are those of the labels, and nothing of a text becomes markup."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from inranker.errors import UserError
from inranker.labeling.config import LabelConfig, LabelIdentity
from inranker.labeling.read import iter_labelled_pairs
from inranker.manifest import to_json
from inranker.report.job import REPORT, report_or_warn
from inranker.report.label import RANK_STEPS, LabelFigures, margins, report, surprises
from inranker.storage import Store
from tests.unit.report.pages import Page


@pytest.fixture(scope="module")
def page(labelled: LabelConfig) -> Page:
    return Page(Path(report(labelled)["report"]).read_text())


def test_the_page_needs_nothing_else_and_says_who_may_run(page: Page) -> None:
    assert not page.loads and "script" not in page.tags
    assert "default-src 'none'" in page.text_of_source
    assert "width=device-width" in page.text_of_source


def test_texts_are_escaped_and_shown(page: Page) -> None:
    assert "<script>document" not in page.text_of_source and "<img" not in page.text_of_source
    assert '<script>document.title = "owned"</script>' in page.text


def test_every_chart_speaks_and_every_table_has_a_box_of_its_own(page: Page) -> None:
    assert page.tags.count("svg") == page.text_of_source.count("<svg viewBox=") >= 6
    assert len(re.findall(r'<svg [^>]*role="img" aria-label="[^"]+"', page.text_of_source)) == page.tags.count("svg")
    assert page.tags.count("table") == page.text_of_source.count('role="region" tabindex="0" aria-label=') > 3
    assert page.tags.count("h1") == 1 and page.tags.count("title") >= 1


def test_figures_are_those_of_the_labels(labelled: LabelConfig) -> None:
    figures, margin, positive, rank = LabelFigures(), [], [], []
    for table in iter_labelled_pairs(labelled.output):
        figures.add(table)
        margin += (table["true_logit"].to_numpy() - table["false_logit"].to_numpy()).tolist()
        positive += [kind == "positive" for kind in table["kind"].to_pylist()]
        rank += table["rank"].to_pylist()
    margin_N, positive_N = np.array(margin), np.array(positive)
    bands = figures.bands
    assert figures.rows == len(margin_N) == 195
    assert bands["positive, not retrieved"].count == positive_N.sum() and "positive, retrieved" not in bands
    assert bands["negative, rank 1–10"].mean == pytest.approx(margin_N[~positive_N].mean())
    lowest = [item["margin"] for _, item in figures.doubted.best()]
    assert lowest == sorted(margin_N[positive_N])[:50]
    highest = [item["margin"] for _, item in figures.loved.best()]
    assert highest == sorted(margin_N[~positive_N], reverse=True)[:50]
    step = int(np.searchsorted(RANK_STEPS, 3, side="right")) - 1
    of_step = margin_N[[held is not None and RANK_STEPS[step] <= held < RANK_STEPS[step + 1] for held in rank]]
    assert figures.by_rank["negative"][step].count == len(of_step) > 0
    assert figures.by_rank["negative"][step].mean == pytest.approx(of_step.mean())


def test_quarantine_and_throughput_are_told(page: Page) -> None:
    assert "logits are not finite" in page.text
    assert "Pairs a second" in page.text and "Tokens a second" in page.text
    assert "65" in page.text  # 195 pairs in the three seconds between the first start and the last end


def test_an_audit_is_shown_where_the_job_made_one(labelled: LabelConfig, tmp_path: Path) -> None:
    store = Store(labelled.output)
    manifest = json.loads(store.read("manifest.json"))
    before = to_json(manifest)
    manifest["figures"]["audit"] = {"pairs": 17, "max_difference": 3.5e-7}
    store.write("manifest.json", to_json(manifest))
    text = Page(Path(report(labelled)["report"]).read_text()).text
    store.write("manifest.json", before)
    assert "max_difference" in text and "3.5e-07" in text


def test_ten_million_pairs_make_a_small_page(labelled: LabelConfig) -> None:
    """The page is as big for many pairs as for few: long texts are cut, points sampled, the rest binned."""
    figures = LabelFigures()
    table = next(iter(iter_labelled_pairs(labelled.output)))
    generator = np.random.default_rng(0)
    long = pa.array(["a < b & c " * 500] * 4096)
    for _ in range(6):
        rows = table.take(pa.array(generator.integers(0, table.num_rows, 4096)))
        for side in ("true", "false"):
            name = f"{side}_logit"
            logits = pa.array(generator.normal(0, 9, 4096).astype(np.float32))
            rows = rows.set_column(rows.column_names.index(name), name, logits)
        rank = pa.array(generator.integers(1, 1001, 4096).astype(np.int32))
        rows = rows.set_column(rows.column_names.index("rank"), "rank", rank)
        figures.add(rows.set_column(rows.column_names.index("passage"), "passage", long))
    size = len("".join([*margins(figures), *surprises(figures)]).encode())
    assert len(figures.points.rows) == 1500 and len(figures.loved.heap) == 50
    assert size < 1_000_000


def test_a_failing_report_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> dict[str, Any]:
        raise UserError("shard gone")

    assert report_or_warn(broken, "label.py … --report") == {"report": None}
    said = capsys.readouterr().err
    assert "shard gone" in said and "label.py … --report" in said


def test_a_job_in_an_object_store_has_its_report_there(labelled: LabelConfig) -> None:
    copies = {}
    for name, url in (("pairs", labelled.identity.pairs), ("labels", labelled.output)):
        copies[name] = Store(f"memory://report-{name}")
        for file in Store(url).list(""):
            copies[name].write(file, Store(url).read(file))
    made = report(LabelConfig(LabelIdentity(copies["pairs"].url, "t"), copies["labels"].url))["report"]
    assert made == "memory://report-labels/report.html"
    assert Page(copies["labels"].read(REPORT).decode()).text.startswith("Label job")


def test_an_unfinished_job_has_no_report(labelled: LabelConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has not finished"):
        report(LabelConfig(labelled.identity, str(tmp_path)))
    assert not (tmp_path / REPORT).exists()
