"""Mining: what is drawn, what is never drawn, and the bytes that come of it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inranker.corpora import open_collection
from inranker.errors import UserError
from inranker.manifest import read_manifest, verify_shards
from inranker.mining import MineExecution, mine
from inranker.retrieval.sampling import sample_negatives
from inranker.storage import Store
from tests.unit.beir_folder import many_passages, write_beir
from tests.unit.mined import QRELS, QUERIES, config_of, hashes_of, rows_of, write_collection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The small collection of `mined.py`."""
    return write_collection(tmp_path / "set")


def test_pairs_hold_what_the_contract_says(folder: Path, tmp_path: Path) -> None:
    summary = mine(config_of(folder, tmp_path / "pairs"))
    rows = rows_of(tmp_path / "pairs")
    assert pq.read_schema(tmp_path / "pairs" / "pairs-00000.parquet").field("rank").type == pa.int32()
    assert list(rows[0]) == ["query_id", "passage_id", "query", "passage", "kind", "rank", "source", "language"]
    texts = {passage.passage_id: passage.contents for passage in open_collection(f"beir:{folder}").passages_iter()}
    queries = {query["_id"]: query["text"] for query in QUERIES}
    for row in rows:
        assert row["passage"] == texts[row["passage_id"]]
        assert row["query"] == queries[row["query_id"]]
        assert (row["source"], row["language"]) == ("beir/set", "en")
    positives = [(row["query_id"], row["passage_id"]) for row in rows if row["kind"] == "positive"]
    assert positives == [("q0", "d1"), ("q0", "d9"), ("q1", "d5"), ("q2", "only")]
    assert Counter(row["query_id"] for row in rows if row["kind"] == "negative") == {"q0": 18, "q1": 9, "q2": 9}
    assert len({(row["query_id"], row["passage_id"]) for row in rows}) == len(rows)
    assert summary["counts"] | {"pairs": 40, "queries": 3, "positives": 4, "negatives": 36} == summary["counts"]


def test_a_positive_that_was_not_retrieved_is_kept_without_rank(folder: Path, tmp_path: Path) -> None:
    counts = mine(config_of(folder, tmp_path / "pairs"))["counts"]
    positives = [row for row in rows_of(tmp_path / "pairs") if row["kind"] == "positive"]
    unranked = [row["passage_id"] for row in positives if row["rank"] is None]
    assert "only" in unranked
    assert 0 < len(unranked) < len(positives)
    assert (counts["positives_not_retrieved"], counts["queries_without_positive"]) == (len(unranked), 1)


def test_ranks_are_those_of_the_first_stage(folder: Path, tmp_path: Path) -> None:
    from inranker.retrieval import retrieve

    mine(config_of(folder, tmp_path / "pairs", depth=40))
    collection = open_collection(f"beir:{folder}")
    run = retrieve(collection, list(collection.queries_iter("train")), 40)
    for row in rows_of(tmp_path / "pairs"):
        ranking = [document.passage_id for document in run[row["query_id"]]]
        if row["rank"] is None:
            assert row["kind"] == "positive"
            assert row["passage_id"] not in ranking
        else:
            assert ranking[row["rank"] - 1] == row["passage_id"]


@given(
    st.integers(0, 60),
    st.integers(0, 40),
    st.integers(0, 2**32),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
def test_draw_is_without_replacement_and_keeps_order(size: int, count: int, seed: int, query_id: str) -> None:
    candidates = list(range(100, 100 + size))
    drawn = sample_negatives(candidates, count, seed, query_id)
    assert len(drawn) == min(size, count)
    assert drawn == sorted(set(drawn))
    assert set(drawn) <= set(candidates)
    assert drawn == sample_negatives(candidates, count, seed, query_id)


def test_draw_is_uniform_and_known_by_heart() -> None:
    times = Counter(place for number in range(4000) for place in sample_negatives(range(20), 5, number, "q"))
    assert all(abs(count - 1000) < 150 for count in times.values())  # 5 sigma of a binomial(4000, 1/4) are 137
    # A change of these numbers changes every published set of pairs.
    assert sample_negatives(range(1000), 9, 42, "q1") == [22, 207, 264, 383, 392, 466, 557, 737, 952]


@pytest.mark.parametrize("seed", range(5))
def test_a_judged_positive_is_never_a_negative(folder: Path, tmp_path: Path, seed: int) -> None:
    mine(config_of(folder, tmp_path / "pairs", seed=seed, negatives_per_positive=39))
    relevant = {(query, passage) for query, passage, relevance in QRELS if relevance > 0}
    negatives = {
        (row["query_id"], row["passage_id"]) for row in rows_of(tmp_path / "pairs") if row["kind"] == "negative"
    }
    assert negatives and not negatives & relevant


def test_the_draw_of_a_query_does_not_depend_on_the_others(folder: Path, tmp_path: Path) -> None:
    mine(config_of(folder, tmp_path / "all"))
    fewer = write_beir(
        tmp_path / "fewer" / "set",
        [*many_passages(80), {"_id": "only", "text": "unrelated"}],
        QUERIES[::-1],
        train=QRELS[3:4],
    )
    mine(config_of(fewer, tmp_path / "one"))
    assert rows_of(tmp_path / "one") == [row for row in rows_of(tmp_path / "all") if row["query_id"] == "q1"]


@pytest.mark.parametrize("order", ["grouped", "shuffled"])
def test_same_seed_same_bytes_whatever_the_execution(folder: Path, tmp_path: Path, order: str) -> None:
    first = config_of(folder, tmp_path / "a", order=order, shard_rows=7)
    mine(first)
    other = MineExecution(cache=str(tmp_path / "cache"), threads=3, batch_queries=1, progress=False)
    moved = folder.rename(tmp_path / "moved").parent / "moved"
    (tmp_path / "set2").mkdir()
    moved.rename(tmp_path / "set2" / "set")
    second = replace(config_of(tmp_path / "set2" / "set", tmp_path / "b", order=order, shard_rows=7), execution=other)
    mine(second)
    assert hashes_of(tmp_path / "a") == hashes_of(tmp_path / "b")
    manifests = [read_manifest(str(tmp_path / name)) for name in "ab"]
    assert manifests[0].fingerprint == manifests[1].fingerprint
    mine(config_of(tmp_path / "set2" / "set", tmp_path / "c", order=order, shard_rows=7, seed=1))
    assert hashes_of(tmp_path / "c") != hashes_of(tmp_path / "a")


def test_orders_hold_the_same_pairs(folder: Path, tmp_path: Path) -> None:
    for order in ("grouped", "shuffled"):
        mine(config_of(folder, tmp_path / order, order=order))
    grouped, shuffled = rows_of(tmp_path / "grouped"), rows_of(tmp_path / "shuffled")
    key = lambda row: (row["query_id"], row["passage_id"])  # noqa: E731
    assert sorted(grouped, key=key) == sorted(shuffled, key=key)
    queries = [row["query_id"] for row in grouped]
    assert queries == sorted(queries)
    assert [row["query_id"] for row in shuffled] != queries


def test_shards_have_the_rows_they_are_told(folder: Path, tmp_path: Path) -> None:
    summary = mine(config_of(folder, tmp_path / "pairs", shard_rows=16))
    manifest = read_manifest(str(tmp_path / "pairs"))
    assert [shard.rows for shard in manifest.shards] == [16, 16, 8]
    assert [shard.sha256 for shard in manifest.shards] == hashes_of(tmp_path / "pairs")
    verify_shards(Store(str(tmp_path / "pairs")), manifest)
    collection = manifest.inputs["collection"]
    assert collection["name"] == "beir/set"
    assert collection["content_hash"] == open_collection(f"beir:{folder}").content_hash("train")
    assert summary["shards"] == 3


def test_too_few_candidates_are_reported_and_not_padded(folder: Path, tmp_path: Path) -> None:
    counts = mine(config_of(folder, tmp_path / "pairs", depth=10))["counts"]
    retrieved = Counter(row["query_id"] for row in rows_of(tmp_path / "pairs") if row["kind"] == "negative")
    assert retrieved["q0"] <= 10
    assert counts["queries_short_of_candidates"] >= 1
    assert counts["negatives"] + counts["negatives_missing"] == 36


def test_a_positive_that_the_corpus_lacks_is_counted(tmp_path: Path) -> None:
    passages = [*many_passages(80), {"_id": "blank", "text": ""}]
    qrels = [("q0", f"d{number}", 1) for number in range(40)] + [("q0", "gone", 1), ("q1", "blank", 1)]
    folder = write_beir(tmp_path / "set", passages, QUERIES, train=qrels)
    counts = mine(config_of(folder, tmp_path / "pairs"))["counts"]
    assert (counts["positives"], counts["positives_without_passage"], counts["queries_without_positive"]) == (40, 2, 1)
    assert counts["passages_skipped_empty"] == 1


def test_max_queries_draws_a_part_of_a_bigger_draw(folder: Path, tmp_path: Path) -> None:
    drawn = []
    for limit in (1, 2, 3, 99):
        mine(config_of(folder, tmp_path / str(limit), max_queries=limit))
        drawn.append({row["query_id"] for row in rows_of(tmp_path / str(limit))})
    assert [len(queries) for queries in drawn] == [1, 2, 3, 3]
    assert drawn[0] < drawn[1] < drawn[2] == drawn[3]


def test_a_finished_output_is_left_as_it_is(folder: Path, tmp_path: Path) -> None:
    assert mine(config_of(folder, tmp_path / "pairs"))["skipped"] is False
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "pairs").iterdir()}
    again = mine(config_of(folder, tmp_path / "pairs"))
    assert again["skipped"] is True
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "pairs").iterdir()} == times


def test_another_identity_is_refused_field_by_field(folder: Path, tmp_path: Path) -> None:
    mine(config_of(folder, tmp_path / "pairs"))
    with pytest.raises(UserError, match=r"seed: 42 -> 43"):
        mine(config_of(folder, tmp_path / "pairs", seed=43))
    write_beir(folder, [*many_passages(81), {"_id": "only", "text": "unrelated"}], QUERIES, train=QRELS)
    with pytest.raises(UserError, match="content_hash"):
        mine(config_of(folder, tmp_path / "pairs"))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("depth", 0, "field depth is 0; give it 1 or more"),
        ("negatives_per_positive", -1, "field negatives_per_positive is -1"),
        ("shard_rows", 0, "field shard_rows is 0"),
        ("max_queries", 0, "field max_queries is 0"),
        ("near_duplicates", 1.5, "field near_duplicates is 1.5"),
        ("bands", ["10-1:3"], "'10-1:3' is no band; write FIRST-LAST:COUNT"),
        ("bands", ["1-10"], "'1-10' is no band"),
        ("bands", ["1-10:3", "10-20:1"], "'10-20:1' overlaps another band"),
        ("retriever", "run:absent", "run absent cannot be read"),
        ("split", "dev", "no split 'dev'; its splits are train"),
        ("retriever", "x", "retriever 'x' is unknown"),
        ("language", "xx", "language 'xx' has no analyser"),
    ],
)
def test_bad_fields_are_one_sentence_and_write_nothing(
    folder: Path, tmp_path: Path, field: str, value: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        mine(config_of(folder, tmp_path / "pairs", **{field: value}))
    assert not (tmp_path / "pairs").exists()


def test_a_split_without_a_relevant_passage_writes_nothing(folder: Path, tmp_path: Path) -> None:
    write_beir(folder, train=[("q1", "p1", 0)])
    with pytest.raises(UserError, match="has no relevant passage"):
        mine(config_of(folder, tmp_path / "pairs"))
    assert not (tmp_path / "pairs").exists()
