"""The report of an evaluation: who is better than whom, how surely, at which size and depth, and where it fails."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from inranker.errors import UserError
from inranker.evaluation import paper
from inranker.evaluation.config import EvaluateConfig
from inranker.evaluation.judging import sentence
from inranker.manifest import Manifest, read_manifest
from inranker.report.charts import Axis, Series, lines, padded
from inranker.report.effectiveness import COLOURS, fig_1, grouped_bars
from inranker.report.job import custody, fields, write_report
from inranker.report.page import (
    Html,
    Section,
    charts,
    details,
    duration,
    finding,
    findings,
    number,
    page,
    paragraph,
    table,
    tiles,
)
from inranker.storage import Store

SUMMARY = "summary.json"  # as evaluation.output has it, which imports torch by its neighbours
SURE = 0.05

Summary = dict[str, Any]


def report(config: EvaluateConfig) -> dict[str, Any]:
    """Write `report.html` into a finished evaluation's output.

    Returns:
        `stage`, `output` and the page's URL as `report`.

    Raises:
        UserError: there is no output, it is unfinished, or it is another stage's.
    """
    if config.output is None:
        raise UserError("output: name the directory of a finished evaluation; its report is written there")
    return write_evaluation_report(config.output)


def write_evaluation_report(output: str) -> dict[str, Any]:
    """See `report`; of any stage whose summary has systems and their comparison."""
    store = Store(output)
    manifest = read_manifest(store)
    if manifest.stage not in ("evaluate", "agree"):
        raise UserError(f"{store.url} is the output of stage {manifest.stage!r}; name an evaluation's")
    summary = _in_order(json.loads(store.read(SUMMARY)), manifest.identity.get("measures", []))
    html = page(_title(manifest), _about(summary), _sections(summary, manifest))
    return {"stage": "report", "output": output, "report": write_report(store, html)}


def _in_order(summary: Summary, measures: Sequence[str]) -> Summary:
    """The summary with columns as they were asked for, and depths by size: JSON has both by the alphabet."""
    place = {name: at for at, name in enumerate(measures)}

    def columns(systems: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
        return {
            name: dict(sorted(values.items(), key=lambda item: place.get(item[0], 0)))
            for name, values in systems.items()
        }

    ordered: Summary = {key: columns(summary[key]) for key in ("systems", "condensed") if key in summary}
    curves = summary.get("depth_curve", {})
    ordered["depth_curve"] = {
        name: dict(sorted(curve.items(), key=lambda item: int(item[0]))) for name, curve in curves.items()
    }
    return {**summary, **ordered}


def _title(manifest: Manifest) -> str:
    return "Evaluation" if manifest.stage == "evaluate" else "Agreement with a judge"


def _about(summary: Summary) -> str:
    depth = f", first {number(summary['depth'])} passages re-ranked" if summary.get("depth") else ""
    return f"{number(summary['queries'])} queries of {summary['collection']}, split {summary['split']}{depth}."


def _sections(summary: Summary, manifest: Manifest) -> list[Section]:
    return [
        Section("At a glance", [tiles(_glance(summary))]),
        Section("Effectiveness", effectiveness(summary)),
        Section("Size and depth", size_and_depth(summary)),
        Section("Compared query by query", compared(summary)),
        Section("Mixed with the first stage", mixes(summary)),
        Section("Like the teacher", fidelity(summary)),
        Section("Worst queries", worst(summary)),
        Section("Made from", [custody(manifest), details("Identity", fields(manifest.identity, "Identity"))]),
    ]


def _glance(summary: Summary) -> list[tuple[str, str]]:
    by = measure_of(summary)
    best = max(summary["systems"], key=lambda name: summary["systems"][name][by])
    shown = [
        ("queries", number(summary["queries"])),
        ("systems", number(len(summary["systems"]))),
        (f"best {by}", f"{summary['systems'][best][by]:.4f}"),
        ("by", best),
    ]
    if summary.get("pairs"):
        shown.append(("pairs scored by each", number(summary["pairs"])))
    if summary.get("seconds"):
        shown.append(("took", duration(summary["seconds"])))
    return shown


def measure_of(summary: Summary) -> str:
    """The measure that systems are compared and drawn by."""
    first = next(iter(summary["systems"].values()))
    return str(summary.get("comparison", {}).get("measure") or next(iter(first)))


def mark(row: Mapping[str, Any] | None) -> str:
    """▲ where a system is surely better than the baseline, ▼ where it is surely worse, nothing where it is unclear."""
    if row is None or row["p_randomisation_holm"] >= SURE:
        return ""
    return "▲" if row["difference"] > 0 else "▼"


def effectiveness(summary: Summary) -> list[Html]:
    """The table with marks, whose judgments it rests on, and bars."""
    by, comparison = measure_of(summary), summary.get("comparison", {"systems": {}})
    measures = list(next(iter(summary["systems"].values())))
    parameters = summary.get("parameters", {})
    rows = [
        (name, _parameters(parameters.get(name)), mark(comparison["systems"].get(name)), *values.values())
        for name, values in summary["systems"].items()
    ]
    told = "Means over the queries."
    if comparison["systems"]:
        told = (
            f"Means over the queries. ▲ and ▼: {by} is higher or lower than {comparison['baseline']}'s with p < {SURE} "
            "(randomisation test, Holm-corrected over the systems)."
        )
    body = [table(("system", "parameters", "", *measures), rows, told)]
    if judges := summary.get("judgments"):
        body.append(paragraph(sentence(judges["collection"], judges["judges"])))
    values = {name: measured[by] for name, measured in summary["systems"].items()}
    body.append(grouped_bars(by, {summary["collection"]: values}, f"Mean {by} of each system."))
    if summary.get("condensed"):
        cells = [(name, *measured.values()) for name, measured in summary["condensed"].items()]
        body.append(table(("system", *measures), cells, "On condensed lists: without the passages that nobody judged"))
    return body


def size_and_depth(summary: Summary) -> list[Html]:
    """Fig. 1 and the depth curves side by side, the points of the first as a table."""
    drawn, points = (found[:1], found[1:]) if (found := size(summary)) else ([], [])
    drawn += depth_curves(summary)
    return [charts(*drawn), *points] if drawn else []


def size(summary: Summary) -> list[Html]:
    """Fig. 1 of the paper: its points on this set, or its means over 16 sets where it does not have this one."""
    known = paper.known_set(summary["collection"])
    by = measure_of(summary)
    theirs = (paper.figures_by_set()[known] if known else _means()) if by == paper.MEASURE else {}
    told = (
        f"Grey rings are the paper's figures, of {known}, with {number(paper.DEPTH)} passages re-ranked"
        if known
        else "Grey rings are the paper's means over its 16 sets of BEIR, not of this set: only their slope compares"
    )
    return fig_1(summary["systems"], summary.get("parameters", {}), by, theirs, told)


def _means() -> dict[str, float]:
    return {name: paper.average(name) for name in paper.systems()}


def depth_curves(summary: Summary) -> list[Html]:
    """Effectiveness by re-ranked depth, from one scoring."""
    curves = {name: curve for name, curve in summary.get("depth_curve", {}).items() if len(curve) > 1}
    if not curves:
        return []
    by = measure_of(summary)
    series = [
        Series(name, [float(depth) for depth in curve], [values[by] for values in curve.values()], place % COLOURS)
        for place, (name, curve) in enumerate(curves.items())
    ]
    depths = [depth for one in series for depth in one.x]
    ends = [min(depths), max(depths)]
    if (first := summary["systems"].get("bm25")) is not None:
        series.append(Series("bm25", ends, [first[by]] * 2, len(series) % COLOURS))
    values = [value for one in series for value in one.y]
    told = "Every depth is measured on the same scores; passages below it stay as the first stage had them."
    across = Axis("passages re-ranked", ends[0], ends[1], log=True)
    return [lines(f"{by} by depth", across, Axis(by, *padded(min(values), max(values))), series, told)]


def compared(summary: Summary) -> list[Html]:
    """Differences with intervals and p-values, and whether re-ranking helps."""
    if not (comparison := summary.get("comparison")) or not comparison["systems"]:
        return []
    rows = [comparison_row(name, row) for name, row in comparison["systems"].items()]
    about = f"{comparison['measure']} against {comparison['baseline']}; p-values are Holm's over the systems"
    return [table(("system", *COMPARISON), rows, about)]


COMPARISON = ("difference", "95 % interval", "p (t-test)", "p (randomisation)", "wins / ties / losses", "better?")


def comparison_row(name: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The cells of a compared system, as `COMPARISON` heads them."""
    return (
        name,
        f"{row['difference']:+.4f} {mark(row)}",
        f"{row['low']:+.4f} … {row['high']:+.4f}",
        _p_value(row["p_t_test_holm"]),
        _p_value(row["p_randomisation_holm"]),
        f"{row['wins']} / {row['ties']} / {row['losses']}",
        row["better"],
    )


def mixes(summary: Summary) -> list[Html]:
    """The weights of mixes."""
    rows = [
        (name, ", ".join(f"{weight:g}" for weight in about["weights"]), about["chosen_on"])
        for name, about in summary.get("interpolation", {}).items()
    ]
    told = "The reranker's share of normalised scores, and what it was chosen on"
    return [table(("system", "weights", "chosen on"), rows, told)] if rows else []


def fidelity(summary: Summary) -> list[Html]:
    """How close each student is to the teacher."""
    by_system = summary.get("fidelity_by_system", {})
    if not by_system:
        return []
    names = list(dict.fromkeys(name for row in by_system.values() for name in row))
    rows = [(system, *(row.get(name) for name in names)) for system, row in by_system.items()]
    return [table(("system", *names), [[_dash(cell) for cell in row] for row in rows], "On the pairs that all scored")]


def worst(summary: Summary) -> list[Html]:
    """The ten queries that each system loses most on, unfolded for the last system."""
    comparison = summary.get("comparison", {"systems": {}})
    body: list[Html] = []
    for name, row in comparison["systems"].items():
        items = [_item(query, comparison) for query in row["worst"]]
        if items:
            body.append(findings(f"{name} against {comparison['baseline']}", items))
    return body


def _item(query: Mapping[str, Any], comparison: Mapping[str, Any]) -> Html:
    was = f"{comparison['measure']} {number(query['baseline'])} → {number(query['system'])} · {query['query_id']}"
    first, relevant = query.get("first"), query.get("relevant")
    shown = finding(was, query["query"], f"Put first ({_ranks(first)}): {first['text']}" if first else "")
    if relevant and relevant != first:
        opened = paragraph(relevant["text"] or relevant["passage_id"])
        shown = Html(shown + details(f"A relevant passage ({_ranks(relevant)})", opened))
    return shown


def _ranks(passage: Mapping[str, Any]) -> str:
    before, after = (passage[f"{which}_rank"] or "–" for which in ("baseline", "system"))
    judged = "not judged" if passage["relevance"] is None else f"judged {passage['relevance']}"
    return f"{judged}, rank {before} → {after}"


def _parameters(count: int | None) -> str:
    return "–" if count is None else number(count)


def _p_value(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def _dash(cell: Any) -> Any:
    return "–" if cell is None else cell
