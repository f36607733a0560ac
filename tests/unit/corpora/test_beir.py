"""Reading BEIR-format directories: what goes through, and the one sentence that each kind of bad input gets."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inranker.corpora import open_collection
from inranker.corpora.base import Collection
from inranker.errors import UserError
from inranker.types import Passage, Qrel, Query
from tests.unit.beir_folder import PASSAGES, QRELS, QUERIES, write_beir

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: bool(text.strip()))


def read_all(path: Path, split: str = "test") -> Collection:
    """Everything of a collection, so that any error in it comes out."""
    collection = open_collection(f"beir:{path}")
    list(collection.passages_iter()), list(collection.queries_iter(split)), list(collection.qrels_iter(split))
    return collection


def set_line(file: Path, number: int, raw: bytes) -> None:
    """Put other bytes in place of a line."""
    lines = file.read_bytes().splitlines()
    lines[number - 1] = raw
    file.write_bytes(b"\n".join(lines) + b"\n")


def test_reads_the_three_parts(tmp_path: Path) -> None:
    collection = read_all(write_beir(tmp_path / "insects"))
    assert (collection.name, collection.language, collection.splits()) == ("beir/insects", "en", ["test"])
    assert list(collection.passages_iter())[:2] == [
        Passage("p1", "bees make honey in a hive", "Bees"),
        Passage("p2", "ants make a hill of earth"),
    ]
    assert list(collection.queries_iter("test")) == [Query("q1", "who makes honey"), Query("q2", "paper nests")]
    assert list(collection.qrels_iter("test")) == [Qrel("q1", "p1", 1), Qrel("q2", "p3", 2)]
    assert collection.counts("test") == {
        "passages": 3,
        "passages_skipped_empty": 0,
        "judged_queries": 2,
        "queries_skipped_empty": 0,
        "qrels": 2,
        "qrels_of_unknown_queries": 0,
        "qrels_of_unknown_passages": 0,
    }


def test_iterators_start_anew_and_queries_without_judgment_are_left_out(tmp_path: Path) -> None:
    collection = read_all(write_beir(tmp_path, test=[("q2", "p3", 0)]))
    for _ in range(2):
        assert [query.query_id for query in collection.queries_iter("test")] == ["q2"]
        assert len(list(collection.passages_iter())) == 3


def test_gzip_reads_the_same_and_has_the_same_hash(tmp_path: Path) -> None:
    plain, packed = write_beir(tmp_path / "a" / "set"), write_beir(tmp_path / "b" / "set")
    for file in [*packed.glob("*.jsonl"), *packed.glob("qrels/*.tsv")]:
        file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert read_all(packed).content_hash() == read_all(plain).content_hash()


def test_hash_tells_every_part_apart(tmp_path: Path) -> None:
    hashes = [read_all(write_beir(tmp_path / "plain")).content_hash()]
    hashes.append(read_all(write_beir(tmp_path / "order", passages=PASSAGES[::-1])).content_hash())
    hashes.append(
        read_all(write_beir(tmp_path / "query", queries=[{**QUERIES[0], "text": "x"}, QUERIES[1]])).content_hash()
    )
    hashes.append(read_all(write_beir(tmp_path / "qrel", test=[QRELS[0], ("q2", "p3", 1)])).content_hash())
    assert len(set(hashes)) == 4
    assert read_all(write_beir(tmp_path / "again")).content_hash() == hashes[0]


def test_hash_of_a_split_does_not_depend_on_the_others(tmp_path: Path) -> None:
    one, two = write_beir(tmp_path / "one"), write_beir(tmp_path / "two", test=QRELS, train=[("q1", "p2", 1)])
    first, second = (open_collection(f"beir:{path}") for path in (one, two))
    assert first.content_hash("test") == second.content_hash("test")
    assert first.content_hash() != second.content_hash()


def test_empty_passages_are_skipped_and_counted(tmp_path: Path) -> None:
    rows = [*PASSAGES, {"_id": "471", "title": " ", "text": ""}]
    collection = read_all(write_beir(tmp_path, passages=rows, test=[*QRELS, ("q1", "471", 1)]))
    assert [passage.passage_id for passage in collection.passages_iter()] == ["p1", "p2", "p3"]
    assert collection.counts()["passages_skipped_empty"] == 1
    assert collection.has_passages(["p1", "471", "nobody"]) == [True, False, False]
    # It is known, so a judgment of it is no sign of a wrong corpus.
    assert collection.counts("test")["qrels_of_unknown_passages"] == 0


def test_few_empty_queries_are_left_out_and_counted(tmp_path: Path) -> None:
    queries = [{"_id": f"q{number}", "text": f"question {number}"} for number in range(30)]
    queries[7]["text"] = " "
    qrels = [(f"q{number}", "p1", 1) for number in range(30)]
    collection = read_all(write_beir(tmp_path, queries=queries, test=qrels))
    assert "q7" not in {query.query_id for query in collection.queries_iter("test")}
    counts = collection.counts("test")
    assert (counts["judged_queries"], counts["queries_skipped_empty"], counts["qrels_of_unknown_queries"]) == (29, 1, 1)


def test_title_may_be_left_out_or_null(tmp_path: Path) -> None:
    rows = [{"_id": "p1", "text": "one"}, {"_id": "p3", "text": "two", "title": None}]
    collection = read_all(write_beir(tmp_path, passages=rows))
    assert [passage.title for passage in collection.passages_iter()] == ["", ""]


@pytest.mark.parametrize(
    ("file", "line", "raw", "message"),
    [
        ("corpus.jsonl", 2, b'{"_id": "p2"}', "corpus.jsonl, line 2: field 'text' is missing"),
        ("corpus.jsonl", 2, b'{"text": "no id"}', "corpus.jsonl, line 2: field '_id' is missing"),
        ("corpus.jsonl", 2, b'{"_id": 7, "text": "t"}', "corpus.jsonl, line 2: field '_id' is int, not a string"),
        ("corpus.jsonl", 2, b'{"_id": "", "text": "t"}', "corpus.jsonl, line 2: id '' is empty"),
        ("corpus.jsonl", 2, b'{"_id": "a\\tb", "text": "t"}', r"corpus.jsonl, line 2: id 'a\\tb' .*tab"),
        ("corpus.jsonl", 3, b'{"_id": "p1", "text": "t"}', "corpus.jsonl, line 3: passage id 'p1' .* line 1; make"),
        ("corpus.jsonl", 2, b'{"_id": "p2", "text": "caf\xe9"}', "corpus.jsonl, line 2: not valid UTF-8"),
        ("corpus.jsonl", 2, b'{"_id": "p2", "text": ', "corpus.jsonl, line 2: not JSON"),
        ("corpus.jsonl", 2, b'["p2", "text"]', "corpus.jsonl, line 2: not a JSON object but list"),
        ("corpus.jsonl", 2, b'{"_id": "p2", "text": "\\ud83d"}', "line 2: field 'text' holds half of a surrogate"),
        ("queries.jsonl", 2, b'{"_id": "q2"}', "queries.jsonl, line 2: field 'text' is missing"),
        ("queries.jsonl", 2, b'{"_id": "q2", "text": " "}', "line 3: 1 of the 2 qrels .* a query without text .*'q2'"),
        ("queries.jsonl", 2, b'{"_id": "q1", "text": "t"}', "queries.jsonl, line 2: query id 'q1' .* line 1"),
        ("qrels/test.tsv", 2, b"q1 p1 1", "qrels/test.tsv, line 2: 1 tab-separated columns"),
        ("qrels/test.tsv", 2, b"q1\tp1\thigh", "qrels/test.tsv, line 2: score 'high' is not an integer"),
        (
            "qrels/test.tsv",
            3,
            b"q1\tp1\t2",
            "qrels/test.tsv, line 3: query 'q1' and passage 'p1' are judged 2 .*line 2",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, file: str, line: int, raw: bytes, message: str) -> None:
    set_line(write_beir(tmp_path) / file, line, raw)
    with pytest.raises(UserError, match=message) as caught:
        read_all(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_missing_part_is_named(tmp_path: Path, file: str) -> None:
    (write_beir(tmp_path) / file).unlink()
    with pytest.raises(UserError, match=file.partition("/")[0]):
        read_all(tmp_path)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: there is no such directory"):
        open_collection(f"beir:{tmp_path / 'nowhere'}")


def test_unknown_reader_lists_the_known() -> None:
    with pytest.raises(UserError, match=r"names no known reader; write one of beir, .*python-docs"):
        open_collection("scifact")


def test_unknown_split_lists_those_there_are(tmp_path: Path) -> None:
    collection = read_all(write_beir(tmp_path / "set", test=QRELS, train=QRELS))
    for read in (collection.queries_iter, collection.qrels_iter, collection.content_hash, collection.counts):
        with pytest.raises(UserError, match="beir/set has no split 'dev'; its splits are test, train"):
            read("dev")


def test_empty_split_and_empty_corpus(tmp_path: Path) -> None:
    write_beir(tmp_path)
    (tmp_path / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n")
    with pytest.raises(UserError, match=r"dev.tsv: split 'dev' of .* is empty"):
        read_all(tmp_path, "dev")
    with pytest.raises(UserError, match=r"corpus.jsonl: the corpus has no passage with text"):
        read_all(write_beir(tmp_path / "empty", passages=[]))


def test_qrels_of_unknown_ids_are_counted_up_to_five_in_a_hundred(tmp_path: Path) -> None:
    passages = [{"_id": f"p{number}", "text": f"text {number}"} for number in range(95)]
    known = [("q1", f"p{number}", 1) for number in range(95)]
    few = [("q1", f"gone{number}", 1) for number in range(3)] + [("nobody", "p1", 1), ("nobody", "p2", 1)]
    collection = read_all(write_beir(tmp_path / "few", passages=passages, test=known + few))
    counts = collection.counts("test")
    assert (counts["qrels_of_unknown_passages"], counts["qrels_of_unknown_queries"]) == (3, 2)
    assert len(list(collection.qrels_iter("test"))) == 98  # a missing passage still is a relevant one nobody finds
    with pytest.raises(UserError, match=r"test.tsv, line 97: 6 of the 101 qrels .*'gone0'.* belong together"):
        read_all(write_beir(tmp_path / "many", passages=passages, test=[*known, *few, ("q1", "gone9", 1)]))


def test_qrels_of_another_collection_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 of the 2 qrels"):
        read_all(write_beir(tmp_path, test=[("x1", "y1", 1), ("x2", "y2", 1)]))


def test_qrels_without_header_keep_their_first_line_and_repetitions_count_once(tmp_path: Path) -> None:
    write_beir(tmp_path)
    (tmp_path / "qrels" / "test.tsv").write_text("q1\tp1\t1\nq2\tp3\t2\nq1\tp1\t1\n")
    assert list(read_all(tmp_path).qrels_iter("test")) == [Qrel("q1", "p1", 1), Qrel("q2", "p3", 2)]


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    file = write_beir(tmp_path) / "corpus.jsonl"
    (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress(file.read_bytes())[:-12])
    file.unlink()
    with pytest.raises(UserError, match=r"corpus.jsonl.gz, after line .*the gzip file is damaged"):
        read_all(tmp_path)
    (tmp_path / "corpus.jsonl.gz").write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match=r"corpus.jsonl.gz, after line 0: the gzip file is damaged"):
        read_all(tmp_path)


def test_byte_order_mark_crlf_and_blank_lines_are_no_content(tmp_path: Path) -> None:
    file = write_beir(tmp_path) / "corpus.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert len(list(read_all(tmp_path).passages_iter())) == 3


def test_only_arguana_declares_its_queries_documents(tmp_path: Path) -> None:
    assert read_all(write_beir(tmp_path / "arguana")).queries_are_documents
    assert not read_all(write_beir(tmp_path / "cranfield")).queries_are_documents


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, title=st.text(st.characters(exclude_categories=["Cs"])), query=TEXTS)
def test_odd_texts_go_through_unchanged(tmp_path: Path, text: str, title: str, query: str) -> None:
    write_beir(tmp_path, passages=[{"_id": "p1", "title": title, "text": text}, *PASSAGES[1:]])
    row = json.dumps({"_id": "q1", "text": query})  # escaped, as many writers do
    (tmp_path / "queries.jsonl").write_text(f"{row}\n{json.dumps(QUERIES[1])}\n")
    collection = read_all(tmp_path)
    assert next(collection.passages_iter()) == Passage("p1", text, title)
    assert next(collection.queries_iter("test")).text == query


@pytest.mark.parametrize(
    "text", ["\u200b\u200d", "x" * 100_000, "שלום עולם", "a\u2028b\x85c", "\x00\x07", "e\u0301"], ids=range(6)
)
def test_named_odd_texts_go_through(tmp_path: Path, text: str) -> None:
    collection = read_all(write_beir(tmp_path, passages=[{"_id": "p1", "text": text}, *PASSAGES[1:]]))
    assert next(collection.passages_iter()).text == text


def test_real_collections_read(shared_dir: Path) -> None:
    cranfield = read_all(shared_dir / "collections" / "cranfield")
    assert cranfield.counts("test") == {
        "passages": 1398,
        "passages_skipped_empty": 2,
        "judged_queries": 225,
        "queries_skipped_empty": 0,
        "qrels": 1837,
        "qrels_of_unknown_queries": 0,
        "qrels_of_unknown_passages": 0,
    }
    assert cranfield.has_passages(["470", "471", "995"]) == [True, False, False]
    scifact = read_all(shared_dir / "collections" / "scifact", "train")
    assert scifact.counts("train")["judged_queries"] == 809
