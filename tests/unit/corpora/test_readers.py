"""What every reader does, whatever its files look like: one small collection in every format that can hold it."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inranker.corpora import READERS, open_collection
from inranker.corpora.records import KINDS
from inranker.errors import UserError
from tests.unit.beir_folder import PASSAGES, QRELS, QUERIES, write_beir

ROWS: dict[str, list[dict[str, Any]]] = {
    "passages": [{"id": row["_id"], "title": row["title"], "text": row["text"]} for row in PASSAGES],
    "queries": [{"id": row["_id"], "text": row["text"]} for row in QUERIES],
    "qrels/test": [dict(zip(("query_id", "passage_id", "relevance"), row, strict=True)) for row in QRELS],
}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """One file of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix[1:]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "csv":
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        lines = [list(rows[0]), *(list(map(str, row.values())) for row in rows)]
        path.write_text("".join("\t".join(line) + "\n" for line in lines))


def folder_of(kind: str) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        for name, rows in ROWS.items():
            write_rows(folder / f"{name}.{kind}", rows)
        return f"{kind}:{folder}"

    return write


def beir(folder: Path) -> str:
    return f"beir:{write_beir(folder)}"


def described(folder: Path) -> str:
    """Columns of other names, TREC's topics and qrels."""
    passages = [{"doc": row["id"], "body": row["text"], "heading": row["title"] or None} for row in ROWS["passages"]]
    write_rows(folder / "notes.parquet", passages)
    topics = "".join(
        f"<top>\n<num> Number: {row['id']}\n<title> {row['text']}\n<desc> Description:\nmore\nof it\n</top>\n\n"
        for row in ROWS["queries"]
    )
    (folder / "all.trec").write_text(topics)
    (folder / "judged.qrels").write_text("".join(f"{query} 0 {name} {grade}\n" for query, name, grade in QRELS))
    (folder / "mine.yaml").write_text(
        "name: mine\npassages: {path: notes.parquet, id: doc, text: body, title: heading}\n"
        "queries: {path: all.trec}\nqrels: {test: judged.qrels}\n"
    )
    return f"files:{folder / 'mine.yaml'}"


def quati(folder: Path) -> str:
    """Quati has no titles, so the collection's stand before its texts."""
    joined = [f"{row['id']}\t{(row['title'] + ' ' + row['text']).strip()}" for row in ROWS["passages"]]
    (folder / "topics").mkdir()
    (folder / "qrels").mkdir()
    with gzip.open(folder / "quati_1M.tsv.gz", "wt") as file:
        file.write("\n".join(["passage_id\tpassage", *joined]) + "\n")
    topics = ["query_id\tquery", *(f"{row['id']}\t{row['text']}" for row in ROWS["queries"])]
    (folder / "topics" / "quati_test_topics.tsv").write_text("\n".join(topics) + "\n")
    (folder / "qrels" / "quati_1M_qrels.txt").write_text("".join(f"{q} Q0 {p} {r}\n" for q, p, r in QRELS))
    return f"quati:{folder}"


WRITERS: dict[str, Callable[[Path], str]] = {
    "beir": beir,
    "files": described,
    "quati": quati,
    **{kind: folder_of(kind) for kind in KINDS},
}
ELSEWHERE = {
    "python-docs": "test_python_docs.py",
    "ir_datasets": "test_ir_datasets.py",
    "texts": "below: no queries",
    "beir16": "test_beir16.py",
    "synthetic": "../synthesis/test_query_sets.py",
}


def test_every_reader_is_tested() -> None:
    assert set(READERS) == set(WRITERS) | set(ELSEWHERE)


@pytest.mark.parametrize("reader", WRITERS)
def test_a_reader_gives_the_collection(tmp_path: Path, reader: str) -> None:
    collection = open_collection(WRITERS[reader](tmp_path))
    for _ in range(2):  # iterators start anew
        passages = [(passage.passage_id, passage.contents) for passage in collection.passages_iter()]
        assert passages == [(row["_id"], f"{row['title']} {row['text']}".strip()) for row in PASSAGES]
        assert [tuple(query) for query in collection.queries_iter("test")] == [(q["_id"], q["text"]) for q in QUERIES]
        assert [tuple(qrel) for qrel in collection.qrels_iter("test")] == QRELS
    assert collection.splits() == ["test"]
    assert collection.has_passages(["p1", "p9", "p3"]) == [True, False, True]
    counts = collection.counts("test")
    assert (counts["passages"], counts["judged_queries"], counts["qrels"]) == (3, 2, 2)
    again = open_collection(f"{reader}:{collection_argument(reader, tmp_path)}", language="fr")
    assert (again.content_hash(), again.language) == (collection.content_hash(), "fr")
    assert collection.language == ("pt" if reader == "quati" else "en")
    assert collection.queries_are_documents is False
    with pytest.raises(UserError, match="no split 'dev'; its splits are test"):
        list(collection.queries_iter("dev"))


def collection_argument(reader: str, folder: Path) -> str:
    return str(folder / "mine.yaml") if reader == "files" else str(folder)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "parquet"])
def test_gzip_is_read_and_a_cut_one_is_one_sentence(tmp_path: Path, kind: str) -> None:
    name = WRITERS[kind](tmp_path)
    plain = tmp_path / f"passages.{kind}"
    packed = tmp_path / f"passages.{kind}.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert len(list(open_collection(name).passages_iter())) == 3
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(
        UserError, match=r"passages\.\w+\.gz, after line \d+: the gzip file is damaged .*; fetch it again"
    ):
        open_collection(name).passages_iter()
    packed.write_bytes(b"no gzip at all")
    with pytest.raises(UserError, match="the gzip file is damaged"):
        open_collection(name).passages_iter()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("passages", lambda rows: rows * 2, r"passage id 'p1' was given before"),
        ("passages", lambda rows: [{**rows[0], "text": "", "title": ""}], "the corpus has no passage with text"),
        ("passages", lambda rows: [without_id(row) for row in rows], "'id'"),
        (
            "qrels/test",
            lambda rows: [*rows, {**rows[0], "passage_id": "gone"}],
            "1 of the 3 qrels of split 'test' name",
        ),
        (
            "qrels/test",
            lambda rows: [{**row, "relevance": "high"} for row in rows],
            "relevance 'high' is not an integer",
        ),
    ],
)
def test_bad_records_are_one_sentence(
    tmp_path: Path, kind: str, part: str, change: Callable[[Any], Any], message: str
) -> None:
    name = WRITERS[kind](tmp_path)
    write_rows(tmp_path / f"{part}.{kind}", change(ROWS[part]))
    collection_file = rf"{part.split('/')[-1]}\.{kind}"
    with pytest.raises(UserError, match=f"{collection_file}.*{message}"):
        collection = open_collection(name)
        list(collection.passages_iter())
        list(collection.qrels_iter("test"))


def without_id(row: dict[str, Any]) -> dict[str, Any]:
    return {"name": row["id"], **{key: value for key, value in row.items() if key != "id"}}


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_ids_with_tabs_or_line_breaks_are_refused_and_unicode_is_not(tmp_path: Path, kind: str) -> None:
    name = WRITERS[kind](tmp_path)
    rows = [*ROWS["passages"], {"id": "p\u00e9\u20dd日", "title": "", "text": "more"}]
    write_rows(tmp_path / f"passages.{kind}", rows)
    assert [passage.passage_id for passage in open_collection(name).passages_iter()][-1] == "p\u00e9\u20dd日"
    for identifier in ("p\t4", "p\n4", ""):
        write_rows(tmp_path / f"passages.{kind}", [*rows, {"id": identifier, "title": "", "text": "more"}])
        with pytest.raises(UserError, match="is empty or holds a tab or line break"):
            open_collection(name).passages_iter()


def test_qrels_without_relevance_are_clicks_and_ids_may_be_numbers(tmp_path: Path) -> None:
    write_rows(tmp_path / "passages.parquet", [{"id": 7, "text": "seven"}, {"id": 8, "text": "eight"}])
    write_rows(tmp_path / "queries.parquet", [{"id": 1, "text": "which"}])
    write_rows(tmp_path / "qrels/train.parquet", [{"query_id": 1, "passage_id": 8}])
    collection = open_collection(f"parquet:{tmp_path}")
    assert [tuple(qrel) for qrel in collection.qrels_iter("train")] == [("1", "8", 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("passages: [", "cannot be read as a collection's description"),
        ("pasages: {path: a.csv}", "unknown key 'pasages'"),
        ("passages: {path: a.csv}", "queries is missing or has no path"),
        (
            "passages: {path: notes.parquet, body: x}\nqueries: {path: all.trec}\nqrels: {a: judged.qrels}",
            "no column 'body'",
        ),
        (
            "passages: {path: notes.parquet, id: x}\nqueries: {path: all.trec}\nqrels: {a: judged.qrels}",
            "no column 'x'; name",
        ),
        (
            "passages: {path: all.trec}\nqueries: {path: all.trec}\nqrels: {a: judged.qrels}",
            "of this kind cannot be read",
        ),
    ],
)
def test_a_description_that_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    name = described(tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        open_collection(name).passages_iter()


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("all.trec", "<top>\n<num> 1\n<title> cut", r"the topic has no </top>"),
        ("all.trec", "<top>\n<num> 1\n<desc> no title\n</top>\n", r"line 1: the topic has no <title>"),
        ("all.trec", "1 without tab\n", "line 1: no tab"),
        ("judged.qrels", "q1 p1 1\n", "line 1: 3 columns; TREC qrels have"),
        ("judged.qrels", "q1 0 p1 x\n", "line 1: relevance 'x' is not an integer"),
    ],
)
def test_topics_and_qrels_that_are_wrong(tmp_path: Path, file: str, text: str, message: str) -> None:
    name = described(tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match=message):
        list(open_collection(name).queries_iter("test"))


def test_quati_of_two_sizes_must_be_named(tmp_path: Path) -> None:
    name = quati(tmp_path)
    assert len(list(open_collection(f"{name}:1M").passages_iter())) == 3
    (tmp_path / "quati_10M.tsv").write_text("passage_id\tpassage\np1\tabelhas\n")
    with pytest.raises(UserError, match=r"both sizes are there; write quati:.*:1M or quati:.*:10M"):
        open_collection(name)
    with pytest.raises(UserError, match=r"quati_10M_qrels.txt: there is no such file"):
        open_collection(f"{name}:10M")


def test_texts_are_cut_into_whole_sentences_that_overlap(tmp_path: Path) -> None:
    sentences = [f"Sentence number {number} has exactly eight words here." for number in range(10)]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a file.txt").write_text("One short note. It ends")
    (tmp_path / "guide.md").write_text(
        "# Top\n" + " ".join(sentences) + "\n## Code\n```\n# no heading\n```\nMore of it.\n", encoding="utf-8"
    )
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    collection = open_collection(f"texts:{tmp_path}:24:8", language="en")
    passages = list(collection.passages_iter())
    guide = [passage for passage in passages if passage.passage_id.startswith("guide.md#")]
    assert [passage.title for passage in guide] == ["Top"] * 5 + ["Code"]
    assert guide[0].text == " ".join(sentences[:3])
    assert guide[1].text == " ".join(sentences[2:5])  # the last eight words of a passage begin the next one
    assert guide[-2].text == " ".join(sentences[8:])
    assert "# no heading" in guide[-1].text
    assert len({passage.passage_id for passage in passages}) == len(passages) == 7
    assert all(len(passage.text.split()) <= 24 for passage in passages)
    assert collection.splits() == []
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="there is no file that ends in"):
        open_collection(f"texts:{tmp_path / 'empty'}")
    with pytest.raises(UserError, match="let them overlap by fewer"):
        open_collection(f"texts:{tmp_path}:10:10")


def test_a_sentence_longer_than_a_passage_is_cut_and_no_word_is_lost(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(105)]
    (tmp_path / "long.txt").write_text(" ".join(words))
    texts = [passage.text.split() for passage in open_collection(f"texts:{tmp_path}:20:5").passages_iter()]
    assert [word for text in texts for word in text] == words
