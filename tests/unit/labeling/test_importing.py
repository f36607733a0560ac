"""Released label files become pairs and labels; what is wrong in them is named by its line."""

import gzip
import hashlib
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inranker.errors import UserError
from inranker.labeling import released
from inranker.labeling.importing import ImportConfig, ImportIdentity, import_labels
from inranker.labeling.read import quarantine_reasons, read_labelled_pairs
from inranker.labeling.verify import verify
from inranker.manifest import read_manifest
from inranker.report.label import report
from inranker.storage import Store
from inranker.training.config import TrainIdentity
from inranker.training.custody import find_source, iter_rows
from tests.builders import pair_rows
from tests.unit.labeling.inprocess import label_job
from tests.unit.training.labels import make_collection

LOGITS = np.random.default_rng(1).normal(0, 3, (12, 2)).astype(np.float32)


def config(file: Path, output: Path, form: str, **options: Any) -> ImportConfig:
    return ImportConfig(ImportIdentity(str(file), form, **{"shard_rows": 5, **options}), str(output))  # type: ignore[arg-type]


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    """Twelve lines, the last of which repeats the third pair with other logits."""
    rows = pair_rows(12)
    rows[11] = rows[2]
    lines = [
        {"query": row["query"], "contents": row["passage"], "true_logit": float(true), "false_logit": float(false)}
        for row, (false, true) in zip(rows, LOGITS, strict=True)
    ]
    path = tmp_path / "released.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def tsv(tmp_path: Path) -> Path:
    """Passages d0, d3, … are relevant to queries q0, q1, … of the collection."""
    lines = [f"{true}\t{false}\tq{row // 4}\td{3 * (row // 4) + row % 4}\n" for row, (false, true) in enumerate(LOGITS)]
    path = tmp_path / "released.tsv"
    path.write_text("".join(lines))
    return path


def test_texts_and_logits_of_json_lines(jsonl: Path, tmp_path: Path) -> None:
    summary = import_labels(config(jsonl, tmp_path / "out", "beir"))
    assert {name: summary[name] for name in ("pairs", "labelled", "quarantined", "lines", "duplicates")} == {
        "pairs": 11, "labelled": 11, "quarantined": 0, "lines": 12, "duplicates": 1,
    }  # fmt: skip
    assert (summary["centred"], summary["as_released"], summary["failed"]) == (False, False, False)
    table = read_labelled_pairs(str(tmp_path / "out" / "labels"))
    rows = pair_rows(11)
    for name in ("query", "passage"):
        assert table[name].to_pylist() == [row[name] for row in rows]
    logits = np.stack([table["false_logit"].to_numpy(), table["true_logit"].to_numpy()], axis=1)
    np.testing.assert_array_equal(logits, LOGITS[:11])
    assert len(set(table["query_id"].to_pylist())) == len({row["query"] for row in rows})
    assert table["kind"].null_count == table["n_tokens"].null_count == 11
    assert import_labels(config(jsonl, tmp_path / "out", "beir"))["skipped"]


def test_ids_are_looked_up_and_judged(tsv: Path, tmp_path: Path) -> None:
    collection = make_collection(tmp_path / "collection")
    options = {"collection": collection, "split": "dev"}
    summary = import_labels(config(tsv, tmp_path / "out", "msmarco", **options))
    assert (summary["pairs"], summary["labelled"]) == (12, 12)
    table = read_labelled_pairs(str(tmp_path / "out" / "labels"))
    texts = [row["passage"] for row in pair_rows(40)]
    assert table["passage"].to_pylist() == [texts[3 * (row // 4) + row % 4] for row in range(12)]
    assert table["query"].to_pylist() == [texts[3 * (row // 4)] for row in range(12)]
    assert table["kind"].to_pylist() == [("negative", "positive")[row % 4 == 0] for row in range(12)]
    np.testing.assert_array_equal(table["true_logit"], LOGITS[:, 1])
    compressed = tsv.with_name("released.tsv.gz")
    compressed.write_bytes(gzip.compress(tsv.read_bytes()))
    import_labels(config(compressed, tmp_path / "gz", "msmarco", max_rows=7, **options))
    part = read_labelled_pairs(str(tmp_path / "gz" / "labels"))
    assert part.drop_columns("shard").equals(table.drop_columns("shard").slice(0, 7))


def test_the_result_is_verified_trained_on_and_resumed(jsonl: Path, tmp_path: Path) -> None:
    job, labels, pairs = (
        config(jsonl, tmp_path / "out", "beir"),
        tmp_path / "out" / "labels",
        tmp_path / "out" / "pairs",
    )
    import_labels(job)
    assert verify(label_job(pairs, tmp_path, labels))["problems"] == []
    report(label_job(pairs, tmp_path, labels))
    assert "judgment unknown" in (labels / "report.html").read_text()
    source = find_source(TrainIdentity(start="", labels=str(labels)))
    assert sum(table.num_rows for table in iter_rows(source)) == 11
    whole = read_labelled_pairs(str(labels))
    for lost in (labels / "manifest.json", pairs / "manifest.json", sorted((labels / "receipts").iterdir())[1]):
        lost.unlink()
    assert not import_labels(job)["skipped"]
    assert read_labelled_pairs(str(labels)).equals(whole)
    assert read_manifest(str(labels)).inputs["teacher"]["released_as"] == "inpars_beir_dataset.jsonl"


def test_a_file_is_known_by_its_md5(jsonl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = released.Release("inpars_beir_dataset.jsonl", hashlib.md5(jsonl.read_bytes()).hexdigest())
    monkeypatch.setitem(released.RELEASES, "beir", known)
    assert import_labels(config(jsonl, tmp_path / "out", "beir"))["as_released"]


@pytest.mark.parametrize(("offset", "centred"), [(0.0, True), (0.5, False)])
def test_centring_is_found_and_a_wrong_statement_refused(offset: float, centred: bool, tmp_path: Path) -> None:
    half = LOGITS[:, 0] / 2
    values = [(float(-margin + offset), float(margin + offset)) for margin in half]
    rows = pair_rows(12)
    path = tmp_path / "released.jsonl"
    path.write_text(
        "".join(
            json.dumps({"query": row["query"], "contents": row["passage"], "true_logit": t, "false_logit": f}) + "\n"
            for row, (f, t) in zip(rows, values, strict=True)
        )
    )
    assert import_labels(config(path, tmp_path / "out", "beir"))["centred"] is centred
    assert import_labels(config(path, tmp_path / "stated", "beir", centred=centred))["centred"] is centred
    with pytest.raises(UserError, match=r"centred: .* is not true of"):
        import_labels(config(path, tmp_path / "wrong", "beir", centred=not centred))
    assert not (tmp_path / "wrong").exists()


def test_what_cannot_be_a_label_is_quarantined(jsonl: Path, tmp_path: Path) -> None:
    lines = jsonl.read_text().splitlines()
    lines[6] = lines[6].replace(json.loads(lines[6])["contents"], " ")
    lines[8] = json.dumps(json.loads(lines[8]) | {"true_logit": "nan"})
    jsonl.write_text("\n".join(lines))
    summary = import_labels(config(jsonl, tmp_path / "out", "beir"))
    assert (summary["pairs"], summary["labelled"], summary["quarantined"], summary["failed"]) == (11, 9, 2, True)
    reasons = quarantine_reasons(str(tmp_path / "out" / "labels"))
    assert reasons == {(1, 1): "empty passage", (1, 3): "logits are not finite"}


@pytest.mark.parametrize(
    ("form", "line", "sentence"),
    [
        ("msmarco", "1.0\t2.0\tq1", "line 4: 3 fields, not positive_score"),
        ("msmarco", "1.0 2.0 q1 d1", "line 4: 1 fields, not positive_score"),
        ("msmarco", "1.0\tx\tq1\td1", "line 4: negative is 'x', not a number"),
        ("msmarco", "1.0\t2.0\tq1\td999", r"line 4: .* has no passage d999"),
        ("msmarco", "1.0\t2.0\tq99\td1", r"line 4: .* has no query q99"),
        ("beir", "{", "line 4: not JSON"),
        ("beir", '{"query": "a", "true_logit": 1, "false_logit": 2}', "line 4: field 'contents' is missing"),
        ("beir", '{"query": "a", "contents": "b", "true_logit": true, "false_logit": 2}', "line 4: true_logit is True"),
        ("beir", '{"query": "a", "contents": "b", "true_logit": 1}', "line 4: false_logit is None, not a number"),
    ],
)
def test_a_bad_line_is_named(form: str, line: str, sentence: str, jsonl: Path, tsv: Path, tmp_path: Path) -> None:
    file = tsv if form == "msmarco" else jsonl
    lines = file.read_text().splitlines()
    lines[3] = line
    file.write_text("\n".join(lines))
    options = {"collection": make_collection(tmp_path / "collection"), "split": "dev"} if form == "msmarco" else {}
    with pytest.raises(UserError, match=sentence):
        import_labels(config(file, tmp_path / "out", form, **options))
    assert not (tmp_path / "out" / "labels").exists()


def test_what_makes_no_sense_is_refused(jsonl: Path, tsv: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs the collection"):
        import_labels(config(tsv, tmp_path / "out", "msmarco"))
    with pytest.raises(UserError, match="shard_rows: 0"):
        import_labels(config(jsonl, tmp_path / "out", "beir", shard_rows=0))
    with pytest.raises(UserError, match="cannot be read"):
        import_labels(config(tmp_path / "absent", tmp_path / "out", "beir"))
    jsonl.write_text("\n")
    with pytest.raises(UserError, match="holds no labels"):
        import_labels(config(jsonl, tmp_path / "out", "beir"))


def test_the_script(jsonl: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--file", str(jsonl), "--format", "beir", "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["import_labels.py", *words])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(repository / "pipelines" / "import_labels.py"), run_name="__main__")
    assert stopped.value.code == 0
    assert Store(str(tmp_path / "out" / "pairs")).exists("manifest.json")
