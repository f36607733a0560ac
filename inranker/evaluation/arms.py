"""Arms of an experiment against each other over several collections: seeds averaged, sets and queries resampled.

A query counts by its mean over the seeds, a set by the mean over its queries, an arm by the mean over sets. What else
could have come out is found by a bootstrap over both levels: sets are drawn with replacement, then queries within each
(Davison & Hinkley 1997, section 3.8; https://doi.org/10.1017/CBO9780511802843), as the sets are themselves a sample of
the domains that one would want to say something about. With few sets the interval is a rough one.
"""

import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

from inranker.errors import UserError
from inranker.evaluation.output import PER_QUERY, SUMMARY
from inranker.evaluation.significance import CONFIDENCE, RESAMPLES, holm
from inranker.evaluation.table import render_rows, render_table
from inranker.manifest import read_manifest, to_json
from inranker.storage import Store

ARMS = "arms.json"
VERSUS = " - "

# collection -> system -> query_id -> value, the mean over the evaluations (seeds) that have it
Values = dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True)
class ArmsConfig:
    """Compare arms over collections and seeds."""

    evaluations: list[str]
    """Output directories or URLs of `evaluate.py`; several of one collection are its seeds."""
    groups: dict[str, list[str]]
    """Names of groups of collections, such as out_of_domain: [cranfield, cacm]; a collection may be in several."""
    primary: str
    """The comparison that was fixed beforehand, `ARM - ARM`, in the first group; its p-value is not corrected."""
    comparisons: list[str] = field(default_factory=list)
    """Other comparisons, made in every group; Holm's method corrects for all of them together."""
    measure: str = "nDCG@10"
    """The measure to compare by."""
    seed: int = 0
    """Seed of the bootstrap."""
    resamples: int = RESAMPLES
    """Bootstrap samples."""
    command: str = ""
    """The command that makes the evaluations: kept beside the figures, for whoever reads them elsewhere."""
    output: str | None = None
    """Directory or URL for arms.json; null only returns the summary."""


def arms(config: ArmsConfig) -> dict[str, Any]:
    """Read the evaluations' per-query values and compare.

    Returns:
        `sets` (collection -> system -> mean), `seeds` (collection -> system -> evaluations that have it), `averages`
        (group -> system -> mean over its sets), `primary` and `comparisons` (figures of `compare_arms` with their
        `group`), and a `table`.

    Raises:
        UserError: a directory is no evaluation, evaluations of one collection are not of the same queries and depth,
            or a group or comparison names what no evaluation has.
    """
    if not config.groups:
        raise UserError("groups: name at least one group of collections, the primary comparison's first")
    values, seeds = read_values(config.evaluations, config.measure)
    for group, names in config.groups.items():
        if missing := [name for name in names if name not in values] or ([] if names else ["any collection"]):
            raise UserError(f"groups.{group}: no evaluation is of {missing[0]} (there are {', '.join(values)})")
    first, *_ = config.groups
    primary = {"group": first, **_compare(config, values, first, config.primary)}
    others = [
        {"group": group, **_compare(config, values, group, comparison)}
        for group in config.groups
        for comparison in config.comparisons
        if (group, comparison) != (first, config.primary)
    ]
    for row, adjusted in zip(others, holm([row["p"] for row in others]), strict=True):
        row["p_holm"] = adjusted
    sets = {name: {s: fmean(own.values()) for s, own in systems.items()} for name, systems in values.items()}
    summary: dict[str, Any] = {
        "stage": "arms",
        "command": config.command,
        "measure": config.measure,
        "sets": sets,
        "seeds": seeds,
        "averages": {group: _averages(sets, names) for group, names in config.groups.items()},
        "primary": primary,
        "comparisons": others,
    }
    summary["table"] = _render(summary)
    if config.output:
        Store(config.output).write(ARMS, to_json(summary))
    return summary


def read_values(evaluations: Sequence[str], measure: str) -> tuple[Values, dict[str, dict[str, int]]]:
    """Per-query values of every system, averaged over the evaluations of a collection, and how many those were.

    Raises:
        UserError: see `arms`.
    """
    held: dict[str, dict[str, dict[str, list[float]]]] = {}
    seeds: dict[str, dict[str, int]] = {}
    settings: dict[str, tuple[int, frozenset[str]]] = {}
    for url in evaluations:
        store = Store(url)
        if (stage := read_manifest(store).stage) != "evaluate":
            raise UserError(f"{store.url} is the output of stage {stage!r}; name outputs of evaluate.py")
        summary = json.loads(store.read(SUMMARY))
        name = summary["collection"].rsplit("/", 1)[-1]
        own = _per_query(store, measure)
        setting = summary["depth"], frozenset(next(iter(own.values())))
        if settings.setdefault(name, setting) != setting:
            raise UserError(f"{store.url}: other queries or another depth than an earlier evaluation of {name}")
        for system, by_query in own.items():
            counts = seeds.setdefault(name, {})
            counts[system] = counts.get(system, 0) + 1
            lists = held.setdefault(name, {}).setdefault(system, defaultdict(list))
            for query_id, value in by_query.items():
                lists[query_id].append(value)
    means = {
        name: {system: {query: fmean(found) for query, found in lists.items()} for system, lists in systems.items()}
        for name, systems in held.items()
    }
    return means, seeds


def compare_arms(differences: Sequence[np.ndarray], seed: int, resamples: int = RESAMPLES) -> dict[str, float]:
    """Mean over sets of the mean over queries of a difference, and how sure it is.

    Args:
        differences: for each set, the difference of two arms for each of its queries.
        seed: of the bootstrap.
        resamples: bootstrap samples.

    Returns:
        `difference`; `low` and `high`, the 95 % percentile interval; `p`, two-sided: twice the smaller share of samples
        on one side of 0, the observed one counted with them.
    """
    rng = np.random.default_rng(seed)
    # Every set is resampled as often as it could be drawn: a set that is drawn twice gets queries of its own each time.
    number = len(differences)
    drawn_RS = rng.integers(number, size=(resamples, number))
    means_RS = np.empty((resamples, number))
    for index, values in enumerate(differences):
        places = np.nonzero(drawn_RS == index)
        counts = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=len(places[0]))
        means_RS[places] = counts @ values / len(values)
    means_R = means_RS.mean(axis=1)
    low, high = np.quantile(means_R, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    tail = min(int((means_R <= 0).sum()), int((means_R >= 0).sum()))
    return {
        "difference": fmean(float(values.mean()) for values in differences),
        "low": float(low),
        "high": float(high),
        "p": min(1.0, 2 * (tail + 1) / (resamples + 1)),
    }


def _per_query(store: Store, measure: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for line in io.BytesIO(store.read(PER_QUERY)):
        record = json.loads(line)
        if measure not in record:
            raise UserError(f"{store.url} has no {measure}; evaluate with it among `measures`")
        found.setdefault(record["system"], {})[record["query_id"]] = record[measure]
    return found


def _compare(config: ArmsConfig, values: Values, group: str, comparison: str) -> dict[str, Any]:
    """One comparison in one group of collections."""
    names = config.groups[group]
    arm, versus, baseline = comparison.partition(VERSUS)
    if not versus:
        raise UserError(f"{comparison!r} is no comparison; write it as `soft - hard`")
    for system in (arm, baseline):
        if lacking := [name for name in names if system not in values[name]]:
            raise UserError(f"{comparison!r}: the evaluations of {lacking[0]} have no system {system!r}")
    differences = [
        np.array([own - values[name][baseline][query] for query, own in values[name][arm].items()]) for name in names
    ]
    by_set = {name: float(values.mean()) for name, values in zip(names, differences, strict=True)}
    return {"comparison": comparison, **compare_arms(differences, config.seed, config.resamples), "by_set": by_set}


def _averages(sets: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Means over sets, of the systems that all of them have."""
    systems = [system for system in sets[names[0]] if all(system in sets[name] for name in names)]
    return {system: fmean(sets[name][system] for name in names) for system in systems}


def _render(summary: Mapping[str, Any]) -> str:
    columns = {**summary["averages"], **summary["sets"]}
    systems = dict.fromkeys(system for values in columns.values() for system in values)
    means = render_table(
        {s: {c: values[s] for c, values in columns.items() if s in values} for s in systems}, [*columns]
    )
    rows = [
        [
            f"{row['comparison']} ({row['group']})",
            f"{row['difference']:+.4f}",
            f"{row['low']:+.4f} … {row['high']:+.4f}",
            f"{row.get('p_holm', row['p']):.4f}",
        ]
        for row in (summary["primary"], *summary["comparisons"])
    ]
    return f"{means}\n\n{render_rows(['primary first, the others by Holm', 'difference', '95 % interval', 'p'], rows)}"
