"""The collection made of the standard library's docstrings."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from inranker.corpora import open_collection
from inranker.corpora.docstrings import docstrings, summary_and_rest, without_name
from inranker.corpora.near_duplicates import near_duplicate_groups
from inranker.corpora.python_docs import PythonDocsCollection, split_of_module, words
from inranker.errors import UserError

REST = "The order of the {word} elements is kept, {word} repeated ones are dropped and nothing is copied {word} twice."


@pytest.fixture(scope="module")
def collection() -> PythonDocsCollection:
    """Built once: it takes a few seconds."""
    return PythonDocsCollection()


def write_library(root: Path, **modules: str) -> Path:
    """A directory of sources, each module with one documented function of its name and that summary."""
    for name, summary in modules.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'def job_{name}():\n    """{summary}\n\n    {REST.format(word=name)}\n    """\n')
    return root


def test_it_is_big_enough_and_every_part_agrees(collection: PythonDocsCollection) -> None:
    passages = {passage.passage_id: passage for passage in collection.passages_iter()}
    assert len(passages) > 2000
    queries = 0
    for split in collection.splits():
        ids = [query.query_id for query in collection.queries_iter(split)]
        qrels = list(collection.qrels_iter(split))
        assert [qrel.query_id for qrel in qrels] == ids
        assert all(qrel.passage_id in passages and qrel.relevance == 1 for qrel in qrels)
        queries += len(ids)
    assert collection.splits() == ["train", "dev", "test"]
    assert queries == collection.counts()["queries_of_all_splits"] > 2000
    assert all(passage.title == "" for passage in passages.values())
    assert len({passage.text for passage in passages.values()}) == len(passages)


def test_no_split_is_a_sliver(collection: PythonDocsCollection) -> None:
    sizes = {split: len(list(collection.queries_iter(split))) for split in collection.splits()}
    assert min(sizes.values()) >= 200
    assert sizes["train"] >= sum(sizes.values()) / 2


def test_summaries_are_nobody_elses(collection: PythonDocsCollection) -> None:
    summaries = [query.text for split in collection.splits() for query in collection.queries_iter(split)]
    repeated = [text for text, times in Counter(tuple(words(text)) for text in summaries).items() if times > 1]
    assert repeated == []
    assert "Emit a record." not in summaries


def test_neither_side_gives_the_name_away(collection: PythonDocsCollection) -> None:
    passages = {passage.passage_id: passage.text for passage in collection.passages_iter()}
    for split in collection.splits():
        for query in collection.queries_iter(split):
            name = query.query_id.removeprefix("q:")
            tail = name.partition("~")[0].split(".")[-2:]
            for text in (query.text, passages[name]):
                assert "." not in name or f" {name} " not in f" {text} "
                assert len(tail) < 2 or f" {'.'.join(tail)} " not in f" {text} "
                assert "_" not in tail[-1].strip("_") or f" {tail[-1]} " not in f" {text} "


def test_tests_applications_and_installed_packages_stay_out(collection: PythonDocsCollection) -> None:
    files = {Path(source.file) for source in collection.sources.values()}
    outside = {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "ensurepip", "turtledemo"}
    assert not any(outside & set(file.parts) for file in files)


def test_near_duplicates_share_a_split(collection: PythonDocsCollection) -> None:
    groups = near_duplicate_groups({name: source.rest for name, source in collection.sources.items()})
    splits: dict[str, set[str]] = {}
    for item in collection.known_items:
        splits.setdefault(groups[item.passage_id], set()).add(item.split)
    assert max(map(len, splits.values())) == 1
    assert len(splits) < len(collection.known_items)  # there are groups of more than one


def test_another_process_makes_the_same(collection: PythonDocsCollection) -> None:
    code = "from inranker.corpora import open_collection; print(open_collection('python-docs').content_hash())"
    made = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert made.stdout.strip() == collection.content_hash()


def test_nothing_is_imported(tmp_path: Path) -> None:
    root = write_library(tmp_path, alpha="Sorts the elements of a list by weight.")
    (root / "trap.py").write_text('"""A trap that must not be run by anyone."""\nraise SystemExit("imported")\n')
    (root / "broken.py").write_text("def (:\n")
    assert PythonDocsCollection(root=str(root)).counts()["docstrings"] == 2


def test_a_new_module_moves_nothing(tmp_path: Path) -> None:
    names = [f"module{number}" for number in range(40)]
    library = {name: f"Does the {name} thing to every element." for name in names}
    before = PythonDocsCollection(root=str(write_library(tmp_path / "a", **library)))
    library |= {f"added{number}": f"Adds what was missing from {number} lists." for number in range(20)}
    after = PythonDocsCollection(root=str(write_library(tmp_path / "b", **library)))
    split_after = {item.passage_id: item.split for item in after.known_items}
    assert len(before.known_items) == 40
    assert {item.passage_id: item.split for item in before.known_items}.items() <= split_after.items()
    assert {item.split for item in before.known_items} == {"train", "dev", "test"}


def test_a_whole_package_is_in_one_split(tmp_path: Path) -> None:
    library = {f"package__part{number}": f"Handles part {number} of the message." for number in range(12)}
    made = PythonDocsCollection(root=str(write_library(tmp_path, **library)))
    assert {item.split for item in made.known_items} == {split_of_module("package")}


def test_repeated_summaries_are_no_queries_but_their_passages_stay(tmp_path: Path) -> None:
    root = write_library(tmp_path, one="Emit a record.", two="emit a record", three="Read one more line of it.")
    made = PythonDocsCollection(root=str(root))
    assert [item.query for item in made.known_items] == ["Read one more line of it."]
    assert len(list(made.passages_iter())) == 3
    assert made.counts()["summaries_repeated"] == 2


def test_too_short_rests_are_no_passages(tmp_path: Path) -> None:
    (tmp_path / "short.py").write_text('"""A module about nothing at all.\n\nSee the manual."""\n')
    with pytest.raises(UserError, match="no passage with text"):
        PythonDocsCollection(root=str(tmp_path)).counts()


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("Do it.\n\nIt is done.", "m.f", ("Do it.", "It is done.")),
        ("Do it at once\nand well.  Then rest.\n\nMore.", "m.f", ("Do it at once and well.", "Then rest. More.")),
        ("Only a summary", "m.f", ("Only a summary", "")),
        ("f(a, b) -> int\n\nAdd two.\n\nBoth must fit.", "m.f", ("Add two.", "Both must fit.")),
        ("f(a)\nAdd one.\n\nIt must fit.", "m.C.f", ("Add one.", "It must fit.")),
        ("See e.g. the other\none. Rest", "m.f", ("See e.g. the other one.", "Rest")),
    ],
)
def test_summary_and_rest(text: str, name: str, expected: tuple[str, str]) -> None:
    assert summary_and_rest(text, name) == expected


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("heapq -- a heap queue", "heapq", "a heap queue"),
        ("Like os.walk but walk upwards", "os.walk", "Like but walk upwards"),
        ("Call Timer.repeat() again", "timeit.Timer.repeat", "Call again"),
        ("Use get_data, not data", "m.get_data", "Use , not data"),
        ("rmtree(path, onerror) removes", "shutil.rmtree", "removes"),
        ("Read what you can read", "io.read", "Read what you can read"),
        ("reread() and thread", "io.read", "reread() and thread"),
    ],
)
def test_without_name(text: str, name: str, expected: str) -> None:
    assert without_name(text, name) == expected


def test_methods_setters_and_platform_branches_have_distinct_names(tmp_path: Path) -> None:
    (tmp_path / "shape.py").write_text(
        "import sys\n"
        "class Shape:\n"
        "    @property\n    def size(self):\n        '''Size.'''\n"
        "    @size.setter\n    def size(self, value):\n        '''Set it.'''\n"
        "if sys.platform == 'win32':\n    def handle():\n        '''Windows only.'''\n"
        "def outer():\n    '''Outer.'''\n    def inner():\n        '''Inner.'''\n"
    )
    names = [doc.name for doc in docstrings(tmp_path)]
    assert names == ["shape.Shape.size", "shape.Shape.size~2", "shape.handle", "shape.outer"]


def test_near_duplicates_by_shared_wording() -> None:
    text = "return the sum of two numbers that are given as arguments of this call"
    groups = near_duplicate_groups(
        {"b": text, "a": text + " and round it", "c": "wait until somebody sets the flag of this event or time is up"}
    )
    assert groups == {"a": "a", "b": "a", "c": "c"}


def test_argument_and_language_are_refused() -> None:
    with pytest.raises(UserError, match="python-docs takes no argument"):
        open_collection("python-docs:3.12")
    with pytest.raises(UserError, match="python-docs is in English"):
        open_collection("python-docs", "pt")


def test_no_sources_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no docstrings there"):
        PythonDocsCollection(root=str(tmp_path))


def test_numbers_of_the_report_add_up(collection: PythonDocsCollection) -> None:
    counts = collection.counts()
    assert counts["docstrings"] == counts["docstrings_too_short"] + counts["docstrings_repeated"] + counts["passages"]
    left_out = counts["summaries_repeated"] + counts["summaries_unusable"]
    assert counts["passages"] == left_out + counts["queries_of_all_splits"]
    assert json.loads(json.dumps(counts)) == counts
