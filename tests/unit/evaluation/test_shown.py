"""Queries that were shown to the generator of a synthesis are refused, by the chain of manifests."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from inranker.errors import UserError
from inranker.evaluation.config import EvaluateConfig, EvaluateExecution, EvaluateIdentity
from inranker.evaluation.stage import evaluate
from inranker.fingerprint import fingerprint
from inranker.manifest import Manifest, write_manifest
from inranker.mining import MineConfig, MineExecution, MineIdentity, mine
from inranker.rerankers.create import T5Shape, create_t5
from inranker.storage import Store
from inranker.training.config import TrainIdentity
from inranker.training.custody import find_source
from inranker.types import Passage
from tests.unit.beir_folder import PASSAGES, write_beir
from tests.unit.synthesis.raw_queries import make_synthesis
from tests.unit.training.labels import make_labels

QUERIES = [{"_id": "q1", "text": "who makes honey"}, {"_id": "q2", "text": "paper nests"}]
SHOWN = {"name": "beir/set", "split": "test", "query_ids": ["q1"], "texts": ["Who makes  honey"]}


@pytest.fixture
def student(tmp_path: Path, tokenizer: Path) -> Path:
    """A student of labels of pairs that were mined for queries whose generator was shown q1 of `set`."""
    argument = f"beir:{write_beir(tmp_path / 'set', None, QUERIES)}"
    rows = [(Passage(p["_id"], p["text"], p["title"]), f"generated for {p['_id']}") for p in PASSAGES]
    synthesis = make_synthesis(tmp_path / "synthesis", argument, rows, shown_queries=SHOWN)
    identity = MineIdentity(f"synthetic:{synthesis}", "train", negatives_per_positive=1)
    mine(MineConfig(identity, str(tmp_path / "pairs"), MineExecution(progress=False, write_report=False)))
    labels = make_labels(tmp_path / "labels", tmp_path / "pairs")
    return trained(tmp_path / "first", tokenizer, labels=str(labels))


def trained(output: Path, tokenizer: Path, start: str = "elsewhere/unknown", **source: str) -> Path:
    """What training leaves behind, without the training: weights, and the manifest beside them."""
    inputs: dict[str, Any] = dict(find_source(TrainIdentity(start, **source)).inputs)  # type: ignore[arg-type]
    told = {"of": str(output)}
    create_t5(T5Shape(16, 32, 8, 2, 1, 1), tokenizer, 0, output / "student")
    links = {**inputs, "start": {"path": start, "content": "c"}}
    write_manifest(Store(str(output)), Manifest("train", fingerprint(told), told, links))
    return output / "student"


def config(student: Path, collection: Path, **identity: Any) -> EvaluateConfig:
    chosen = EvaluateIdentity(f"beir:{collection}", systems=["bm25", f"student={student}"], depth=3, **identity)
    return EvaluateConfig(chosen, None, EvaluateExecution(device="cpu", progress=False))


def test_a_query_shown_to_the_synthesis_is_refused_by_name(student: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1 of the 2 queries were shown .* student was trained on \(such as q1\)"):
        evaluate(config(student, tmp_path / "set"))
    bm25 = dataclasses.replace(config(student, tmp_path / "set").identity, systems=["bm25"])
    assert "shown_queries" not in evaluate(EvaluateConfig(bm25))


def test_shown_queries_of_a_synthesis_are_left_out_or_accepted_and_marked(student: Path, tmp_path: Path) -> None:
    left = evaluate(config(student, tmp_path / "set", shown_queries="leave_out"))
    assert left["queries"] == 1 and left["shown_queries"] == {
        "rule": "leave_out",
        "systems_by_query": {"q1": ["student"]},
    }
    kept = evaluate(config(student, tmp_path / "set", shown_queries="accept"))
    assert kept["queries"] == 2 and kept["shown_queries"]["rule"] == "accept"
    output = EvaluateConfig(config(student, tmp_path / "set", shown_queries="accept").identity, str(tmp_path / "out"))
    evaluate(output)
    assert evaluate(output)["shown_queries"]["systems_by_query"] == {"q1": ["student"]}


def test_the_chain_to_a_synthesis_goes_through_starts_and_teachers(
    student: Path, tmp_path: Path, tokenizer: Path
) -> None:
    judged = [("q9", "p1", 1)]
    other = write_beir(tmp_path / "other", None, [{"_id": "q9", "text": "unshown"}], test=judged, train=judged)
    mined = MineIdentity(f"beir:{other}", "train", negatives_per_positive=1)
    mine(MineConfig(mined, str(tmp_path / "clean"), MineExecution(progress=False, write_report=False)))
    second = trained(tmp_path / "second", tokenizer, str(student), pairs=str(tmp_path / "clean"))
    with pytest.raises(UserError, match="such as q1"):
        evaluate(config(second, tmp_path / "set"))
    assert evaluate(config(second, other))["queries"] == 1
    unrelated = trained(tmp_path / "third", tokenizer, pairs=str(tmp_path / "clean"))
    assert evaluate(config(unrelated, tmp_path / "set"))["queries"] == 2


def test_a_shown_query_is_known_by_its_text_in_another_collection(student: Path, tmp_path: Path) -> None:
    """Ids mean something in their own collection alone; the words are the same anywhere."""
    renamed = [{"_id": "a", "text": "who makes honey"}, {"_id": "q1", "text": "something else"}]
    other = write_beir(tmp_path / "copy", None, renamed, test=[("a", "p1", 1), ("q1", "p3", 1)])
    with pytest.raises(UserError, match=r"1 of the 2 queries .*such as a\)"):
        evaluate(config(student, other))
