"""A synthesized query set as a collection: mined as it is, filtered anew, exported."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from inranker.corpora import open_collection
from inranker.errors import UserError
from inranker.jobs.rows import from_parquet
from inranker.manifest import read_manifest
from inranker.mining import MineConfig, MineExecution, MineIdentity, mine
from inranker.synthesis.export import ExportQueriesConfig, export_queries
from inranker.synthesis.filters import FilterOptions
from inranker.synthesis.refilter import RefilterConfig, RefilterExecution, RefilterIdentity, refilter
from inranker.types import Passage
from tests.unit.beir_folder import PASSAGES, write_beir
from tests.unit.synthesis.raw_queries import make_synthesis
from tests.unit.training.labels import make_labels

BEES, ANTS, WASPS = (Passage(p["_id"], p["text"], p["title"]) for p in PASSAGES)
ROWS = [
    (BEES, "honey in a hive"),
    (BEES, "bees"),
    (ANTS, "hill of earth"),
    (ANTS, "nests of paper"),
    (WASPS, "who builds nests"),
]
SPLITS = ["train", "dev", "train-without-dev"]
SHOWN = {"name": "beir/other", "split": "train", "query_ids": ["7"], "texts": ["shown to it"]}


@pytest.fixture
def synthesis(tmp_path: Path) -> Path:
    """Five queries for three passages, of which `length` drops one."""
    argument = f"beir:{write_beir(tmp_path / 'set')}"
    return make_synthesis(tmp_path / "synthesis", argument, ROWS, "length", shown_queries=SHOWN)


def test_a_synthesized_query_set_is_a_collection(synthesis: Path) -> None:
    collection = open_collection(f"synthetic:{synthesis}")
    assert (collection.name, collection.language, collection.splits()) == ("synthetic/beir/set", "en", SPLITS)
    kept = [ROWS[0], *ROWS[2:]]
    assert [query.text for query in collection.queries_iter("train")] == [text for _, text in kept]
    qrels = list(collection.qrels_iter("train"))
    assert [(qrel.passage_id, qrel.relevance) for qrel in qrels] == [(passage.passage_id, 1) for passage, _ in kept]
    assert [qrel.query_id for qrel in qrels] == [query.query_id for query in collection.queries_iter("train")]
    source = open_collection(f"beir:{synthesis.parent / 'set'}")
    assert list(collection.passages_iter()) == list(source.passages_iter())
    assert collection.passages_hash() == source.passages_hash() != collection.content_hash("train")
    assert collection.counts("train")["judged_queries"] == 4
    assert "generated for passages of beir/set" in collection.licence
    assert open_collection(f"synthetic:{synthesis}", "pt").language == "pt"
    with pytest.raises(UserError, match="no split 'test'"):
        collection.queries_iter("test")


def test_its_dev_split_shares_no_source_passage_with_the_rest(tmp_path: Path) -> None:
    bodies = [{"_id": f"p{number}", "text": f"word{number} of the text"} for number in range(60)]
    argument = f"beir:{write_beir(tmp_path / 'set', bodies)}"
    rows = [(Passage(row["_id"], row["text"]), f"{ask} {row['text']}") for row in bodies for ask in ("what is", "why")]
    collection = open_collection(f"synthetic:{make_synthesis(tmp_path / 'out', argument, rows, 'length')}")
    held = {split: {qrel.passage_id for qrel in collection.qrels_iter(split)} for split in collection.splits()}
    assert held["dev"] and not held["dev"] & held["train-without-dev"]
    assert held["dev"] | held["train-without-dev"] == held["train"] and len(held["dev"]) < 15
    counted = {split: len(list(collection.queries_iter(split))) for split in collection.splits()}
    assert counted == {split: collection.counts(split)["judged_queries"] for split in collection.splits()}
    assert counted["dev"] + counted["train-without-dev"] == counted["train"]


def test_a_synthesized_query_set_is_mined_as_it_is(synthesis: Path, tmp_path: Path) -> None:
    identity = MineIdentity(f"synthetic:{synthesis}", "train", negatives_per_positive=2)
    summary = mine(MineConfig(identity, str(tmp_path / "pairs"), MineExecution(progress=False)))
    assert summary["counts"]["positives"] == 4 and summary["report"]
    table = pq.read_table(tmp_path / "pairs" / "pairs-00000.parquet")
    positive = table.filter(table["kind"].to_numpy(zero_copy_only=False) == "positive")
    found = list(zip(positive["query"].to_pylist(), positive["passage_id"].to_pylist(), strict=True))
    assert found == [(text, passage.passage_id) for passage, text in [ROWS[0], *ROWS[2:]]]
    assert positive["passage"][0].as_py() == BEES.contents and set(table["source"].to_pylist()) == {
        "synthetic/beir/set"
    }
    link = read_manifest(str(tmp_path / "pairs")).inputs["collection"]["synthesis"]
    assert link["content_hash"] == read_manifest(str(synthesis)).content_hash and link["shown_queries"] == SHOWN


def test_a_synthesis_whose_collection_changed_is_refused(synthesis: Path, tmp_path: Path) -> None:
    write_beir(tmp_path / "set", [*PASSAGES[:2], {**PASSAGES[2], "text": "changed since"}])
    with pytest.raises(UserError, match="have changed since queries were written"):
        open_collection(f"synthetic:{synthesis}")


def test_what_is_no_query_set_is_refused(synthesis: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has not finished"):
        open_collection(f"synthetic:{tmp_path / 'nothing'}")
    identity = MineIdentity(f"synthetic:{synthesis}", "train", negatives_per_positive=1)
    mine(MineConfig(identity, str(tmp_path / "pairs"), MineExecution(progress=False, write_report=False)))
    with pytest.raises(UserError, match="stage 'mine', not a query set"):
        open_collection(f"synthetic:{tmp_path / 'pairs'}")


def config(synthesis: Path, output: Path, *filters: str, **options: object) -> RefilterConfig:
    chosen = RefilterIdentity(str(synthesis), list(filters), FilterOptions(**options))  # type: ignore[arg-type]
    return RefilterConfig(chosen, str(output), RefilterExecution(progress=False))


def test_a_synthesis_is_filtered_anew_from_all_its_generations(synthesis: Path, tmp_path: Path) -> None:
    summary = refilter(config(synthesis, tmp_path / "out", "round_trip", "length", min_words=1))
    assert summary["counts"] == {
        "generated": 5,
        "kept": 4,
        "passages_with_query": 3,
        "dropped_by_round_trip": 1,
        "dropped_by_length": 0,
    }
    texts = [query.text for query in open_collection(f"synthetic:{tmp_path / 'out'}").queries_iter("train")]
    assert texts == ["honey in a hive", "bees", "hill of earth", "who builds nests"]
    assert read_manifest(str(tmp_path / "out")).inputs["shown_queries"] == SHOWN
    again = refilter(config(synthesis, tmp_path / "out", "round_trip", "length", min_words=1))
    assert again["skipped"] and again["counts"] == summary["counts"]
    with pytest.raises(UserError, match="made under another identity"):
        refilter(config(synthesis, tmp_path / "out", "round_trip"))
    with pytest.raises(UserError, match="name the synthesis that it comes from"):
        refilter(config(tmp_path / "out", tmp_path / "more", "length"))
    with pytest.raises(UserError, match="filters is empty"):
        refilter(config(synthesis, tmp_path / "more"))


def test_a_synthesis_that_is_filtered_to_nothing_is_no_collection(synthesis: Path, tmp_path: Path) -> None:
    refilter(config(synthesis, tmp_path / "none", "length", min_words=30))
    with pytest.raises(UserError, match="have dropped every query"):
        open_collection(f"synthetic:{tmp_path / 'none'}")


def test_a_synthesis_is_filtered_by_real_labels_of_its_pairs(synthesis: Path, tmp_path: Path) -> None:
    """Synthesize, mine, label, filter by what the teacher said, and mine what it agreed to."""
    pairs = tmp_path / "pairs"
    identity = MineIdentity(f"synthetic:{synthesis}", "train", negatives_per_positive=2)
    mine(MineConfig(identity, str(pairs), MineExecution(progress=False, write_report=False)))
    labels = make_labels(tmp_path / "labels", pairs)
    margins: dict[str, float] = {}
    table = from_parquet((pairs / "pairs-00000.parquet").read_bytes())
    given = from_parquet(next((tmp_path / "labels").rglob("*.parquet")).read_bytes())
    for row, false, true in zip(
        *(given[name].to_pylist() for name in ("row", "false_logit", "true_logit")), strict=True
    ):
        if table["kind"][row].as_py() == "positive":
            margins[table["query"][row].as_py()] = true - false
    bound = sorted(margins.values())[1]
    chosen = config(synthesis, tmp_path / "agreed", "teacher_margin", labels=str(labels), teacher_margin=bound - 1e-4)
    summary = refilter(chosen)
    texts = {query.text for query in open_collection(f"synthetic:{tmp_path / 'agreed'}").queries_iter("train")}
    assert texts == {text for text, margin in margins.items() if margin >= bound - 1e-4} and len(texts) == 3
    assert summary["counts"]["dropped_by_teacher_margin"] == 2  # one too low, one that `length` kept from being mined
    moved = replace(chosen.identity, filter=replace(chosen.identity.filter, teacher_margin=None))
    with pytest.raises(UserError, match="made under another identity"):
        refilter(replace(chosen, identity=moved))


def test_a_synthesized_query_set_is_exported_as_a_collection_of_files(synthesis: Path, tmp_path: Path) -> None:
    summary = export_queries(ExportQueriesConfig(str(synthesis), str(tmp_path / "beir")))
    assert {name: summary[name] for name in ("queries", "qrels", "passages")} == {
        "queries": 4,
        "qrels": 4,
        "passages": 3,
    }
    ours, theirs = open_collection(f"synthetic:{synthesis}"), open_collection(f"beir:{tmp_path / 'beir'}")
    for name in ("queries_iter", "qrels_iter"):
        assert list(getattr(ours, name)("train")) == list(getattr(theirs, name)("train"))
    assert ours.passages_hash() == theirs.passages_hash()
    bare = export_queries(ExportQueriesConfig(str(synthesis), str(tmp_path / "bare"), corpus=False))
    assert bare["passages"] == 0 and not (tmp_path / "bare" / "corpus.jsonl").exists()
    assert json.loads((tmp_path / "bare" / "queries.jsonl").read_text().splitlines()[0])["text"] == "honey in a hive"
    with pytest.raises(UserError, match="is not empty"):
        export_queries(ExportQueriesConfig(str(synthesis), str(tmp_path / "beir")))
