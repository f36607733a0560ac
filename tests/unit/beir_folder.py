"""Tiny BEIR-format directories for the tests of readers, retrieval and mining."""

import json
from pathlib import Path
from typing import Any

PASSAGES = [
    {"_id": "p1", "title": "Bees", "text": "bees make honey in a hive"},
    {"_id": "p2", "title": "", "text": "ants make a hill of earth"},
    {"_id": "p3", "title": "Wasps", "text": "wasps build nests of paper"},
]
QUERIES = [{"_id": "q1", "text": "who makes honey"}, {"_id": "q2", "text": "paper nests"}]
QRELS = [("q1", "p1", 1), ("q2", "p3", 2)]


def write_beir(
    directory: Path,
    passages: list[dict[str, Any]] | None = None,
    queries: list[dict[str, Any]] | None = None,
    **qrels: list[tuple[str, str, int]],
) -> Path:
    """A BEIR-format directory; a part that is not given is the small one above, and the split is `test`."""
    (directory / "qrels").mkdir(parents=True, exist_ok=True)
    for name, rows in (("corpus", PASSAGES if passages is None else passages), ("queries", queries or QUERIES)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (directory / f"{name}.jsonl").write_text(text, encoding="utf-8", newline="\n")
    for split, judgments in (qrels or {"test": QRELS}).items():
        lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in judgments)]
        (directory / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return directory


def many_passages(count: int, words: int = 12) -> list[dict[str, Any]]:
    """Passages of a few words of a vocabulary of 26, so that many share terms and scores."""
    letters = (
        "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa".split()
    )
    return [
        {"_id": f"d{number}", "text": " ".join(letters[(number * 7 + place * place) % 16] for place in range(words))}
        for number in range(count)
    ]
