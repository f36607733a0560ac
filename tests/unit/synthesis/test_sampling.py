"""Which passages get queries: seeded, of the asked length, alike from each part."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inranker.corpora import open_collection
from inranker.errors import UserError
from inranker.jobs.rows import from_parquet
from inranker.manifest import read_shard
from inranker.synthesis.config import SynthesizeIdentity
from inranker.synthesis.prompts import Book, read_templates
from inranker.synthesis.sampling import draw, draw_alike, draw_examples, sample_manifest, sample_store, share_out
from inranker.synthesis.strata import fit_clusters
from inranker.types import Passage
from tests.unit.beir_folder import write_beir

TOPICS = (
    ["bee", "honey", "hive", "wax", "flower"],
    ["engine", "wheel", "brake", "road", "fuel"],
    ["sea", "ship", "sail"],
)


def passages(count: int) -> list[dict[str, str]]:
    generator = random.Random(0)
    texts = (" ".join(generator.choices(TOPICS[number % 3], k=4 + number % 9)) for number in range(count))
    return [{"_id": f"{'abc'[number % 3]}-{number}", "text": text} for number, text in enumerate(texts)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("beir") / "small"
    return write_beir(place, passages(90), train=[("q1", "a-0", 1), ("q2", "b-1", 0)])


def chosen(folder: Path, **fields: object) -> SynthesizeIdentity:
    return SynthesizeIdentity(f"beir:{folder}", "model", **fields)


def drawn(folder: Path, **fields: object) -> list[str]:
    collection = open_collection(f"beir:{folder}")
    names = [passage.passage_id for passage in collection.passages_iter()]
    return [names[place] for place in draw(collection, chosen(folder, **fields)).places]


def test_a_sample_is_seeded_and_grows_without_exchanging_passages(folder: Path, tmp_path: Path) -> None:
    some, more = drawn(folder, passages=20), drawn(folder, passages=40)
    assert len(some) == 20 and set(some) < set(more)
    assert set(drawn(folder, passages=20, seed=1)) != set(some)
    backwards = write_beir(tmp_path / "backwards", passages(90)[::-1])
    assert drawn(backwards, passages=20) == some[::-1]  # whatever the order of the collection
    assert len(drawn(folder, passages=None)) == len(drawn(folder)) == 90


def test_only_passages_of_the_asked_length_are_drawn(folder: Path) -> None:
    texts = {passage["_id"]: passage["text"] for passage in passages(90)}
    found = drawn(folder, passages=None, min_characters=30, max_characters=40)
    assert sorted(found) == sorted(name for name, text in texts.items() if 30 <= len(text) <= 40) and found
    with pytest.raises(UserError, match="no passage of beir/small has 1000 to any characters"):
        drawn(folder, min_characters=1000)


@pytest.mark.parametrize("strata", ["source:^[a-z]", "cluster:3"])
def test_parts_are_drawn_from_alike(folder: Path, strata: str) -> None:
    found = drawn(folder, passages=30, strata=strata)
    assert [sum(name.startswith(part) for name in found) for part in "abc"] == [10, 10, 10]


def test_clusters_are_of_words_and_the_same_in_any_order() -> None:
    texts = [Passage(each["_id"], each["text"]) for each in passages(60)]
    clusters, again = (fit_clusters(order, 3, "en", 0) for order in (texts, texts[::-1]))
    assert np.array_equal(clusters.centres_CD, again.centres_CD)
    found = list(clusters(texts))
    assert [len(set(found[part::3])) for part in range(3)] == [1, 1, 1] and len(set(found)) == 3
    with pytest.raises(UserError, match="100 clusters of 60 passages"):
        fit_clusters(texts, 100, "en", 0)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(0, 200))
def test_shares_are_as_even_as_sizes_allow(sizes: list[int], wanted: int) -> None:
    shares = share_out(sizes, wanted)
    assert sum(shares) == min(wanted, sum(sizes))
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    open_ended = [share for share, size in zip(shares, sizes, strict=True) if share < size]
    assert not open_ended or max(shares) - min(open_ended) <= 1


def test_the_first_by_hash_of_each_part_are_taken() -> None:
    hashes, strata = np.array([5, 1, 4, 2, 3], np.uint64), np.array([0, 0, 0, 1, 1])
    assert draw_alike(hashes, strata, 3).tolist() in ([1, 2, 3], [1, 3, 4])
    assert draw_alike(hashes, np.zeros(5, int), 2).tolist() == [1, 3]


@pytest.mark.parametrize(
    "strata", ["source:(", "cluster:1", "cluster:x", "topic:3"], ids=["regex", "one", "no-number", "kind"]
)
def test_bad_strata_are_refused(folder: Path, strata: str) -> None:
    with pytest.raises(UserError, match="field strata"):
        drawn(folder, strata=strata)


def test_files_of_a_sample_hold_every_prompt_in_corpus_order(folder: Path, tmp_path: Path) -> None:
    collection = open_collection(f"beir:{folder}")
    asked = chosen(folder, passages=10, queries_per_passage=3, shard_rows=7)
    book = Book(read_templates(["vanilla", "gbq"]), [], 3, 50, "en", 8, 0)
    manifest = sample_manifest(str(tmp_path), collection, asked, book, "job")
    store = sample_store(str(tmp_path))
    table = pa.concat_tables([from_parquet(read_shard(store, shard)) for shard in manifest.shards])
    assert [shard.rows for shard in manifest.shards] == [7, 7, 7, 7, 2]
    assert table["passage_id"].to_pylist() == [name for name in drawn(folder, passages=10) for _ in range(3)]
    assert table["sample"].to_pylist() == [0, 1, 2] * 10
    assert set(table["prompt"].to_pylist()) == {"vanilla", "gbq"}
    store.delete("manifest.json")  # the start that wrote it was killed: the next one finds the same bytes
    assert sample_manifest(str(tmp_path), collection, asked, book, "job").shards == manifest.shards


def test_examples_are_relevant_pairs_of_the_split(folder: Path) -> None:
    collection = open_collection(f"beir:{folder}")
    (example,) = draw_examples(collection, chosen(folder))
    assert (example.query_id, example.passage_id, example.query) == ("q1", "a-0", "who makes honey")
    with pytest.raises(UserError, match="no split 'dev'"):
        draw_examples(collection, chosen(folder, examples_split="dev"))
