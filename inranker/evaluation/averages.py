"""Several evaluations in one table: a system's mean over sets, and apart over sets that it was and was not trained on.

The paper's Table 1 is the mean over the 16 sets of BEIR; Table 4 splits them by sample set (appendix B).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from inranker.corpora.beir16 import SETS
from inranker.errors import UserError
from inranker.evaluation import paper
from inranker.evaluation.comparison import render_comparison
from inranker.evaluation.output import SUMMARY
from inranker.evaluation.significance import holm
from inranker.evaluation.table import render_table
from inranker.manifest import read_manifest, to_json
from inranker.report.average import write_average_report
from inranker.report.job import report_or_warn
from inranker.storage import Store

AVERAGE = "average.json"
Means = dict[str, dict[str, float]]


@dataclass(frozen=True)
class AverageConfig:
    """Average evaluations of the same systems over several collections."""

    evaluations: list[str]
    """Output directories or URLs of `evaluate.py`, one a collection."""
    measure: str = "nDCG@10"
    """The measure to average."""
    in_domain: list[str] = field(default_factory=list)
    """Names of the collections that the systems were trained on (scifact, nfcorpus, …): their mean and that of the
    others are shown too."""
    sample_set: int | None = None
    """The paper's sample set of collections that were trained on, 1 or 2 (appendix B), in place of `in_domain`."""
    against: str | None = None
    """`paper`: show the paper's means over the same sets, of systems that are named as there."""
    output: str | None = None
    """Directory or URL for average.json and report.html; null only returns the summary."""


def average(config: AverageConfig) -> dict[str, Any]:
    """Read the evaluations' summaries.

    Returns:
        `sets` (collection -> system -> value), `averages` (group -> system -> mean, of the systems that every
        evaluation has), `comparison` (set -> system -> its difference to the baseline, where all evaluations have
        compared with the same one by this measure), `parameters`, `against` where a reference is named, a `table`, and
        `report`, the page's URL, where there is an output.

    Raises:
        UserError: a directory is no evaluation, two are of one collection or at different depths, the measure is
            missing, or no system is in all of them.
    """
    summaries = [_read(url) for url in config.evaluations]
    sets = _by_set(summaries, config.measure)
    systems = [name for name in next(iter(sets.values())) if all(name in values for values in sets.values())]
    if not systems:
        raise UserError("no system is in all of the evaluations; give systems the same NAME=PATH in each")
    groups = _groups(list(sets), config)
    averages = {
        group: {system: fmean(sets[name][system] for name in names) for system in systems}
        for group, names in groups.items()
    }
    tables = [render_table(_rows(systems, {**sets, **averages}))]
    summary: dict[str, Any] = {
        "stage": "average",
        "measure": config.measure,
        "depth": summaries[0]["depth"],
        "sets": sets,
        "averages": averages,
        "parameters": {name: count for one in summaries for name, count in one.get("parameters", {}).items()},
        "evaluations": {name: one.get("fingerprint") for name, one in zip(sets, summaries, strict=True)},
    }
    if (compared := _comparison(summaries, list(sets), systems, config.measure)) is not None:
        summary["comparison"] = compared
        tables.append(_render_comparison(compared, config.measure))
    if config.against:
        summary["against"] = _against(config, groups, averages, summaries)
        tables += [f"{group}\n{found['table']}" for group, found in summary["against"].items()]
    summary["table"] = "\n\n".join(tables)
    if config.output:
        store = Store(config.output)
        store.write(AVERAGE, to_json(summary))
        summary |= report_or_warn(lambda: write_average_report(store, summary), "average.py once more")
    return summary


def _read(url: str) -> dict[str, Any]:
    store = Store(url)
    if (stage := read_manifest(store).stage) != "evaluate":
        raise UserError(f"{store.url} is the output of stage {stage!r}; name outputs of evaluate.py")
    summary: dict[str, Any] = json.loads(store.read(SUMMARY))
    return summary


def _by_set(summaries: list[dict[str, Any]], measure: str) -> Means:
    if not summaries:
        raise UserError("no evaluations to average; name outputs of evaluate.py with --evaluations")
    sets: Means = {}
    for summary in summaries:
        name = summary["collection"].rsplit("/", 1)[-1]
        if name in sets:
            raise UserError(f"two evaluations are of {name}; name one of each collection")
        if summary["depth"] != summaries[0]["depth"]:
            raise UserError(
                f"{name} was re-ranked to depth {summary['depth']}, others to {summaries[0]['depth']}; figures at "
                "different depths are not comparable"
            )
        if any(measure not in values for values in summary["systems"].values()):
            raise UserError(f"the evaluation of {name} has no {measure}; evaluate with it among `measures`")
        sets[name] = {system: values[measure] for system, values in summary["systems"].items()}
    return sets


def _groups(names: list[str], config: AverageConfig) -> dict[str, list[str]]:
    """Group -> its collections; a group without any is left out."""
    trained = set(config.in_domain)
    if config.sample_set is not None:
        if config.sample_set not in (1, 2):
            raise UserError(f"sample_set is {config.sample_set}; the paper has 1 and 2")
        trained = {row.name for row in SETS.values() if config.sample_set in row.samples}
    elif unknown := trained - set(names):
        raise UserError(f"in_domain names {sorted(unknown)[0]!r}, which no evaluation is of ({', '.join(names)})")
    groups = {"average": names}
    if trained:
        groups |= {
            "in-domain": [name for name in names if name in trained],
            "out-of-domain": [name for name in names if name not in trained],
        }
    return {group: members for group, members in groups.items() if members}


def _comparison(
    summaries: list[dict[str, Any]], sets: list[str], systems: list[str], measure: str
) -> dict[str, Any] | None:
    """The evaluations' own comparisons, p-values corrected anew: over every set and system at once."""
    found = [one.get("comparison") or {} for one in summaries]
    if len({(one.get("baseline"), one.get("measure")) for one in found}) > 1 or found[0].get("measure") != measure:
        return None
    rows = {
        name: {system: dict(one["systems"][system]) for system in systems if system in one["systems"]}
        for name, one in zip(sets, found, strict=True)
    }
    every = [row for own in rows.values() for row in own.values()]
    for row in every:
        row.pop("worst", None)
    for test in ("p_t_test", "p_randomisation"):
        for row, adjusted in zip(every, holm([row[test] for row in every]), strict=True):
            row[f"{test}_holm"] = adjusted
    return {"baseline": found[0]["baseline"], "sets": rows} if every else None


def _render_comparison(compared: dict[str, Any], measure: str) -> str:
    by_set = {f"{name}: {system}": row for name, own in compared["sets"].items() for system, row in own.items()}
    return render_comparison({"baseline": compared["baseline"], "systems": by_set}, measure)


def _rows(systems: list[str], columns: Mapping[str, Mapping[str, float]]) -> Means:
    return {system: {name: values[system] for name, values in columns.items()} for system in systems}


def _against(
    config: AverageConfig, groups: dict[str, list[str]], averages: Means, summaries: list[dict[str, Any]]
) -> dict[str, Any]:
    """Group -> rows and table; the paper's means are over the same sets."""
    if config.measure != paper.MEASURE:
        raise UserError(f"the paper has {paper.MEASURE} alone; leave out --against or --measure")
    found = {}
    for group, names in groups.items():
        for name in names:
            shared = paper.require_reference(str(config.against), name, list(averages[group]))
        rows = [paper.difference(name, averages[group][name], paper.average(name, names)) for name in shared]
        comparable = summaries[0]["depth"] == paper.DEPTH
        table = paper.render_difference(rows)
        if not comparable:
            table += f"\nnot comparable: the paper re-ranks {paper.DEPTH} passages a query"
        found[group] = {"sets": len(names), "comparable": comparable, "rows": rows, "table": table}
    return found
