"""Datasets of the ir_datasets library, with local files in place of downloads."""

from collections.abc import Iterator
from pathlib import Path

import ir_datasets
import pytest

from inranker.corpora import open_collection
from inranker.errors import UserError
from inranker.types import Passage, Qrel, Query


@pytest.fixture
def local_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A dataset `local` with documents and the judged subset `local/test`, registered as the library does it."""
    (tmp_path / "docs.tsv").write_text("d1\tfirst text\nd2\tsecond text\n")
    (tmp_path / "queries.tsv").write_text("q1\tfirst\n")
    (tmp_path / "qrels.txt").write_text("q1 0 d1 1\n")
    docs = str(tmp_path / "docs.tsv")
    judged = ir_datasets.create_dataset(docs, str(tmp_path / "queries.tsv"), str(tmp_path / "qrels.txt"))
    monkeypatch.setattr(ir_datasets, "registry", registry := ir_datasets.util.Registry())
    registry.register("local", ir_datasets.create_dataset(docs))
    registry.register("local/test", judged)
    registry.register("missing", ir_datasets.create_dataset(str(tmp_path / "nowhere.tsv")))
    yield


@pytest.mark.usefixtures("local_datasets")
@pytest.mark.parametrize("dataset_id", ["local", "local/test"])
def test_reads_documents_queries_and_qrels(dataset_id: str) -> None:
    collection = open_collection(f"ir_datasets:{dataset_id}", "pt")
    assert (collection.name, collection.language, collection.splits()) == (dataset_id, "pt", ["test"])
    assert list(collection.passages_iter()) == [Passage("d1", "first text"), Passage("d2", "second text")]
    assert list(collection.queries_iter("test")) == [Query("q1", "first")]
    assert list(collection.qrels_iter("test")) == [Qrel("q1", "d1", 1)]


@pytest.mark.usefixtures("local_datasets")
def test_what_the_library_cannot_provide_is_one_sentence() -> None:
    with pytest.raises(UserError, match="could not provide missing"):
        list(open_collection("ir_datasets:missing").passages_iter())


def test_splits_of_known_datasets() -> None:
    assert open_collection("ir_datasets:beir/scifact").splits() == ["test", "train"]
    assert open_collection("ir_datasets:vaswani").splits() == ["all"]
    portuguese = open_collection("ir_datasets:mmarco/pt")
    assert portuguese.language == "pt"
    assert "dev/small" in portuguese.splits()


def test_only_arguana_declares_its_queries_documents() -> None:
    assert open_collection("ir_datasets:beir/arguana").queries_are_documents
    assert not open_collection("ir_datasets:beir/scifact").queries_are_documents


def test_unknown_id_is_one_sentence() -> None:
    with pytest.raises(UserError, match="knows no dataset 'beir/scifacts'"):
        open_collection("ir_datasets:beir/scifacts")
