"""The report of several evaluations: bars set by set, means, effectiveness over size, and where re-ranking helps."""

from collections.abc import Mapping
from typing import Any

from inranker.evaluation import paper
from inranker.report.effectiveness import fig_1, grouped_bars
from inranker.report.evaluate import COMPARISON, comparison_row
from inranker.report.job import write_report
from inranker.report.page import Html, Section, code, number, page, table, tiles
from inranker.storage import Store

HELPS = {"yes": "helps", "no": "hurts", "unclear": "unclear"}


def write_average_report(store: Store, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Write `report.html` of what `average` has found into its output; `report` is the page's URL."""
    by, sets = summary["measure"], summary["sets"]
    systems = list(summary["averages"]["average"])
    sections = [
        Section("At a glance", [tiles(_glance(summary))]),
        Section("Means", means(summary, systems)),
        Section("Size", size(summary)),
        Section("Does re-ranking help?", helps(summary)),
        Section("Set by set", [grouped_bars(f"{by} by set", sets, f"Mean {by} over the queries of each set.")]),
        Section("Made from", made_from(summary)),
    ]
    about = f"{len(systems)} systems on {len(sets)} sets, first {number(summary['depth'])} passages re-ranked."
    return {"report": write_report(store, page("Evaluations", about, sections))}


def _glance(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    means_ = summary["averages"]["average"]
    best = max(means_, key=means_.get)
    by = summary["measure"]
    return [("sets", number(len(summary["sets"]))), (f"best mean {by}", f"{means_[best]:.4f}"), ("by", best)]


def means(summary: Mapping[str, Any], systems: list[str]) -> list[Html]:
    """Means over all sets, and apart over those that were and were not trained on; then every set."""
    groups, by = summary["averages"], summary["measure"]
    rows = [(name, *(values[name] for values in groups.values())) for name in systems]
    told = f"Mean {by} over sets, each counting the same"
    body = [table(("system", *groups), rows, told), grouped_bars(f"Mean {by}", groups, f"{told}.")]
    sets = summary["sets"]
    rows = [(name, *(values[name] for values in sets.values())) for name in systems]
    body.append(table(("system", *sets), rows, f"{by}, set by set"))
    for group, found in summary.get("against", {}).items():
        cells = [(row["system"], row["ours"], row["theirs"], f"{row['difference']:+.4f}") for row in found["rows"]]
        note = "" if found["comparable"] else f"; not comparable: the paper re-ranks {paper.DEPTH} passages a query"
        body.append(table(("system", "ours", "paper", "difference"), cells, f"Beside the paper, {group}{note}"))
    return body


def size(summary: Mapping[str, Any]) -> list[Html]:
    """Fig. 1 of the paper, over the same sets where it has them all."""
    names = list(summary["sets"])
    known = all(name in paper.figures_by_set() for name in names)
    theirs: dict[str, float] = {}
    if summary["measure"] == paper.MEASURE:
        theirs = {name: paper.average(name, names if known else None) for name in paper.systems()}
    told = (
        f"Grey rings are the paper's means over the same {len(names)} sets, with {number(paper.DEPTH)} passages "
        "re-ranked"
        if known
        else "Grey rings are the paper's means over its 16 sets of BEIR, not over these: only their slope compares"
    )
    systems = {name: {summary["measure"]: value} for name, value in summary["averages"]["average"].items()}
    return fig_1(systems, summary.get("parameters", {}), summary["measure"], theirs, told)


def helps(summary: Mapping[str, Any]) -> list[Html]:
    """Per set and system, the difference to the first stage; p-values are Holm's over all rows of the table."""
    rows = [
        (name, *comparison_row(system, row)[:-1], HELPS[row["better"]])
        for name, systems in summary.get("comparison", {}).get("sets", {}).items()
        for system, row in systems.items()
    ]
    if not rows:
        return []
    told = (
        f"{summary['measure']} against {summary['comparison']['baseline']}, set by set; p-values are Holm's over all "
        "rows. helps or hurts: the whole 95 % interval lies on one side of 0"
    )
    return [table(("set", "system", *COMPARISON[:-1], "re-ranking"), rows, told)]


def made_from(summary: Mapping[str, Any]) -> list[Html]:
    """The evaluations, by fingerprint."""
    rows = [(name, code(fingerprint or "–")) for name, fingerprint in summary["evaluations"].items()]
    return [table(("set", "fingerprint of its evaluation"), rows, "Evaluations")]
