"""The figures of the InRanker paper (https://arxiv.org/abs/2401.06910), to hold one's own against.

`paper_tables/` has them as data: `beir.csv` is Table 6 (nDCG@10 of each of the 16 sets, BM25's top 1,000 re-ranked),
`averages.csv` Tables 1, 3, 4, 5 and appendix C, `quati.csv` Table 7, `other_systems.csv` Table 2. A system of an
evaluation is compared with the column of its own name: `inranker-60m=out/student` with InRanker-60M.
"""

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from inranker.errors import UserError
from inranker.evaluation.table import render_rows

MEASURE = "nDCG@10"
DEPTH = 1000
REFERENCES = ("paper",)


def read_table(name: str) -> list[dict[str, str]]:
    """The rows of one of the paper's tables, as they stand in `paper_tables/`."""
    text = files("inranker.evaluation").joinpath("paper_tables", f"{name}.csv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def figures_by_set() -> dict[str, dict[str, float]]:
    """Set of BEIR -> system -> nDCG@10 (Table 6)."""
    return {
        row["set"]: {name: float(value) for name, value in row.items() if name != "set"} for row in read_table("beir")
    }


def systems() -> list[str]:
    """The systems that the paper has figures of, set by set."""
    return list(next(iter(figures_by_set().values())))


def average(system: str, sets: list[str] | None = None) -> float:
    """A system's mean over sets of BEIR, all 16 of the paper when None."""
    chosen = sets or list(figures_by_set())
    return sum(figures_by_set()[name][system] for name in chosen) / len(chosen)


def known_set(collection: str) -> str | None:
    """The paper's name of a collection (`beir/scifact`, `beir16/scifact`), or None where the paper has no figure."""
    name = collection.rsplit("/", 1)[-1]
    return name if name in figures_by_set() else None


def require_reference(reference: str, collection: str, names: list[str]) -> list[str]:
    """The systems that can be compared, before anything is measured.

    Raises:
        UserError: another reference than `paper`, or a set or systems that the paper has no figures of.
    """
    if reference not in REFERENCES:
        raise UserError(f"--against {reference!r} is unknown; there is {', '.join(REFERENCES)}")
    if known_set(collection) is None:
        raise UserError(f"the paper has no figure of {collection}; its sets are {', '.join(figures_by_set())}")
    if not (shared := [name for name in names if name in systems()]):
        raise UserError(
            f"no system is named as in the paper; write NAME=PATH, where NAME is one of {', '.join(systems())}"
        )
    return shared


def compare(reference: str, collection: str, depth: int, measured: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Own figures beside the paper's: `rows` (system, ours, theirs, difference) and a `table`.

    Args:
        reference: `paper`.
        collection: its name, as an evaluation's summary has it.
        depth: passages a query that were re-ranked.
        measured: system -> measure -> mean.

    Raises:
        UserError: see `require_reference`; or nDCG@10 was not measured.
    """
    shared = require_reference(reference, collection, list(measured))
    if MEASURE not in measured[shared[0]]:
        raise UserError(f"{MEASURE} was not measured, and the paper has nothing else; add it to `measures`")
    name = known_set(collection)
    assert name is not None, "checked before"
    rows = [difference(system, measured[system][MEASURE], figures_by_set()[name][system]) for system in shared]
    table = render_difference(rows)
    # The first stage is the same at any depth; a re-ranked run is not.
    if not (comparable := depth == DEPTH or shared == ["bm25"]):
        table += f"\nnot comparable: the paper re-ranks {DEPTH} passages a query, this run re-ranked {depth}"
    return {"reference": reference, "set": name, "comparable": comparable, "rows": rows, "table": table}


def difference(system: str, ours: float, theirs: float) -> dict[str, Any]:
    """One row of a comparison."""
    return {"system": system, "ours": ours, "theirs": theirs, "difference": ours - theirs}


def render_difference(rows: list[dict[str, Any]]) -> str:
    """Rows of `difference` as a table."""
    cells = [[row["system"], f"{row['ours']:.4f}", f"{row['theirs']:.4f}", f"{row['difference']:+.4f}"] for row in rows]
    return render_rows(["system", "ours", "paper", "difference"], cells)
