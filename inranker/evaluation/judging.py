"""Passages that nobody judged: lists without them, a file of them for a language model to grade, and its verdicts.

Condensed lists: Sakai 2007, https://doi.org/10.1145/1277741.1277756. The grades are those of Quati
(Bueno et al. 2024, https://arxiv.org/abs/2404.06976), whose GPT-4 graded from 0 to 3 and gave its reason first.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inranker.corpora.lines import lines
from inranker.errors import UserError
from inranker.fingerprint import sha256_file
from inranker.retrieval.runs import Run
from inranker.types import Qrel

GRADES = (0, 1, 2, 3)
UNJUDGED = "unjudged.jsonl"
PAIR = {"en": "Question: {query}\n\nPassage: {passage}", "pt": "Pergunta: {query}\n\nPassagem: {passage}"}
INSTRUCTIONS = {
    "en": (
        "You grade how well a passage answers a question.\n"
        "0: the passage has nothing to do with the question.\n"
        "1: it is about the same subject, but the question stays unanswered.\n"
        "2: it answers a part of the question, or all of it among much else that was not asked.\n"
        "3: it answers the question plainly and directly, and is about little else.\n"
        "Judge by what the passage itself says, not by what you know or what it promises to tell elsewhere.\n"
        "Answer with one JSON object and nothing else, the reason first, in one or two sentences: "
        '{"reason": "…", "grade": 0}'
    ),
    "pt": (
        "Sua tarefa é dar uma nota a quanto uma passagem responde a uma pergunta.\n"
        "0: a passagem não tem relação com a pergunta.\n"
        "1: trata do mesmo assunto, mas deixa a pergunta sem resposta.\n"
        "2: responde uma parte da pergunta, ou a pergunta inteira em meio a muita coisa que não foi perguntada.\n"
        "3: responde a pergunta com clareza, diretamente, quase sem tratar de outra coisa.\n"
        "Julgue pelo que a própria passagem diz, não pelo que você sabe nem pelo que ela promete dizer depois.\n"
        'Responda só com um objeto JSON, primeiro o motivo, em uma ou duas frases: {"reason": "…", "grade": 0}'
    ),
}
# What graders call the grade in their JSON: ours, and the word in Quati's own prompt.
GRADE_NAMES = ("grade", "Pontuação", "score")


class Verdict(NamedTuple):
    """A model's grade of a pair; `judge` names the model."""

    query_id: str
    passage_id: str
    grade: int
    judge: str
    query: str = ""
    passage: str = ""


def condensed(run: Run, qrels: Iterable[Qrel]) -> Run:
    """The run without the passages that nobody judged for the query."""
    judged = {(qrel.query_id, qrel.passage_id) for qrel in qrels}
    return {query_id: [doc for doc in docs if (query_id, doc.passage_id) in judged] for query_id, docs in run.items()}


def unjudged(
    runs: Mapping[str, Run],
    qrels: Iterable[Qrel],
    best: int,
    queries: Mapping[str, str],
    passages: Mapping[str, str],
    language: str,
) -> Iterator[dict[str, Any]]:
    """What a grader is asked: each unjudged passage among the best of any system, once, with `messages` to send.

    Args:
        runs: system -> run.
        qrels: judgments at hand.
        best: how many passages of each query and system are looked at.
        queries: query_id -> text.
        passages: passage_id -> contents.
        language: of the collection; instructions are in Portuguese for pt, else in English.
    """
    judged = {(qrel.query_id, qrel.passage_id) for qrel in qrels}
    found: dict[tuple[str, str], list[str]] = {}
    for system, run in runs.items():
        for query_id, docs in run.items():
            for doc in docs[:best]:
                if (query_id, doc.passage_id) not in judged:
                    found.setdefault((query_id, doc.passage_id), []).append(system)
    spoken = language if language in INSTRUCTIONS else "en"
    for (query_id, passage_id), systems in sorted(found.items()):
        texts = {"query": queries[query_id], "passage": passages[passage_id]}
        yield {
            "query_id": query_id,
            "passage_id": passage_id,
            **texts,
            "systems": systems,
            "messages": [
                {"role": "system", "content": INSTRUCTIONS[spoken]},
                {"role": "user", "content": PAIR[spoken].format(**texts)},
            ],
        }


def read_verdicts(paths: Sequence[str]) -> list[Verdict]:
    """A grader's JSON lines: `query_id`, `passage_id`, `judge` (its name), and `grade`, or its whole `answer`.

    Raises:
        UserError: naming file and line: a field is missing, a grade is none of 0 to 3, or a pair has two grades.
    """
    found: dict[tuple[str, str], tuple[Verdict, str]] = {}
    for path in map(Path, paths):
        if not path.is_file():
            raise UserError(f"verdicts {path}: there is no such file")
        for number, line in lines(path):
            where = f"{path}, line {number}"
            verdict = _verdict(line, where)
            pair = (verdict.query_id, verdict.passage_id)
            other, seen = found.setdefault(pair, (verdict, where))
            if other.grade != verdict.grade:
                raise UserError(
                    f"{where}: query {pair[0]!r}, passage {pair[1]!r} has grade {verdict.grade}, and {other.grade} in "
                    f"{seen}; keep one of them"
                )
    return [verdict for verdict, _ in found.values()]


def merge(
    qrels: Sequence[Qrel], verdicts: Sequence[Verdict], query_ids: Iterable[str]
) -> tuple[list[Qrel], Counter[str]]:
    """Judgments with a model's verdicts added, and how many each judge added; other queries' verdicts are left out.

    Raises:
        UserError: a verdict contradicts a judgment, or no verdict is of these queries.
    """
    wanted = set(query_ids)
    judged = {(qrel.query_id, qrel.passage_id): qrel.relevance for qrel in qrels}
    own = [verdict for verdict in verdicts if verdict.query_id in wanted]
    if verdicts and not own:
        raise UserError(
            f"none of the {len(verdicts)} verdicts is of a query that is measured; name those of this split"
        )
    added = []
    for verdict in own:
        given = judged.get((verdict.query_id, verdict.passage_id))
        if given is not None and given != verdict.grade:
            raise UserError(
                f"query {verdict.query_id!r}, passage {verdict.passage_id!r} is judged {given} by the collection and "
                f"{verdict.grade} by {verdict.judge}; verdicts fill holes, so take it out of the file"
            )
        if given is None:
            added.append(verdict)
    merged = [*qrels, *(Qrel(verdict.query_id, verdict.passage_id, verdict.grade) for verdict in added)]
    return merged, Counter(verdict.judge for verdict in added)


def verdict_hashes(paths: Sequence[str]) -> list[str]:
    """The files' sha256s, for an evaluation's identity.

    Raises:
        UserError: a file is not there.
    """
    for path in paths:
        if not Path(path).is_file():
            raise UserError(f"verdicts {path}: there is no such file")
    return [sha256_file(path) for path in paths]


def sentence(collections: int, judges: Mapping[str, int]) -> str:
    """Whose judgments a table rests on."""
    models = ", ".join(f"{count} by {judge}" for judge, count in judges.items())
    return f"Judgments are partly a model's: {collections} of the collection, {models}."


def _verdict(line: str, where: str) -> Verdict:
    try:
        record = json.loads(line)
        ids = [str(record[name]) for name in ("query_id", "passage_id", "judge")]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{where}: {error} is wrong or missing; a verdict is a JSON object with query_id, passage_id, judge and "
            "grade (or answer)"
        ) from error
    grade = record["grade"] if "grade" in record else _answered(str(record.get("answer", "")))
    if isinstance(grade, bool) or grade not in GRADES:
        raise UserError(f"{where}: the grade {grade!r} is none of 0, 1, 2 and 3; mend it or take the line out")
    return Verdict(ids[0], ids[1], int(grade), ids[2], str(record.get("query", "")), str(record.get("passage", "")))


def _answered(answer: str) -> Any:
    """The grade in a model's answer: the last JSON object with one, whatever stands around it."""
    for text in reversed(re.findall(r"\{.*?\}", answer, re.DOTALL)):
        try:
            record = json.loads(text)
        except ValueError:
            continue
        for name in GRADE_NAMES:
            if name in record:
                return record[name]
    return None
