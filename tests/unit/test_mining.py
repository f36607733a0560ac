"""Mining: what is drawn, what is never drawn, and the bytes that come of it."""

import hashlib
import os
import signal
import subprocess
import sys
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
from inranker.corpora.texts import PassageTexts
from inranker.errors import UserError
from inranker.manifest import read_manifest, verify_shards
from inranker.mining import MineConfig, MineExecution, MineIdentity, mine
from inranker.retrieval.sampling import sample_negatives
from inranker.storage import Store
from tests.unit.beir_folder import many_passages, write_beir

QUERIES = [
    {"_id": f"q{number}", "text": f"{word} papa"} for number, word in enumerate(["alpha", "bravo", "echo", "lima"])
]
QRELS = [("q0", "d1", 1), ("q0", "d9", 2), ("q0", "d3", 0), ("q1", "d5", 1), ("q2", "only", 1), ("q3", "d7", 0)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """80 passages that share terms, one that shares none with its query, four queries of which one has no positive."""
    passages = [*many_passages(80), {"_id": "only", "text": "unrelated"}]
    return write_beir(tmp_path / "set", passages, QUERIES, train=QRELS)


def config_of(folder: Path, output: Path | str, **identity: Any) -> MineConfig:
    """A mine job over the folder."""
    fields: dict[str, Any] = {"collection": f"beir:{folder}", "split": "train", **identity}
    return MineConfig(MineIdentity(**fields), str(output), MineExecution(progress=False))


def rows_of(output: Path) -> list[dict[str, Any]]:
    """All pairs in order."""
    return [row for file in sorted(output.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def hashes_of(output: Path) -> list[str]:
    """sha256 of every shard."""
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(output.glob("*.parquet"))]


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


def test_bands_draw_by_rank(folder: Path, tmp_path: Path) -> None:
    mine(config_of(folder, tmp_path / "pairs", bands=["1-10:2", "21-40:3"]))
    ranks = [(row["query_id"], row["rank"]) for row in rows_of(tmp_path / "pairs") if row["kind"] == "negative"]
    for query_id, positives in (("q0", 2), ("q1", 1)):
        own = [rank for query, rank in ranks if query == query_id]
        assert len([rank for rank in own if rank <= 10]) == 2 * positives
        assert len([rank for rank in own if 21 <= rank <= 40]) == 3 * positives
        assert len(own) == 5 * positives
        assert own == sorted(own)


def test_one_band_from_the_top_is_the_default(folder: Path, tmp_path: Path) -> None:
    mine(config_of(folder, tmp_path / "default", depth=40, negatives_per_positive=4))
    mine(config_of(folder, tmp_path / "band", bands=["1-40:4"]))
    assert hashes_of(tmp_path / "default") == hashes_of(tmp_path / "band")


def test_near_duplicates_of_a_positive_are_left_out_on_request(tmp_path: Path) -> None:
    text = "alpha the bees of the valley make honey in a hive of straw every summer"
    copies = [{"_id": f"copy{number}", "text": f"{text} again {number}"} for number in range(8)]
    passages = [{"_id": "positive", "text": text}, *copies, *many_passages(60)]
    folder = write_beir(tmp_path / "set", passages, [{"_id": "q", "text": "alpha honey"}], train=[("q", "positive", 1)])
    drawn = {}
    for share in (None, 0.5):
        summary = mine(config_of(folder, tmp_path / str(share), depth=16, near_duplicates=share))
        negatives = [row for row in rows_of(tmp_path / str(share)) if row["kind"] == "negative"]
        drawn[share] = [row["passage_id"] for row in negatives]
        assert [row["rank"] for row in negatives] == sorted(row["rank"] for row in negatives)
        counts = summary["counts"]
        assert counts["negatives"] + counts["negatives_missing"] == 9
    copied = [name for name in drawn[None] if name.startswith("copy")]
    assert copied and len(drawn[None]) == 9
    assert not [name for name in drawn[0.5] if name.startswith("copy")]
    assert set(drawn[None]) - set(copied) <= set(drawn[0.5])
    assert counts["near_duplicates_left_out"] >= len(copied)


def test_candidates_of_a_run_file_and_of_two_first_stages_in_turn(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "dense.run"
    lines = [f"{query} Q0 d{number} {rank} {9 - rank} dense" for query in ("q0", "q1", "q2")
             for rank, number in enumerate((70, 71), start=1)]  # fmt: skip
    run.write_text("\n".join(lines) + "\n")
    mine(config_of(folder, tmp_path / "run", retriever=f"run:{run}"))
    negatives = [row for row in rows_of(tmp_path / "run") if row["kind"] == "negative"]
    assert {row["passage_id"]: row["rank"] for row in negatives} == {"d70": 1, "d71": 2}
    mine(config_of(folder, tmp_path / "both", retriever=f"run:{run}+bm25s", depth=6, negatives_per_positive=6))
    rows = [row for row in rows_of(tmp_path / "both") if row["query_id"] == "q1" and row["rank"]]
    assert {row["passage_id"]: row["rank"] for row in rows}.items() >= {"d70": 1, "d71": 3}.items()
    assert len(rows) == 6
    identity = read_manifest(str(tmp_path / "run")).identity["retriever"]
    assert identity == {"retriever": "run", "sha256": hashlib.sha256(run.read_bytes()).hexdigest()}
    run.write_text(lines[0].replace("d70", "elsewhere") + "\n")
    with pytest.raises(UserError, match=r"run .*dense.run ranks passage 'elsewhere', which beir/set does not have"):
        mine(config_of(folder, tmp_path / "foreign", retriever=f"run:{run}"))


def test_ray_workers_draw_the_same_bytes(folder: Path, tmp_path: Path, ray_session: None) -> None:
    for name, workers in (("alone", None), ("one", 1), ("two", 2)):
        how = MineExecution(cache=str(tmp_path / f"cache-{name}"), workers=workers, batch_queries=1, progress=False)
        mine(replace(config_of(folder, tmp_path / name, shard_rows=7), execution=how))
    assert hashes_of(tmp_path / "alone") == hashes_of(tmp_path / "one") == hashes_of(tmp_path / "two")
    assert len(list((tmp_path / "cache-two").iterdir())) == 1
    how = MineExecution(cache=str(tmp_path / "cache-two"), workers=999, progress=False)
    with pytest.raises(UserError, match="999 of 1 threads need 999 CPUs, and the cluster has"):
        mine(replace(config_of(folder, tmp_path / "many"), execution=how))


def test_texts_are_mended_on_request(tmp_path: Path) -> None:
    rows = [{"_id": "p1", "title": "Caf\u00c3\u00a9", "text": "a&nbsp;place &amp; coffee"}, *many_passages(20)]
    queries = [{"_id": "q", "text": "alpha caf\u00c3\u00a9"}]
    folder = write_beir(tmp_path / "set", rows, queries, train=[("q", "p1", 1)])
    mine(config_of(folder, tmp_path / "as-they-are"))
    mine(config_of(folder, tmp_path / "mended", fix_text=True))
    before, after = (rows_of(tmp_path / name)[0] for name in ("as-they-are", "mended"))
    assert (before["query"], before["passage"]) == (
        "alpha caf\u00c3\u00a9",
        "Caf\u00c3\u00a9 a&nbsp;place &amp; coffee",
    )
    assert (after["query"], after["passage"]) == ("alpha caf\u00e9", "Caf\u00e9 a\u00a0place & coffee")
    assert (after["rank"], before["rank"]) == (1, 1)
    hashes = [read_manifest(str(tmp_path / name)).identity["content_hash"] for name in ("as-they-are", "mended")]
    assert hashes[0] != hashes[1]


def test_workers_need_a_cache(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give workers 1 or more and a cache directory"):
        mine(replace(config_of(folder, tmp_path / "pairs"), execution=MineExecution(workers=2)))


KILLED_MINE = """
import os, signal, sys
from inranker import mining
write, done = mining._parquet, []
def parquet(*arguments):
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(1)
    return write(*arguments)
mining._parquet = parquet
how = mining.MineExecution(progress=False)
mining.mine(mining.MineConfig(mining.MineIdentity("beir:" + sys.argv[1], shard_rows=7), sys.argv[2], how))
"""


def test_killed_job_is_completed_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_MINE, str(folder), str(tmp_path / "killed")]
    assert subprocess.run(command, check=False, env=os.environ).returncode == -signal.SIGKILL
    assert len(list((tmp_path / "killed").glob("*.parquet"))) == 2
    assert mine(config_of(folder, tmp_path / "killed", shard_rows=7))["skipped"] is False
    mine(config_of(folder, tmp_path / "whole", shard_rows=7))
    assert hashes_of(tmp_path / "killed") == hashes_of(tmp_path / "whole")
    assert len(hashes_of(tmp_path / "whole")) == 6


def test_a_shard_with_other_bytes_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    mine(config_of(folder, tmp_path / "pairs"))
    (tmp_path / "pairs" / "manifest.json").unlink()
    (tmp_path / "pairs" / "pairs-00000.parquet").write_bytes(b"other")
    with pytest.raises(UserError, match=r"pairs-00000.parquet is there with other bytes"):
        mine(config_of(folder, tmp_path / "pairs"))


def test_own_document_is_neither_positive_nor_negative_in_arguana(tmp_path: Path) -> None:
    queries = [{"_id": "d4", "text": many_passages(80)[4]["text"]}]
    qrels = [("d4", "d4", 1), ("d4", "d20", 1)]
    for name, expected in (("arguana", {"d20"}), ("other", {"d4", "d20"})):
        mine(
            config_of(write_beir(tmp_path / name, many_passages(80), queries, train=qrels), tmp_path / f"{name}-pairs")
        )
        rows = rows_of(tmp_path / f"{name}-pairs")
        assert {row["passage_id"] for row in rows if row["kind"] == "positive"} == expected
        assert "d4" not in {row["passage_id"] for row in rows if row["kind"] == "negative"}


def test_texts_are_looked_up_by_id(folder: Path) -> None:
    collection = open_collection(f"beir:{folder}")
    with PassageTexts(collection, ["only", "d1", "nobody"]) as texts:
        assert texts["only"] == "unrelated"
        assert ("d1" in texts, "nobody" in texts, "d2" in texts) == (True, False, False)
        with pytest.raises(KeyError):
            texts["nobody"]
