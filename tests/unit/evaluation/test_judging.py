"""Holes in judgments: condensed lists, what a grader is asked, and its verdicts."""

import json
from pathlib import Path

import pytest

from inranker.errors import UserError
from inranker.evaluation.judging import INSTRUCTIONS, condensed, merge, read_verdicts, sentence, unjudged
from inranker.types import Qrel, ScoredDoc

QRELS = [Qrel("q", "a", 3), Qrel("q", "c", 0)]
RUNS = {
    "one": {"q": [ScoredDoc("q", name, 9.0 - place) for place, name in enumerate("abc")]},
    "two": {"q": [ScoredDoc("q", name, 9.0 - place) for place, name in enumerate("bde")]},
}
TEXTS = {name: f"passage {name}" for name in "abcde"}


def verdicts(folder: Path, *rows: object) -> list[str]:
    (folder / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [str(folder / "verdicts.jsonl")]


def row(passage_id: str, **more: object) -> dict[str, object]:
    return {"query_id": "q", "passage_id": passage_id, "judge": "a-model", **more}


def test_condensed_lists_keep_the_judged_in_their_order() -> None:
    assert [doc.passage_id for doc in condensed(RUNS["one"], QRELS)["q"]] == ["a", "c"]


def test_a_grader_is_asked_each_hole_once_in_its_language() -> None:
    asked = list(unjudged(RUNS, QRELS, 2, {"q": "pergunta?"}, TEXTS, "pt"))
    assert [(record["passage_id"], record["systems"]) for record in asked] == [("b", ["one", "two"]), ("d", ["two"])]
    system, user = asked[0]["messages"]
    assert system["content"] == INSTRUCTIONS["pt"] and "passage b" in user["content"] and "pergunta?" in user["content"]
    assert next(unjudged(RUNS, QRELS, 1, {"q": "?"}, TEXTS, "xx"))["messages"][0]["content"] == INSTRUCTIONS["en"]
    for text in INSTRUCTIONS.values():
        assert all(f"\n{grade}: " in text for grade in range(4))


def test_verdicts_are_read_from_grades_and_from_whole_answers(tmp_path: Path) -> None:
    said = 'Pensando bem… {"Razão": "fala do tema", "Pontuação": 1}'
    found = read_verdicts(verdicts(tmp_path, row("b", grade=2), row("d", answer=said), row("b", grade=2)))
    assert [(verdict.passage_id, verdict.grade, verdict.judge) for verdict in found] == [
        ("b", 2, "a-model"),
        ("d", 1, "a-model"),
    ]


def test_merging_marks_the_source(tmp_path: Path) -> None:
    found = read_verdicts(
        verdicts(tmp_path, row("b", grade=2), row("a", grade=3), {**row("z", grade=0), "query_id": "x"})
    )
    merged, judges = merge(QRELS, found, ["q"])
    assert merged == [*QRELS, Qrel("q", "b", 2)]  # one agrees with a judgment, one is of another query
    assert judges == {"a-model": 1}
    assert sentence(2, judges) == "Judgments are partly a model's: 2 of the collection, 1 by a-model."


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("a", grade=1)], "judged 3 by the collection and 1 by a-model"),
        ([row("b", grade=1), row("b", grade=2)], r"line 2: query 'q', passage 'b' has grade 2, and 1 in .*line 1"),
        ([row("b", grade=4)], "line 1: the grade 4 is none of 0, 1, 2 and 3"),
        ([row("b", answer="three")], "line 1: the grade None"),
        ([row("b", grade=True)], "the grade True"),
        ([{"query_id": "q", "passage_id": "b", "grade": 1}], "line 1: 'judge' is wrong or missing"),
        ([["no object"]], "line 1: .* a verdict is a JSON object"),
        ([{**row("b", grade=1), "query_id": "x"}], "none of the 1 verdicts"),
    ],
)
def test_wrong_verdicts_are_refused_by_line(tmp_path: Path, rows: list[object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        merge(QRELS, read_verdicts(verdicts(tmp_path, *rows)), ["q"])


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_verdicts([str(tmp_path / "none.jsonl")])
