"""The query set of a synthesis: written once, told from what is stored, bounded in memory."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from inranker.corpora import open_collection
from inranker.errors import UserError
from inranker.fingerprint import sha256_bytes
from inranker.storage import Store
from inranker.synthesis.collect import QUERIES, write_queries
from inranker.synthesis.filters import Context, FilterExecution, FilterOptions
from inranker.synthesis.raw import RawQueries
from inranker.types import Passage
from tests.unit.beir_folder import write_beir
from tests.unit.synthesis.raw_queries import random_words, raw_table

BEES = Passage("p1", "bees make honey in a hive", "Bees")
ANTS = Passage("p2", "ants make a hill of earth")
ROWS = [(BEES, "who makes honey"), (BEES, "x"), (ANTS, "Who makes honey?"), (ANTS, "where do ants live")]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    collection = open_collection(f"beir:{write_beir(tmp_path / 'set')}")
    return Context(collection, FilterOptions(), FilterExecution(device="cpu", progress=False))


def test_a_synthesized_query_set_tells_every_query_and_why_it_went(context: Context, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "out"))
    collected = write_queries(store, [raw_table(ROWS[:2]), raw_table(ROWS[2:])], ["length", "duplicates"], context)
    table = pq.read_table(tmp_path / "out" / QUERIES)
    assert table["query"].to_pylist() == [query for _, query in ROWS]
    assert table["dropped_by"].to_pylist() == [None, "length", "duplicates", None]
    assert collected.counts == {
        "generated": 4,
        "kept": 2,
        "passages_with_query": 2,
        "dropped_by_length": 1,
        "dropped_by_duplicates": 1,
    }
    assert collected.figures["filters"] == [
        {"filter": "length", "queries": 4, "kept": 3},
        {"filter": "duplicates", "queries": 3, "kept": 2},
    ]
    assert collected.shard.sha256 == sha256_bytes(store.read(QUERIES)) and collected.shard.rows == 4


def test_a_synthesized_query_set_that_is_there_stands_and_is_what_is_told(context: Context, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "out"))
    first = write_queries(store, [raw_table(ROWS)], ["length"], context)
    other = replace(context, options=FilterOptions(min_words=1))  # as a machine with other last bits would decide
    assert write_queries(store, [raw_table(ROWS)], ["length"], other) == first
    assert write_queries(Store(str(tmp_path / "fresh")), [raw_table(ROWS)], ["length"], other) != first


def test_a_synthesis_without_any_query_is_an_error(context: Context, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no query was generated"):
        write_queries(Store(str(tmp_path / "out")), [raw_table([])], [], context)


def test_passages_of_synthesized_queries_lie_on_disk_once_each() -> None:
    passages = [Passage(f"p{number}", text) for number, text in enumerate(random_words(50, 30, seed=2))]
    rows = [(passage, f"query {number}") for passage in passages for number in range(8)]
    with RawQueries([raw_table(rows[:170]), raw_table(rows[170:])]) as raw:
        assert len(raw) == 400 and raw.passages == 50
        assert raw.passage_texts.nbytes == sum(len(passage.text) for passage in passages)
        drawn = np.random.default_rng(0).permutation(400)
        assert raw.texts(drawn) == [rows[row][0].text for row in drawn]
        assert raw.table.nbytes < 400 * 200


def test_odd_texts_survive(context: Context, tmp_path: Path) -> None:
    odd = Passage("p1", "naïve ‮ \U0001f41d 蜜")
    store = Store(str(tmp_path / "out"))
    write_queries(store, [raw_table([(odd, "naïve \U0001f41d ‮ honey 蜜")])], ["length", "copied", "language"], context)
    assert pq.read_table(io.BytesIO(store.read(QUERIES)))["query"].to_pylist() == ["naïve \U0001f41d ‮ honey 蜜"]
