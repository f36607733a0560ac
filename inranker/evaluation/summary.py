"""What an evaluation reports of the runs and scores that it made."""

from typing import Any, NamedTuple

from inranker.evaluation.comparison import comparison, render_comparison
from inranker.evaluation.config import EvaluateIdentity
from inranker.evaluation.fidelity import fidelity
from inranker.evaluation.measures import PerQuery, means, measure_run
from inranker.evaluation.rerank import Candidate, rerank, shallower
from inranker.evaluation.systems import Scored
from inranker.evaluation.table import render_table
from inranker.retrieval.runs import Run
from inranker.types import Qrel


class Measured(NamedTuple):
    """What was found out: the first stage and its candidates, then system by system."""

    first_stage: Run
    pairs: list[Candidate]
    qrels: list[Qrel]
    texts: dict[str, str]
    runs: dict[str, Run]
    values: dict[str, PerQuery]
    scored: dict[str, Scored]


def figures(chosen: EvaluateIdentity, measured: Measured) -> dict[str, Any]:
    """The part of the summary that depends on what was measured: see `stage.evaluate`."""
    systems = {name: means(values) for name, values in measured.values.items()}
    scored = measured.scored
    found: dict[str, Any] = {"systems": systems}
    tables = [render_table(systems, chosen.measures)]
    if chosen.teacher is not None:
        found |= _fidelity(chosen, measured)
    if chosen.baseline is not None:
        values = {name: by_measure[chosen.compare_by] for name, by_measure in measured.values.items()}
        found["comparison"] = comparison(chosen.baseline, values, measured.texts, chosen.seed, chosen.resamples)
        tables.append(render_comparison(found["comparison"], chosen.compare_by))
    if chosen.depths:
        found["depth_curve"] = {name: _depth_curve(chosen, measured, scored[name]) for name in scored}
        rows = {
            f"{name} @ {depth}": values
            for name, curve in found["depth_curve"].items()
            for depth, values in curve.items()
        }
        tables.append(render_table(rows, chosen.measures))
    pairs = len(measured.pairs)
    return {
        **found,
        "parameters": {name: own.parameters for name, own in scored.items()},
        "pairs": pairs,
        "pairs_per_second": {name: round(pairs / max(own.seconds, 1e-9), 1) for name, own in scored.items()},
        "table": "\n\n".join(tables),
    }


def _depth_curve(chosen: EvaluateIdentity, measured: Measured, own: Scored) -> dict[str, dict[str, float]]:
    """depth -> measure -> mean, from the scores at the full depth."""
    curve = {}
    for depth in sorted({*chosen.depths, chosen.depth}):
        scores = shallower(measured.first_stage, chosen.depth, own.scores_N, depth)
        run = rerank(measured.first_stage, depth, scores)
        curve[str(depth)] = means(measure_run(run, measured.qrels, chosen.measures))
    return curve


def _fidelity(chosen: EvaluateIdentity, measured: Measured) -> dict[str, Any]:
    assert chosen.teacher is not None
    scored, query_ids = measured.scored, [pair.query_id for pair in measured.pairs]
    teacher, before = scored[chosen.teacher], scored.get(chosen.before)
    students = [name for name in scored if name != chosen.teacher]
    headline = chosen.student if chosen.student in students else students[-1]

    def against_teacher(name: str) -> dict[str, float]:
        other = scored[name]
        start = before.logits_N2 if before is not None and name == headline else None
        return fidelity(query_ids, teacher.logits_N2, teacher.scores_N, other.logits_N2, other.scores_N, start)

    by_system = {name: against_teacher(name) for name in students}
    return {"fidelity": by_system[headline], "fidelity_by_system": by_system}
