"""What an evaluation reports of the runs and scores that it made."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from inranker.evaluation.comparison import comparison, render_comparison
from inranker.evaluation.config import EvaluateIdentity
from inranker.evaluation.fidelity import fidelity
from inranker.evaluation.judging import condensed, sentence
from inranker.evaluation.measures import PerQuery, means, measure_run
from inranker.evaluation.prepared import Prepared
from inranker.evaluation.rerank import rerank, shallower
from inranker.evaluation.systems import FIRST_STAGE, Scored
from inranker.evaluation.table import render_table
from inranker.evaluation.worst import with_passages
from inranker.retrieval.runs import Run


class Measured(NamedTuple):
    """What was found out: what all systems share, whose judgments were added, then system by system."""

    own: Prepared
    judges: Mapping[str, int]
    runs: dict[str, Run]
    values: dict[str, PerQuery]
    scored: dict[str, Scored]
    mixes: dict[str, dict[str, Any]]


def figures(chosen: EvaluateIdentity, measured: Measured) -> dict[str, Any]:
    """The part of the summary that depends on what was measured: see `stage.evaluate`."""
    systems = {name: means(values) for name, values in measured.values.items()}
    scored = measured.scored
    found: dict[str, Any] = {"systems": systems}
    tables = [render_table(systems, chosen.measures)]
    if chosen.teacher is not None:
        found |= _fidelity(chosen, measured)
    if measured.mixes:
        found["interpolation"] = measured.mixes
    if (baseline := baseline_of(chosen, list(measured.runs))) is not None:
        values = {name: by_measure[chosen.compare_by] for name, by_measure in measured.values.items()}
        compared = comparison(baseline, values, measured.own.texts, chosen.seed, chosen.resamples)
        for name, row in compared["systems"].items():
            row["worst"] = with_passages(row["worst"], measured.runs[baseline], measured.runs[name], measured.own)
        found["comparison"] = {"measure": chosen.compare_by, **compared}
        tables.append(render_comparison(found["comparison"], chosen.compare_by))
    if chosen.depths:
        found["depth_curve"] = {name: _depth_curve(chosen, measured, scored[name]) for name in scored}
        rows = {
            f"{name} @ {depth}": values
            for name, curve in found["depth_curve"].items()
            for depth, values in curve.items()
        }
        tables.append(render_table(rows, chosen.measures))
    if chosen.condensed:
        found["condensed"] = {
            name: means(measure_run(condensed(run, measured.own.qrels), measured.own.qrels, chosen.measures))
            for name, run in measured.runs.items()
        }
        rows = {f"{name}, condensed": values for name, values in found["condensed"].items()}
        tables.append(render_table(rows, chosen.measures))
    if measured.judges:
        collections = len(measured.own.qrels) - sum(measured.judges.values())
        found["judgments"] = {"collection": collections, "judges": dict(measured.judges)}
        tables.append(sentence(collections, measured.judges))
    pairs = len(measured.own.pairs)
    return {
        **found,
        "parameters": {name: own.parameters for name, own in scored.items()},
        "pairs": pairs,
        "pairs_per_second": {name: round(pairs / max(own.seconds, 1e-9), 1) for name, own in scored.items()},
        "table": "\n\n".join(tables),
    }


def baseline_of(chosen: EvaluateIdentity, systems: list[str]) -> str | None:
    """What others are compared with: the baseline that is named, or the first stage where it is a system."""
    if chosen.baseline is not None or len(systems) < 2 or chosen.compare_by not in chosen.measures:
        return chosen.baseline
    return FIRST_STAGE if FIRST_STAGE in systems else None


def _depth_curve(chosen: EvaluateIdentity, measured: Measured, own: Scored) -> dict[str, dict[str, float]]:
    """depth -> measure -> mean, from the scores at the full depth."""
    curve = {}
    for depth in sorted({*chosen.depths, chosen.depth}):
        scores = shallower(measured.own.first_stage, chosen.depth, own.scores_N, depth)
        run = rerank(measured.own.first_stage, depth, scores)
        curve[str(depth)] = means(measure_run(run, measured.own.qrels, chosen.measures))
    return curve


def _fidelity(chosen: EvaluateIdentity, measured: Measured) -> dict[str, Any]:
    assert chosen.teacher is not None
    scored, query_ids = measured.scored, [pair.query_id for pair in measured.own.pairs]
    teacher, before = scored[chosen.teacher], scored.get(chosen.before)
    students = [name for name in scored if name != chosen.teacher]
    headline = chosen.student if chosen.student in students else students[-1]

    def against_teacher(name: str) -> dict[str, float]:
        other = scored[name]
        start = before.logits_N2 if before is not None and name == headline else None
        return fidelity(query_ids, teacher.logits_N2, teacher.scores_N, other.logits_N2, other.scores_N, start)

    by_system = {name: against_teacher(name) for name in students}
    return {"fidelity": by_system[headline], "fidelity_by_system": by_system}
