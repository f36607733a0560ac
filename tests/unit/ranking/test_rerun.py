"""The rank stage: JSON lines, TREC runs and files, streamed, with errors that name their line."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from inranker import Ranker
from inranker.errors import UserError
from inranker.ranking.config import RankConfig
from inranker.ranking.jsonl import rerank_lines
from inranker.ranking.rerun import rank
from inranker.ranking.trec import rankings
from inranker.retrieval.runs import read_run
from tests.builders import pair_rows

ROWS = pair_rows(40)
PASSAGES = {str(row["passage_id"]): str(row["passage"]) for row in ROWS}
QUERIES = {str(row["query_id"]): str(row["query"]) for row in ROWS}
Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def config(teacher: Path) -> RankConfig:
    return RankConfig(str(teacher), precision="float32", threads=1, progress=False)


@pytest.fixture(scope="module")
def ranker(teacher: Path) -> Ranker:
    return Ranker(teacher, precision="float32", threads=1)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BEIR folder whose test split judges every query, and whose BM25 run is `run.trec`."""
    folder = tmp_path_factory.mktemp("beir")
    (folder / "qrels").mkdir()
    write = {
        "corpus.jsonl": [{"_id": name, "title": "", "text": text} for name, text in PASSAGES.items()],
        "queries.jsonl": [{"_id": name, "text": text} for name, text in QUERIES.items()],
    }
    for name, rows in write.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = [f"{name}\tp{10 * int(name[1:])}\t1" for name in QUERIES]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(judged) + "\n")
    run = [
        f"q{query} Q0 p{(10 * query + place) % 40} {place + 1} {30 - place} bm25\n"
        for query in range(4)
        for place in range(12)
    ]
    (folder / "run.trec").write_text("".join(run))
    return folder


def expected_run(ranker: Ranker, depth: int | None) -> dict[str, list[str]]:
    first = {f"q{query}": [f"p{(10 * query + place) % 40}" for place in range(12)] for query in range(4)}
    return {
        query_id: [
            names[hit.index] for hit in ranker.rank(QUERIES[query_id], [PASSAGES[name] for name in names[:depth]])
        ]
        + (names[depth:] if depth else [])
        for query_id, names in first.items()
    }


def test_lines_keep_their_fields_and_get_scores(config: RankConfig, ranker: Ranker, tmp_path: Path) -> None:
    texts = list(PASSAGES.values())[:7]
    given: Lines = [
        {"query": "open file", "qid": 7, "passages": [texts[0], {"text": texts[1], "id": "b", "url": "x"}, *texts[2:]]},
        {"query": "nothing", "passages": []},
        {"passages": [{"contents": texts[3], "title": "sort"}], "query": "détour"},
    ]
    (tmp_path / "in.jsonl").write_text("\n\n".join(json.dumps(line) for line in given) + "\n")
    summary = rank(replace(config, input=str(tmp_path / "in.jsonl"), output=str(tmp_path / "o" / "out.jsonl")))
    written = [json.loads(line) for line in (tmp_path / "o" / "out.jsonl").read_text().splitlines()]
    assert [{**line, "passages": 0} for line in written] == [{**line, "passages": 0} for line in given]
    hits = ranker.rank("open file", texts)
    assert [passage["index"] for passage in written[0]["passages"]] == [hit.index for hit in hits]
    assert [passage["score"] for passage in written[0]["passages"]] == pytest.approx([h.score for h in hits], abs=1e-5)
    second = next(passage for passage in written[0]["passages"] if passage["index"] == 1)
    assert (second["id"], second["url"], second["text"]) == ("b", "x", texts[1])
    assert all(set(passage) >= {"text", "score", "probability", "index"} for passage in written[0]["passages"])
    assert (summary["queries"], summary["pairs"], summary["on_stdout"]) == (3, 8, False)
    assert list((tmp_path / "o").iterdir()) == [tmp_path / "o" / "out.jsonl"]


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ("{", "line 3: not JSON"),
        ("[" * 100_000, "line 3: not JSON"),
        ("[1]", "line 3: not a JSON object but list"),
        ('{"passages": []}', "line 3: field 'query' is missing"),
        ('{"query": "a", "passages": "b"}', "line 3: field 'passages' is str"),
        ('{"query": "a", "passages": ["b", 3]}', "line 3: passage 1 is int"),
        ('{"query": "a", "passages": [{"title": "b"}]}', "line 3: passage 0 has no field 'text'"),
        ('{"query": "\\ud800", "passages": ["b"]}', "line 3: pair 0: its query holds half of a surrogate pair"),
    ],
)
def test_a_bad_line_is_named_after_what_came_before_is_written(ranker: Ranker, bad: str, sentence: str) -> None:
    good = '{"query": "open", "passages": ["close file"]}'
    out = io.StringIO()
    with pytest.raises(UserError, match=sentence):
        rerank_lines(ranker, [(1, good), (2, good), (3, bad), (4, good)], "in.jsonl", out)
    assert out.getvalue().count("\n") == 2


def test_a_long_input_is_read_as_it_is_answered(ranker: Ranker) -> None:
    """Never more than a batch of lines is read ahead of what is written."""
    out = io.StringIO()

    def endless() -> Iterator[tuple[int, str]]:
        for number in range(1, 200):
            assert number - 1 - out.getvalue().count("\n") <= 10
            yield number, '{"query": "open", "passages": ["close file", "sort"]}'

    counts = rerank_lines(ranker, endless(), "in", out, batch_pairs=20)
    assert counts == {"queries": 199, "pairs": 398} and out.getvalue().count("\n") == 199


def test_top_k_and_windows_reach_the_ranker(ranker: Ranker) -> None:
    long = "sort merge heap " * 400
    line = json.dumps({"query": "open", "passages": [long, "close file", "lock"]})
    cut, whole = io.StringIO(), io.StringIO()
    rerank_lines(ranker, [(1, line)], "in", cut, top_k=2)
    rerank_lines(ranker, [(1, line)], "in", whole, long_passages="windows")
    assert len(json.loads(cut.getvalue())["passages"]) == 2
    hits = ranker.rank("open", [long, "close file", "lock"], long_passages="windows")
    assert [p["index"] for p in json.loads(whole.getvalue())["passages"]] == [hit.index for hit in hits]


@pytest.mark.parametrize("depth", [None, 5])
def test_a_run_comes_back_re_ranked(
    config: RankConfig, ranker: Ranker, collection: Path, tmp_path: Path, depth: int | None
) -> None:
    chosen = replace(
        config, input=str(collection / "run.trec"), output=str(tmp_path / "out.trec"), depth=depth, tag="small",
        collection=f"beir:{collection}", batch_pairs=20,
    )  # fmt: skip
    summary = rank(chosen)
    found = {name: [doc.passage_id for doc in docs] for name, docs in read_run(tmp_path / "out.trec").items()}
    assert found == expected_run(ranker, depth)
    assert (summary["queries"], summary["pairs"]) == (4, 4 * (depth or 12))
    scores = list(read_run(tmp_path / "out.trec").values())
    assert all(a.score > b.score for docs in scores for a, b in pairwise(docs))
    assert {line.split()[-1] for line in (tmp_path / "out.trec").read_text().splitlines()} == {"small"}


def test_topics_take_the_place_of_the_collections_queries(
    config: RankConfig, ranker: Ranker, collection: Path, tmp_path: Path
) -> None:
    (tmp_path / "topics.tsv").write_text("".join(f"q{query}\tlock a file\n" for query in range(4)))
    chosen = replace(config, input=str(collection / "run.trec"), collection=f"beir:{collection}", top_k=1)
    rank(replace(chosen, topics=str(tmp_path / "topics.tsv"), output=str(tmp_path / "out.trec")))
    names = [f"p{place}" for place in range(12)]
    best = names[ranker.rank("lock a file", [PASSAGES[name] for name in names])[0].index]
    found = read_run(tmp_path / "out.trec")
    assert [doc.passage_id for doc in found["q0"]] == [best] and len(found) == 4


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("q0 Q0 p1 1 3 t\nq0 Q0 p2 2 t\n", "run.trec, line 2: 5 columns"),
        ("q0 Q0 p1 1 nan t\n", "run.trec, line 1: 'nan' is not a finite number"),
        ("q0 Q0 p1 1 3 t\nq0 Q0 p1 2 2 t\n", "line 2: query 'q0' ranks passage 'p1' twice"),
        ("q0 Q0 p1 1 3 t\nq1 Q0 p1 1 3 t\nq0 Q0 p2 2 2 t\n", "line 3: query 'q0' was ended by another"),
        ("q0 Q0 zz 1 3 t\n", "names passage 'zz', which collection .* does not have"),
        ("q99 Q0 p1 1 3 t\n", "has query 'q99', which the topics do not"),
    ],
)
def test_a_bad_run_is_a_sentence_and_leaves_nothing(
    config: RankConfig, collection: Path, tmp_path: Path, lines: str, sentence: str
) -> None:
    (tmp_path / "run.trec").write_text(lines)
    chosen = replace(config, input=str(tmp_path / "run.trec"), output=str(tmp_path / "out.trec"))
    with pytest.raises(UserError, match=sentence):
        rank(replace(chosen, collection=f"beir:{collection}"))
    assert list(tmp_path.iterdir()) == [tmp_path / "run.trec"]


def test_rankings_are_read_one_at_a_time() -> None:
    read = []

    def lines() -> Iterator[tuple[int, str]]:
        for number in range(6):
            read.append(number)
            yield number, f"q{number // 2} Q0 p{number} {number} {number} t"

    first = next(rankings(lines(), "run"))
    assert first.passage_ids == ["p1", "p0"] and read == [0, 1, 2]


def test_files_are_ranked_for_a_person(config: RankConfig, ranker: Ranker, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Streams\n\nOpen a file stream.\n\n# Locks\n\nLock the queue.\n")
    (tmp_path / "b.txt").write_text("Sort and merge a heap.")
    out = tmp_path / "shown"
    summary = rank(replace(config, query="open file", files=[str(tmp_path)], output=str(out), top_k=2))
    shown = out.read_text().splitlines()
    texts = {
        "a.md#1": "Streams Open a file stream.",
        "a.md#2": "Locks Lock the queue.",
        "b.txt#1": "Sort and merge a heap.",
    }
    hits = ranker.rank("open file", list(texts.values()))
    names = [list(texts)[hit.index] for hit in hits]
    assert summary["pairs"] == 3
    assert [line.split()[3].rpartition("/")[2] for line in shown[::2]] == names[:2]
    assert shown[0].startswith(f"  1  {hits[0].probability:.3f}  {hits[0].score:+.2f}")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"query": "q", "files": ["none.txt"]}, "none.txt: cannot be read"),
        ({"query": "q", "input": "x"}, "a query ranks the passages of files"),
        ({"files": ["x"]}, "files are ranked for a query"),
        ({"topics": "x"}, "topics go with a run"),
        ({"tag": "a b"}, "tag 'a b' must be one word"),
        ({"top_k": 0}, "top_k is 0"),
        ({"batch_pairs": 0}, "batch_pairs is 0"),
        ({"input": "none.jsonl"}, "none.jsonl: cannot be read"),
        ({"collection": "nowhere:x", "input": "x"}, "names no known reader"),
    ],
)
def test_what_does_not_go_together_is_a_sentence(config: RankConfig, changes: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        rank(replace(config, **changes))


def test_the_script_is_a_filter_between_pipes(teacher: Path, collection: Path, repository: Path) -> None:
    words = ["--model", str(teacher), "--collection", f"beir:{collection}", "--depth", "3", "--threads", "1"]
    run = (collection / "run.trec").read_text()
    result = subprocess.run(
        [sys.executable, "pipelines/rank.py", *words], cwd=repository, input=run, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert len(lines) == 48 and all(len(columns) == 6 for columns in lines)
    assert result.stderr == ""
