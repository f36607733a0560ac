"""Mining by choice: bands, near-duplicates, other first stages, workers, mended texts; and jobs that were cut off."""

import hashlib
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from inranker.corpora import open_collection
from inranker.corpora.texts import PassageTexts
from inranker.errors import UserError
from inranker.manifest import read_manifest
from inranker.mining import MineExecution, mine
from tests.unit.beir_folder import many_passages, write_beir
from tests.unit.mined import config_of, hashes_of, rows_of, write_collection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The small collection of `mined.py`."""
    return write_collection(tmp_path / "set")


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
write, done = mining.pair_shard, []
def parquet(*arguments):
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(1)
    return write(*arguments)
mining.pair_shard = parquet
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
