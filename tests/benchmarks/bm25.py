"""BM25 on every real collection, by bm25s and by Lucene: the table of docs/collections.md.

    python -m tests.benchmarks.bm25 --json bm25.json          # all of them, about 5 minutes on two cores
    python -m tests.benchmarks.bm25 --only scifact faquad_pt

Each row is what `python pipelines/evaluate.py pipelines/recipes/bm25.yaml --collection … --split … --language …
--retriever …` prints. Where a set is not in English Lucene indexes InRanker's terms, and its own analyser has a column.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from inranker.evaluation.config import EvaluateConfig, EvaluateExecution, EvaluateIdentity
from inranker.evaluation.stage import evaluate
from inranker.retrieval import Bm25Options

from .harness import write

MEASURES = ["nDCG@10", "R@100"]
SETS = {
    **dict.fromkeys(["scifact", "cranfield", "cacm", "cisi", "vaswani", "adi", "covidqa"], ("test", "en")),
    **dict.fromkeys(["climatefever_evidence", "msmarco_dl_5k", "pira_en", "wikiqa"], ("test", "en")),
    **dict.fromkeys(["faquad_pt", "pira_pt", "quati_mini"], ("test", "pt")),
}


def figures(folder: Path, name: str, cache: str) -> dict[str, Any]:
    """One row of the table: measures by first stage."""
    split, language = SETS[name]
    stages = {"bm25s": ("bm25s", Bm25Options()), "lucene": ("lucene", Bm25Options())}
    if language != "en":
        stages["lucene_own_analyser"] = ("lucene", Bm25Options(analyser="lucene"))
    row: dict[str, Any] = {"collection": name, "split": split, "language": language}
    for column, (retriever, options) in stages.items():
        identity = EvaluateIdentity(
            f"beir:{folder / name}", split, depth=1000, retriever=retriever, bm25=options, language=language,
            measures=MEASURES,
        )  # fmt: skip
        summary = evaluate(EvaluateConfig(identity, execution=EvaluateExecution(cache=cache, progress=False)))
        row |= {"queries": summary["queries"], column: summary["systems"]["bm25"]}
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown: nDCG@10 and R@100 of each first stage."""
    columns = ("bm25s", "lucene", "lucene_own_analyser")
    lines = ["| collection | split | queries | bm25s | Lucene | Lucene, own analyser |", "|---|---|--:|--:|--:|--:|"]
    for row in rows:
        cells = [
            " / ".join(f"{row[column][name]:.4f}" for name in MEASURES) if column in row else "" for column in columns
        ]
        lines.append(f"| {row['collection']} | {row['split']} | {row['queries']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--shared", default=os.environ.get("INRANKER_SHARED", "../shared"), help="folder of collections/"
    )
    parser.add_argument("--only", nargs="+", default=list(SETS), choices=list(SETS), metavar="NAME")
    parser.add_argument("--json", help="file for the results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        rows = []
        for name in arguments.only:
            rows.append(figures(Path(arguments.shared) / "collections", name, cache))
            print(rows[-1], file=sys.stderr, flush=True)
    print(table(rows))
    english = [abs(row["bm25s"]["nDCG@10"] - row["lucene"]["nDCG@10"]) for row in rows if row["language"] == "en"]
    write(arguments.json, {"largest_difference_in_english": max(english, default=None)}, rows)


if __name__ == "__main__":
    main()
