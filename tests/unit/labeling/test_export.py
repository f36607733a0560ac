"""Exported labels are what the other trainers' own documentation says they read."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inranker.errors import UserError
from inranker.labeling.export import ExportConfig, ExportExecution, ExportIdentity, export_labels
from inranker.labeling.read import read_labelled_pairs
from inranker.manifest import read_manifest, verify_shards
from inranker.storage import Store
from tests.builders import make_pairs, pair_rows
from tests.unit.training.labels import make_labels


def config(labels: Path, output: Path, form: str, **options: Any) -> ExportConfig:
    identity = ExportIdentity(str(labels), form, **options)  # type: ignore[arg-type]
    return ExportConfig(identity, str(output), ExportExecution(progress=False))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three queries whose pairs cross the bounds of shards: two positives in the first, no negative in the last."""
    folder = tmp_path_factory.mktemp("exported")
    rows = pair_rows(30)
    rows[4]["kind"] = "positive"
    for row in rows[20:]:
        row["kind"] = "positive"
    return make_labels(folder / "labels", make_pairs(folder / "pairs", rows, shard_rows=7), scale=-0.5)


def expected_triples(labelled: Path) -> list[tuple[str, str, str, float]]:
    rows = read_labelled_pairs(str(labelled)).to_pylist()
    return [
        (
            a["query"],
            a["passage"],
            b["passage"],
            a["true_logit"] - a["false_logit"] - b["true_logit"] + b["false_logit"],
        )
        for a in rows
        for b in rows
        if a["query_id"] == b["query_id"] and (a["kind"], b["kind"]) == ("positive", "negative")
    ]


def test_triples_for_margin_mse(labelled: Path, tmp_path: Path) -> None:
    summary = export_labels(config(labelled, tmp_path / "out", "sentence-transformers", shard_rows=10))
    assert (summary["queries"], summary["left_out"], summary["rows"]) == (2, 1, 8 * 2 + 9)
    files = sorted((tmp_path / "out").glob("train-*.parquet"))
    assert [pq.read_metadata(file).num_rows for file in files] == [10, 10, 5]
    table = pa.concat_tables([pq.read_table(file) for file in files])
    # Texts are taken in the order of the columns; the label may be called score, and is a float.
    assert table.column_names == ["query", "positive", "negative", "score"]
    assert table.schema.types == [pa.string()] * 3 + [pa.float32()]
    expected = expected_triples(labelled)
    assert [tuple(row.values())[:3] for row in table.to_pylist()] == [triple[:3] for triple in expected]
    np.testing.assert_allclose(table["score"], [triple[3] for triple in expected], rtol=1e-6)
    assert table["score"].to_numpy().std() > 0
    verify_shards(Store(str(tmp_path / "out")), read_manifest(str(tmp_path / "out")))
    assert export_labels(config(labelled, tmp_path / "out", "sentence-transformers", shard_rows=10))["skipped"]


def test_scored_passages_for_tevatron(labelled: Path, tmp_path: Path) -> None:
    export_labels(config(labelled, tmp_path / "out", "tevatron"))
    (file,) = (tmp_path / "out").glob("train-*.jsonl")
    queries = [json.loads(line) for line in file.read_text().splitlines()]
    assert [set(query) for query in queries] == [{"query_id", "query", "positive_passages", "negative_passages"}] * 2
    rows = {row["passage_id"]: row for row in read_labelled_pairs(str(labelled)).to_pylist()}
    for query in queries:
        for kind in ("positive", "negative"):
            for passage in query[f"{kind}_passages"]:
                row = rows.pop(passage["docid"])
                assert (row["kind"], row["query_id"], row["query"]) == (kind, query["query_id"], query["query"])
                assert set(passage) == {"docid", "text", "score"}
                assert passage["text"] == row["passage"]
                assert passage["score"] == pytest.approx(row["true_logit"] - row["false_logit"])
    assert {row["query_id"] for row in rows.values()} == {"q2"}


def test_the_teachers_best_can_be_the_positive(labelled: Path, tmp_path: Path) -> None:
    export_labels(config(labelled, tmp_path / "out", "tevatron", positives="best"))
    queries = [json.loads(line) for line in (tmp_path / "out" / "train-00000.jsonl").read_text().splitlines()]
    assert len(queries) == 3
    for query in queries:
        (best,) = query["positive_passages"]
        assert len(query["negative_passages"]) == 9
        assert best["score"] > max(passage["score"] for passage in query["negative_passages"])


def test_what_cannot_be_exported_is_refused(labelled: Path, tmp_path: Path) -> None:
    rows = pair_rows(30)
    scattered = make_labels(tmp_path / "scattered", make_pairs(tmp_path / "mixed", rows[:5] + rows[10:] + rows[5:10]))
    with pytest.raises(UserError, match="the pairs of query q0 are not next to each other"):
        export_labels(config(scattered, tmp_path / "out", "tevatron"))
    for row in rows:
        row["kind"] = None
    silent = make_labels(tmp_path / "silent", make_pairs(tmp_path / "unsaid", rows))
    with pytest.raises(UserError, match="use --positives best"):
        export_labels(config(silent, tmp_path / "none", "sentence-transformers"))
    with pytest.raises(UserError, match="shard_rows: 0"):
        export_labels(config(labelled, tmp_path / "zero", "tevatron", shard_rows=0))


def test_the_script(labelled: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--labels", str(labelled), "--format", "tevatron", "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["export_labels.py", *words, "--progress", "false"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(repository / "pipelines" / "export_labels.py"), run_name="__main__")
    assert stopped.value.code == 0
    assert (tmp_path / "out" / "train-00000.jsonl").exists()


def test_sentence_transformers_trains_on_the_triples(labelled: Path, tokenizer: Path, tmp_path: Path) -> None:
    """Its own trainer and MarginMSELoss see three texts and the teacher's difference of every triple."""
    reason = "the real trainer is checked where sentence-transformers and datasets are installed"
    st = pytest.importorskip("sentence_transformers", reason=reason)
    datasets = pytest.importorskip("datasets", reason=reason)
    from sentence_transformers.losses import MarginMSELoss
    from sentence_transformers.models import Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    class Spy(MarginMSELoss):
        """Notes what it is given."""

        def forward(self, sentence_features: Any, labels: Any) -> Any:
            features = list(sentence_features)
            assert len(features) == 3
            seen.extend(labels.tolist())
            return super().forward(features, labels)

    seen: list[float] = []
    export_labels(config(labelled, tmp_path / "out", "sentence-transformers", shard_rows=10))
    triples = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "out" / "*.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    words = AutoTokenizer.from_pretrained(tokenizer)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(words), **shape)).save_pretrained(tmp_path / "bert")
    words.save_pretrained(tmp_path / "bert")
    model = st.SentenceTransformer(modules=[Transformer(str(tmp_path / "bert")), Pooling(32)], device="cpu")
    options = {"num_train_epochs": 1, "per_device_train_batch_size": 5, "report_to": [], "use_cpu": True}
    arguments = st.SentenceTransformerTrainingArguments(output_dir=str(tmp_path / "run"), disable_tqdm=True, **options)
    st.SentenceTransformerTrainer(model=model, args=arguments, train_dataset=triples, loss=Spy(model)).train()
    np.testing.assert_allclose(sorted(seen), sorted(triple[3] for triple in expected_triples(labelled)), rtol=1e-5)
