"""The label job on a real Ray: every pair once, resumable, verified; what is wrong is said."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from inranker.cli import main
from inranker.errors import UserError
from inranker.labeling.config import LabelConfig, LabelExecution, LabelIdentity
from inranker.labeling.factory import label
from inranker.labeling.job import default_unit_rows
from inranker.labeling.read import read_labelled_pairs, read_labels
from inranker.labeling.verify import verify
from inranker.manifest import read_manifest
from inranker.rerankers import load_reranker
from inranker.storage import Store
from inranker.units import finished_units, plan_units, read_receipt
from tests.builders import make_pairs, make_t5, pair_rows
from tests.unit.labeling.inprocess import change_labels

pytestmark = pytest.mark.usefixtures("ray_session")


def job(pairs: Path, teacher: Path, output: Path, **execution: object) -> LabelConfig:
    chosen = {"unit_rows": 50, "progress": False, "threads": 1, **execution}
    return LabelConfig(LabelIdentity(str(pairs), str(teacher)), str(output), LabelExecution(**chosen))


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory, pairs: Path, teacher: Path) -> Path:
    output = tmp_path_factory.mktemp("labels") / "out"
    summary = label(job(pairs, teacher, output))
    assert (summary["pairs"], summary["labelled"], summary["quarantined"]) == (300, 300, 0)
    assert not summary["failed"] and not summary["skipped"]
    assert "Pairs a second" in Path(summary["report"]).read_text()
    return output


def test_labels_are_the_teachers_logits_in_the_order_of_the_pairs(labels: Path, teacher: Path) -> None:
    table = read_labelled_pairs(str(labels))
    rows = pair_rows(300)
    for name in ("query_id", "passage_id", "query", "passage", "kind", "rank"):
        assert table[name].to_pylist() == [row[name] for row in rows]
    reranker = load_reranker(str(teacher))
    encoded = reranker.encoder.encode([row["query"] for row in rows], [row["passage"] for row in rows])
    logits = np.stack([table["false_logit"].to_numpy(), table["true_logit"].to_numpy()], axis=1)
    np.testing.assert_allclose(logits, reranker.logits(encoded), atol=1e-5)
    assert table["n_tokens"].to_pylist() == encoded.lengths.tolist()
    assert logits.std() > 0


def test_manifest_leads_back_to_pairs_and_teacher(labels: Path, pairs: Path) -> None:
    manifest = read_manifest(str(labels))
    assert manifest.inputs["pairs"]["content_hash"] == read_manifest(str(pairs)).content_hash
    assert manifest.identity["scorer"]
    assert manifest.counts == {"pairs": 300, "labelled": 300, "quarantined": 0}
    audit = manifest.figures["audit"]
    assert audit["pairs"] >= 40 and audit["orders_compared"] > 40
    assert audit["max_logit_difference"] < 1e-4 and audit["rank_flips"] == 0
    assert len(manifest.shards) == 8  # 120 + 120 + 60 rows in units of at most 50
    assert len(finished_units(Store(str(labels)))) == 8


@pytest.mark.parametrize("actors", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_more_actors_give_the_same_labels(
    actors: int, labels: Path, pairs: Path, teacher: Path, tmp_path: Path
) -> None:
    label(job(pairs, teacher, tmp_path / "out", actors=actors, unit_rows=30))
    one, more = read_labels(str(labels)), read_labels(str(tmp_path / "out"))
    for name in ("shard", "row", "query_id", "passage_id"):
        assert one[name] == more[name]
    for name in ("false_logit", "true_logit"):
        np.testing.assert_allclose(one[name], more[name], atol=1e-5)


def test_a_finished_job_returns_at_once_and_resume_scores_only_what_is_missing(
    labels: Path, pairs: Path, teacher: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    shutil.copytree(labels, output)
    assert label(job(pairs, teacher, output))["skipped"]
    store = Store(str(output))
    names = sorted(finished_units(store))
    kept = {name: read_receipt(store, name) for name in names}
    store.delete("manifest.json")
    for lost in (names[2], names[5]):
        store.delete(f"receipts/{lost}.json")
    assert not label(job(pairs, teacher, output, actors=2, unit_rows=7))["skipped"]
    again = {name: read_receipt(store, name) for name in sorted(finished_units(store))}
    assert {name for name in names if again[name] != kept[name]} == {names[2], names[5]}
    assert read_labels(str(output)).equals(read_labels(str(labels)))


def test_another_teacher_or_other_pairs_are_refused_field_by_field(
    labels: Path, pairs: Path, tokenizer: Path, teacher: Path, tmp_path: Path
) -> None:
    stranger = make_t5(tmp_path / "stranger", tokenizer, seed=2)
    with pytest.raises(UserError, match=r"scorer\.weights"):
        label(job(pairs, stranger, labels))
    other = make_pairs(tmp_path / "other", pair_rows(100, seed=5))
    with pytest.raises(UserError, match="pairs: "):
        label(job(other, teacher, labels))


def test_a_moved_teacher_is_still_the_same_job(labels: Path, pairs: Path, teacher: Path, tmp_path: Path) -> None:
    shutil.copytree(teacher, tmp_path / "moved")
    assert label(job(pairs, tmp_path / "moved", labels))["skipped"]


def test_empty_texts_are_quarantined_and_too_many_fail_the_job(teacher: Path, tmp_path: Path) -> None:
    rows = pair_rows(100)
    rows[3]["passage"] = " \u2003"
    rows[60]["query"] = ""
    pairs = make_pairs(tmp_path / "pairs", rows)
    strict = label(job(pairs, teacher, tmp_path / "out"))
    assert (strict["pairs"], strict["labelled"], strict["quarantined"], strict["failed"]) == (100, 98, 2, True)
    assert "2 of 100 pairs are quarantined, more than the share of 0.001" in strict["reasons"][0]
    assert exit_code(job(pairs, teacher, tmp_path / "out")) == 1
    assert exit_code(job(pairs, teacher, tmp_path / "out", max_quarantined=0.05)) == 0
    tables = [pa.parquet.read_table(path) for path in sorted((tmp_path / "out" / "quarantine").iterdir())]
    assert [row for table in tables for row in table.select(["row", "reason"]).to_pylist()] == [
        {"row": 3, "reason": "empty passage"},
        {"row": 60, "reason": "empty query"},
    ]
    assert not verify(job(pairs, teacher, tmp_path / "out"))["failed"]


def test_labels_of_an_earlier_job_are_not_scored_again(
    labels: Path, pairs: Path, teacher: Path, tmp_path: Path
) -> None:
    again = make_pairs(tmp_path / "pairs", pair_rows(120))
    summary = label(job(again, teacher, tmp_path / "out", reuse=[str(labels)]))
    assert (summary["reused"], summary["tokens"], summary["failed"]) == (120, 0, False)
    found, earlier = read_labels(str(tmp_path / "out")), read_labels(str(labels))
    for name in ("passage_id", "false_logit", "true_logit", "n_tokens"):
        assert found[name].to_pylist() == earlier[name].to_pylist()[:120]
    recorded = read_manifest(str(tmp_path / "out")).inputs["reuse"]["labels"]
    assert [source["content_hash"] for source in recorded] == [read_manifest(str(labels)).content_hash]


def test_a_label_that_is_not_the_teachers_fails_the_audit(
    labels: Path, pairs: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All units are done when the driver dies, and one of them by a broken accelerator: the same command finds it."""
    output = tmp_path / "out"
    shutil.copytree(labels, output)
    (output / "manifest.json").unlink()
    unit = plan_units(read_manifest(str(pairs)).shards, 50)[2]
    change_labels(output, unit, list(range(unit.start, unit.stop)), by=0.01)
    assert exit_code(job(pairs, teacher, output)) == 1
    said = capsys.readouterr().out
    assert f"pairs again and a logit of unit {unit.name}, row " in said
    assert "differs by 0.01, more than --audit_threshold 0.001" in said
    assert exit_code(job(pairs, teacher, output)) == 1  # nothing is left to do, and it is no success either
    assert exit_code(job(pairs, teacher, output, audit_threshold=0.02)) == 0


def exit_code(config: LabelConfig) -> int:
    """What the script of a job says to the shell."""
    execution = config.execution
    words = ["--pairs", config.identity.pairs, "--teacher", config.identity.teacher, "--output", config.output]
    words += [
        "--unit_rows",
        str(execution.unit_rows),
        "--threads",
        "1",
        "--progress",
        "false",
        "--write_report",
        "false",
    ]
    words += ["--max_quarantined", str(execution.max_quarantined)]
    words += ["--audit_threshold", str(execution.audit_threshold)] if execution.audit_threshold else []
    with pytest.raises(SystemExit) as stopped:
        main(LabelConfig, label, "", argv=words)
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_odd_texts_go_through(teacher: Path, tmp_path: Path) -> None:
    rows = pair_rows(6)
    odd = ["\u200b\u200d", "x" * 100_000, "שלום עולם مرحبا", "a\tb\nc", "🎈" * 50, "\ufeffabc"]
    for row, text in zip(rows, odd, strict=True):
        row["passage"] = text
    summary = label(job(make_pairs(tmp_path / "pairs", rows), teacher, tmp_path / "out"))
    assert (summary["labelled"], summary["quarantined"]) == (6, 0)
    assert read_labels(str(tmp_path / "out"))["truncated"].to_pylist()[1]


def test_verify_lists_every_lie(labels: Path, pairs: Path, teacher: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(labels, output)
    config = job(pairs, teacher, output)
    clean = verify(config)
    assert (clean["failed"], clean["problems"], clean["checked"]) == (False, [], 8)
    receipts = sorted((output / "receipts").iterdir())
    first, second, third = (json.loads(path.read_text()) for path in receipts[:3])
    data = output / first["data"]["name"]
    data.write_bytes(data.read_bytes()[:-1] + b"\0")
    (output / second["data"]["name"]).unlink()
    third["fingerprint"] = "0" * 64
    receipts[2].write_text(json.dumps(third))
    receipts[3].unlink()
    found = verify(config)
    assert found["failed"]
    for number, sentence in enumerate(("differs", "is missing", "of another job", "has no receipt")):
        assert any(sentence in problem for problem in found["problems"]), (number, found["problems"])


def test_a_changed_pairs_shard_stops_the_job(pairs: Path, teacher: Path, tmp_path: Path) -> None:
    changed = tmp_path / "pairs"
    shutil.copytree(pairs, changed)
    shard = changed / "pairs-00001.parquet"
    shard.write_bytes(shard.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"pairs-00001\.parquet differs from its sha256"):
        label(job(changed, teacher, tmp_path / "out"))


def test_memory_is_refused_because_workers_do_not_share_it(pairs: Path, teacher: Path) -> None:
    config = LabelConfig(LabelIdentity(str(pairs), str(teacher)), "memory://labels", LabelExecution(progress=False))
    with pytest.raises(UserError, match="workers do not see the output"):
        label(config)


def test_a_store_that_lets_two_creators_win_is_refused(
    pairs: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(store: Store, name: str, data: bytes) -> bool:
        store.write(name, data)
        return True

    monkeypatch.setattr(Store, "put_if_absent", create)
    with pytest.raises(UserError, match="let 9 of 9 creators of one object win"):
        label(job(pairs, teacher, tmp_path / "out"))
    assert Store(str(tmp_path / "out")).list("") == ["identity.json"]


def test_a_finished_job_whose_receipts_were_removed_says_so(
    labels: Path, pairs: Path, teacher: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    shutil.copytree(labels, output)
    next((output / "receipts").iterdir()).unlink()
    with pytest.raises(UserError, match="no receipt of 1 of 8 units"):
        label(job(pairs, teacher, output))


@pytest.mark.parametrize(("total", "actors", "rows"), [(10, 1, 64), (10_000, 1, 1250), (25_000_000, 64, 8192)])
def test_unit_size_keeps_actors_busy(total: int, actors: int, rows: int) -> None:
    assert default_unit_rows(total, LabelExecution(actors=actors)) == rows
