"""Pairs of two languages, row for row."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from inranker.aligning import AlignConfig, AlignIdentity, align
from inranker.errors import UserError
from inranker.labeling.job import PAIRS_STAGES
from inranker.manifest import read_manifest, verify_shards
from inranker.mining import MineConfig, MineExecution, MineIdentity, mine
from inranker.storage import Store
from tests.unit.beir_folder import many_passages, write_beir

QUERIES = [{"_id": "q0", "text": "alpha papa"}, {"_id": "q1", "text": "lima"}, {"_id": "q2", "text": "golf"}]
QRELS = [("q0", "d1", 1), ("q1", "d5", 1), ("q2", "d9", 1)]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Pairs mined from eighty English passages, in shards of eleven."""
    folder = write_beir(tmp_path / "english", many_passages(80), QUERIES, train=QRELS)
    how = MineExecution(progress=False, write_report=False)
    mine(MineConfig(MineIdentity(f"beir:{folder}", shard_rows=11), str(tmp_path / "pairs"), how))
    return tmp_path / "pairs"


def portuguese(tmp_path: Path, passages: int = 80, queries: int = 3) -> str:
    """The same ids with other texts."""
    rows = [{**row, "text": f"passagem {row['_id']}"} for row in many_passages(passages)]
    asked = [{**row, "text": f"pergunta {row['_id']}"} for row in QUERIES[:queries]]
    return f"beir:{write_beir(tmp_path / 'portuguese', rows, asked, train=[(q['_id'], 'd1', 1) for q in asked])}"


def rows_of(output: Path) -> list[dict[str, str]]:
    return [row for file in sorted(output.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def test_both_sides_have_the_same_rows_and_their_own_texts(pairs: Path, tmp_path: Path) -> None:
    output = tmp_path / "aligned"
    config = AlignConfig(AlignIdentity(str(pairs), portuguese(tmp_path), language="pt"), str(output))
    summary = align(config)
    english, other = rows_of(output / "en"), rows_of(output / "pt")
    assert english == rows_of(pairs) and len(english) == 30
    assert summary["aligned"] == summary["pairs"] == 30
    for one, two in zip(english, other, strict=True):
        same = ("query_id", "passage_id", "kind", "rank")
        assert [one[name] for name in same] == [two[name] for name in same]
        assert two["passage"] == f"passagem {one['passage_id']}"
        assert two["query"] == f"pergunta {one['query_id']}"
        assert (two["language"], two["source"]) == ("pt", "beir/portuguese")
    for language in ("en", "pt"):
        manifest = read_manifest(str(output / language))
        verify_shards(Store(str(output / language)), manifest)
        assert [shard.rows for shard in manifest.shards] == [11, 11, 8]
        assert manifest.stage in PAIRS_STAGES
    written = json.loads((output / "alignment.json").read_text())
    assert written.items() <= align(config).items()  # once more: nothing changes
    characters = [sum(len(row["passage"]) for row in rows) for rows in (english, other)]
    assert written["characters_ratio"] == round(characters[1] / characters[0], 4)


def test_what_the_other_collection_lacks_is_left_out_of_both_and_counted(pairs: Path, tmp_path: Path) -> None:
    output = tmp_path / "aligned"
    name = portuguese(tmp_path, passages=60, queries=2)
    summary = align(AlignConfig(AlignIdentity(str(pairs), name, language="pt"), str(output)))
    english, other = rows_of(output / "en"), rows_of(output / "pt")
    expected = [row for row in rows_of(pairs) if row["query_id"] in ("q0", "q1") and int(row["passage_id"][1:]) < 60]
    assert english == expected and 0 < len(expected) < 20
    assert [row["passage_id"] for row in other] == [row["passage_id"] for row in expected]
    assert (summary["query_missing"], summary["passage_missing"]) == (10, 20 - len(expected))


def test_collections_that_cannot_be_aligned(pairs: Path, tmp_path: Path) -> None:
    name = portuguese(tmp_path)
    with pytest.raises(UserError, match="are of language en and beir/portuguese of en; two"):
        align(AlignConfig(AlignIdentity(str(pairs), name), str(tmp_path / "same")))
    strangers = write_beir(tmp_path / "strangers")
    with pytest.raises(UserError, match=r"none of the 30 pairs of .* has its query and passage in beir/strangers"):
        align(AlignConfig(AlignIdentity(str(pairs), f"beir:{strangers}", "test", "pt"), str(tmp_path / "none")))
    assert not (tmp_path / "none").exists()
