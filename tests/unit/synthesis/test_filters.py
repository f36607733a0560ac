"""Filters of synthesized queries: what each keeps and drops, in which order, and what is told of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from inranker.corpora import open_collection
from inranker.errors import UserError
from inranker.rerankers import load_reranker
from inranker.synthesis.filters import (
    FILTERS,
    Context,
    FilterExecution,
    FilterOptions,
    filter_queries,
    identity,
    yields,
)
from inranker.synthesis.filters.duplicates import grams, resemblance
from inranker.synthesis.filters.text import is_copied, words
from inranker.synthesis.raw import RawQueries, query_id
from inranker.types import Passage
from tests.unit.beir_folder import write_beir
from tests.unit.synthesis.raw_queries import random_words, raw_table

BEES = Passage("p1", "bees make honey in a hive", "Bees")
ANTS = Passage("p2", "ants make a hill of earth")
WASPS = Passage("p3", "wasps build nests of paper", "Wasps")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Three passages, those above."""
    collection = open_collection(f"beir:{write_beir(tmp_path / 'set')}")
    return Context(collection, FilterOptions(), FilterExecution(device="cpu", progress=False))


def run(context: Context, table: pa.Table, *names: str, **options: Any) -> pa.Table:
    with RawQueries([table]) as raw:
        return filter_queries(raw, names, replace(context, options=FilterOptions(**options)))


def kept(table: pa.Table) -> list[str]:
    return list(table.filter(table["dropped_by"].is_null())["query"].to_pylist())


def test_no_filter_keeps_every_synthesized_query_and_names_it_by_content(context: Context) -> None:
    rows = [(BEES, "who makes honey"), (BEES, "who makes honey"), (ANTS, "")]
    table = run(context, raw_table(rows))
    assert table["dropped_by"].to_pylist() == [None] * 3
    ids = table["query_id"].to_pylist()
    assert ids[0] == query_id("p1", "vanilla", 0, "who makes honey") == "s" + ids[0][1:] and len(set(ids)) == 3
    assert run(context, raw_table(list(reversed(rows[:1]))))["query_id"].to_pylist() == ids[:1]


def test_every_filter_of_synthesized_queries_takes_a_set_of_none_and_of_one(
    context: Context, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conformance test of the registry."""
    from inranker.synthesis.filters import teacher as margins

    monkeypatch.setattr(margins, "iter_labelled_pairs", lambda url: iter([labelled("p1", 3.0)]))
    for name in FILTERS:
        chosen = {"reranker": str(teacher), "labels": str(tmp_path)}
        table = run(context, raw_table([(BEES, "who makes sweet honey")]), name, **chosen)
        assert table.num_rows == 1 and table["dropped_by"].to_pylist() in ([None], [name]), name
        dropping = raw_table([(BEES, "who makes sweet honey")])
        none_left = run(context, dropping, "length", *({name} - {"length"}), **chosen, min_words=9, max_words=9)
        assert none_left["dropped_by"].to_pylist() == ["length"], name


def labelled(passage_id: str, margin: float, query: str = "who makes sweet honey") -> pa.Table:
    name = query_id("p1", "vanilla", 0, query)
    return pa.table(
        {
            "query_id": [name],
            "passage_id": [passage_id],
            "false_logit": [0.0],
            "true_logit": [margin],
            "kind": ["positive"],
        }
    )


def test_length_counts_words_of_any_script(context: Context) -> None:
    rows = [(BEES, text) for text in ("who", "who makes honey?", "蜜蜂做什么", "ผึ้งทำ", "?? !!", "a b c d e f")]
    assert kept(run(context, raw_table(rows), "length", max_words=5)) == ["who makes honey?", "蜜蜂做什么", "ผึ้งทำ"]
    assert words("Don’t; STRASSE ﬁre-fly") == ["don", "t", "strasse", "fire", "fly"]
    assert words("किताब पढ़ना") == ["किताब", "पढ़ना"]  # vowel signs stay with their letters


def test_a_copied_sentence_is_no_query(context: Context) -> None:
    rows = [
        (BEES, "Bees make honey in a hive."),  # all of it
        (BEES, "who: bees make honey in a hive"),  # six words of seven
        (BEES, "make honey"),  # keywords
        (BEES, "in what do bees make honey"),
        (ANTS, "bees make honey in a hive"),  # of another passage
    ]
    assert kept(run(context, raw_table(rows), "copied", copied_share=0.85)) == [query for _, query in rows[2:]]
    assert is_copied("a b c d e", "x a b c d y", 0.8, 5) and not is_copied("a b c d e", "x a b c d y", 0.81, 5)
    assert not is_copied("he ate a fig tart", "she ate a fig tartlet", 0.8, 5)  # whole words alone


def test_of_equal_synthesized_queries_the_first_stays(context: Context) -> None:
    rows = [
        (BEES, "who makes honey"),
        (ANTS, "Who makes  HONEY?"),
        (ANTS, "who makes hills"),
        (BEES, "who makes hills"),
    ]
    assert kept(run(context, raw_table(rows), "duplicates")) == ["who makes honey", "who makes hills"]


def test_near_duplicates_are_those_an_exhaustive_comparison_finds(context: Context) -> None:
    generator = np.random.default_rng(0)
    queries = random_words(150, 8, seed=1)
    for _ in range(150):  # copies with one to four words exchanged
        source = queries[generator.integers(len(queries))].split()
        for _ in range(generator.integers(1, 5)):
            source[generator.integers(8)] = random_words(1, 1, int(generator.integers(1 << 30)))[0]
        queries.append(" ".join(source))
    expected: list[str] = []
    for query in queries:
        if all(resemblance(grams(query), grams(other)) < 0.75 for other in expected):
            expected.append(query)
    assert 150 < len(expected) < 300
    found = kept(run(context, raw_table([(BEES, query) for query in queries]), "near_duplicates", near_duplicate=0.75))
    # MinHash overlooks a pair at the bound with a probability of 0.4 %.
    assert set(expected) <= set(found) and len(set(found) - set(expected)) <= 2


def test_another_language_is_dropped_and_a_doubtful_one_stays(context: Context) -> None:
    rows = [
        (BEES, "how do bees make honey from the nectar of flowers"),
        (BEES, "como as abelhas produzem mel a partir do néctar das flores"),
        (BEES, "wie machen Bienen aus dem Nektar der Blüten ihren Honig"),
        (BEES, "Pyridostatin deregulates G2/M progression."),
    ]
    table = run(context, raw_table(rows), "language")
    assert kept(table) == [rows[0][1], rows[3][1]]
    assert table["language_probability"][0].as_py() > 0.5 > table["language_probability"][1].as_py()


def test_top_k_by_log_probability_keeps_the_first_of_equals_and_none_without(context: Context) -> None:
    rows = [(BEES, query) for query in "abcde"]
    table = raw_table(rows, mean_log_prob=[-2.0, -1.0, None, -2.0, -3.0])
    assert kept(run(context, table, "log_prob", log_prob_top_k=2)) == ["a", "b"]
    assert kept(run(context, table, "log_prob", log_prob_top_k=9)) == ["a", "b", "d", "e"]
    with pytest.raises(UserError, match="gave no log-probabilities"):
        run(context, raw_table(rows, mean_log_prob=[None] * 5), "log_prob")


def test_top_k_by_reranker_is_the_rerankers_own_order(context: Context, teacher: Path) -> None:
    rows = [(passage, query) for query in ("open file", "read a path", "sort list") for passage in (BEES, ANTS, WASPS)]
    table = run(context, raw_table(rows), "reranker", reranker=str(teacher), reranker_top_k=4)
    scores = load_reranker(str(teacher)).score([query for _, query in rows], [passage.contents for passage, _ in rows])
    np.testing.assert_allclose(table["reranker_score"].to_numpy(), scores, atol=1e-5)
    best = set(np.argsort(-scores, kind="stable")[:4].tolist())
    assert {row for row, reason in enumerate(table["dropped_by"].to_pylist()) if reason is None} == best
    with pytest.raises(UserError, match=r"set filter\.reranker"):
        run(context, raw_table(rows), "reranker")


def test_round_trip_keeps_what_brings_its_passage_back(context: Context) -> None:
    rows = [(BEES, "honey hive"), (ANTS, "honey hive"), (BEES, "make"), (WASPS, "xyzzy")]
    one = run(context, raw_table(rows), "round_trip", round_trip_k=1)
    assert kept(one) == ["honey hive"] and one["round_trip_rank"].to_pylist() == [1, None, 2, None]
    assert kept(run(context, raw_table(rows), "round_trip", round_trip_k=2)) == ["honey hive", "make"]


def test_teacher_margin_wants_the_passage_high_and_above_its_negatives(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inranker.synthesis.filters import teacher as margins

    rows = [(BEES, "good one"), (ANTS, "low margin"), (WASPS, "beaten by a negative"), (BEES, "never labelled")]
    ids = [query_id(p.passage_id, "vanilla", sample, q) for (p, q), sample in zip(rows, (0, 0, 0, 1), strict=True)]
    made = [(ids[0], "p1", 4.0), (ids[0], "p2", -3.0), (ids[0], "p3", 1.0), (ids[1], "p2", -1.0), (ids[2], "p3", 2.0)]
    made += [(ids[2], "p1", 2.5), ("of another set", "p1", 9.0)]
    table = pa.table(
        {
            "query_id": [row[0] for row in made],
            "passage_id": [row[1] for row in made],
            "false_logit": pa.array([-row[2] / 2 for row in made], pa.float32()),
            "true_logit": pa.array([row[2] / 2 for row in made], pa.float32()),
        }
    )
    monkeypatch.setattr(margins, "iter_labelled_pairs", lambda url: iter([table.slice(0, 3), table.slice(3)]))
    found = run(context, raw_table(rows), "teacher_margin", labels="l", teacher_margin=0.0, teacher_gap=1.0)
    assert kept(found) == ["good one"]
    assert found["teacher_margin"].to_pylist() == [4.0, -1.0, 2.0, None]
    assert found["teacher_gap"].to_pylist() == [3.0, None, -0.5, None]
    assert len(kept(run(context, raw_table(rows), "teacher_margin", labels="l", teacher_margin=None))) == 3
    with pytest.raises(UserError, match="have none of the 1 queries"):
        run(context, raw_table([(BEES, "other")]), "teacher_margin", labels="l")


def test_filters_run_in_their_order_and_each_counts_what_it_was_given(context: Context) -> None:
    rows = [(BEES, "one two three"), (BEES, "one"), (ANTS, "One two three"), (BEES, "two"), (WASPS, "four five six")]
    for names, told in (
        (("length", "duplicates"), [("length", 5, 3), ("duplicates", 3, 2)]),
        (("duplicates", "length"), [("duplicates", 5, 4), ("length", 4, 2)]),
    ):
        table = run(context, raw_table(rows), *names)
        assert kept(table) == ["one two three", "four five six"]
        assert [(step["filter"], step["queries"], step["kept"]) for step in yields(table, names)] == told


def test_scores_stand_beside_the_queries_that_were_asked_about(context: Context) -> None:
    rows = [(BEES, "x"), (BEES, "honey in a hive"), (ANTS, "a hill of earth")]
    table = run(context, raw_table(rows), "length", "round_trip")
    assert table["round_trip_rank"].to_pylist() == [None, 1, 1]
    assert table["dropped_by"].to_pylist() == ["length", None, None]


def test_identity_of_filters_is_their_own_fields_and_contents(context: Context, teacher: Path, tmp_path: Path) -> None:
    one = identity(["length"], FilterOptions(), "en")
    assert one == [{"filter": "length", "min_words": 3, "max_words": 64}]
    assert identity(["length"], FilterOptions(round_trip_k=7, reranker="x"), "en") == one
    moved = tmp_path / "moved"
    moved.symlink_to(teacher)
    by_path = [identity(["reranker"], FilterOptions(reranker=str(path)), "en") for path in (teacher, moved)]
    assert by_path[0] == by_path[1]
    assert identity(["round_trip"], FilterOptions(), "pt") != identity(["round_trip"], FilterOptions(), "en")


@pytest.mark.parametrize(
    ("names", "message"),
    [(["lenght"], "'lenght' is unknown; name some of length, copied"), (["length", "length"], "named twice")],
)
def test_wrong_filters_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        identity(names, FilterOptions(), "en")


@pytest.mark.parametrize("field", [{"min_words": 0}, {"copied_share": 0.0}, {"near_duplicate": 1.5}, {"max_words": 2}])
def test_wrong_fields_of_filters_are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"filter\.{next(iter(field))}"):
        FilterOptions(**field)
