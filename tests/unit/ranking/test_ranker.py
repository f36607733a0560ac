"""`Ranker`: order, ties, kinds of passages, batches of queries, and errors as sentences."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inranker import Ranker
from inranker.errors import UserError
from inranker.types import Passage
from tests.builders import pair_rows

QUERY = "open file stream"
PASSAGES = [str(row["passage"]) for row in pair_rows(12)]


@pytest.fixture(scope="module")
def ranker(teacher: Path) -> Ranker:
    return Ranker(teacher, precision="float32", threads=1)


def test_importing_the_package_imports_neither_torch_nor_ray() -> None:
    check = "import sys, inranker, inranker.ranking; assert not {'torch', 'ray', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_passages_come_best_first_with_the_margin_as_score(ranker: Ranker) -> None:
    ranked = ranker.rank(QUERY, PASSAGES)
    logits = ranker.logits([(QUERY, passage) for passage in PASSAGES])
    margins = logits[:, 1] - logits[:, 0]
    assert [hit.index for hit in ranked] == np.argsort(-margins, kind="stable").tolist()
    assert [hit.score for hit in ranked] == sorted(margins.tolist(), reverse=True)
    assert all(hit.passage is PASSAGES[hit.index] for hit in ranked)
    assert [hit.probability for hit in ranked] == pytest.approx([1 / (1 + np.exp(-hit.score)) for hit in ranked])


def test_equal_scores_keep_first_stage_order(ranker: Ranker) -> None:
    ranked = ranker.rank(QUERY, [PASSAGES[0], PASSAGES[1], PASSAGES[0], PASSAGES[1], PASSAGES[0]])
    assert [hit.index for hit in ranked] in ([0, 2, 4, 1, 3], [1, 3, 0, 2, 4])


def test_top_k_keeps_the_best(ranker: Ranker) -> None:
    assert ranker.rank(QUERY, PASSAGES, top_k=3) == ranker.rank(QUERY, PASSAGES)[:3]
    assert len(ranker.rank(QUERY, PASSAGES[:2], top_k=5)) == 2


def test_a_batch_of_queries_ranks_as_one_by_one(ranker: Ranker) -> None:
    queries = [QUERY, "sort a list", "lock queue"]
    lists = [PASSAGES[:5], [], PASSAGES[5:]]
    batch = ranker.rank(queries, lists, top_k=4)
    for query, passages, ranked in zip(queries, lists, batch, strict=True):
        alone = ranker.rank(query, passages, top_k=4)
        assert [hit.index for hit in ranked] == [hit.index for hit in alone]
        assert [hit.score for hit in ranked] == pytest.approx([hit.score for hit in alone], abs=1e-5)


def test_strings_mappings_and_passages_are_the_same_texts(ranker: Ranker) -> None:
    text = f"sorting {PASSAGES[0]}"
    forms = [
        text,
        {"text": PASSAGES[0], "title": "sorting", "_id": 7},
        {"contents": text},
        {"text": text, "title": None},
        Passage("7", PASSAGES[0], "sorting"),
    ]
    ranked = ranker.rank(QUERY, forms)
    assert len({hit.score for hit in ranked}) == 1
    assert [hit.passage for hit in ranked] == forms


def test_nothing_gives_nothing(ranker: Ranker) -> None:
    assert ranker.rank(QUERY, []) == []
    assert ranker.rank([], []) == []
    assert ranker.score([]).shape == (0,)
    assert ranker.logits([]).shape == (0, 2)


@pytest.mark.parametrize(
    ("query", "passages", "options", "sentence"),
    [
        (QUERY, "a passage", {}, "must be a list of passages, not one str"),
        (QUERY, {"text": "a"}, {}, "must be a list of passages, not one dict"),
        (QUERY, ["a", None], {}, "passage 1 is NoneType"),
        (QUERY, [{"title": "a"}], {}, "passage 0 has no field 'text' or 'contents'"),
        (QUERY, [{"text": 3}], {}, "passage 0: field 'text' is int"),
        (QUERY, ["a", "b\ud800"], {}, "pair 1: its passage holds half of a surrogate pair"),
        ("\udfff", ["a"], {}, "pair 0: its query holds half of a surrogate pair"),
        (QUERY, ["a"], {"top_k": 0}, "top_k 0 must be 1 or more"),
        ([QUERY], [], {}, "1 queries for 0 lists of passages"),
        ([QUERY, 3], [["a"], ["b"]], {}, "query 1 is int, not a string"),
        (None, ["a"], {}, "query is NoneType"),
        (QUERY, ["a"], {"long_passages": "split"}, "long_passages 'split' is not one of truncate, windows"),
    ],
)
def test_what_cannot_be_ranked_is_a_sentence(
    ranker: Ranker, query: object, passages: object, options: dict, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        ranker.rank(query, passages, **options)  # type: ignore[call-overload]


def test_pairs_must_be_pairs_of_strings(ranker: Ranker) -> None:
    with pytest.raises(UserError, match="pair 1: its passage is int"):
        ranker.score([(QUERY, "a"), (QUERY, 3)])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"device": "tpu"}, "device 'tpu' is not one of"),
        ({"precision": "float16"}, "float16 overflows"),
        ({"precision": "fp4"}, "dtype 'fp4' is not one of"),
        ({"backend": "tensorrt"}, "backend 'tensorrt' is not one of"),
        ({"threads": 0}, "threads 0 must be"),
        ({"token_budget": 0}, "token_budget 0 must be"),
        ({"no_such_field": 1}, "no field 'no_such_field'"),
    ],
)
def test_what_cannot_be_loaded_is_a_sentence(teacher: Path, options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Ranker(teacher, **options)


def test_a_model_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such model directory"):
        Ranker(tmp_path / "none")


def test_weights_that_give_no_number_are_refused(teacher: Path) -> None:
    broken = Ranker(teacher, precision="float32", threads=1)
    broken.reranker.module.t5.encoder.final_layer_norm.weight.data.fill_(float("nan"))
    with pytest.raises(UserError, match="scored nan"):
        broken.rank(QUERY, PASSAGES)
