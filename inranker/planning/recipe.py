"""A recipe's stages, one line each: pairs, updates, operations, GPU-hours, memory and money. Nothing is run or fetched.

What a finished stage has made is read off its manifest; the rest is reckoned from the sizes of published collections
and models.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from inranker.evaluation.table import render_rows
from inranker.planning.speeds import DistillExecution
from inranker.planning.stages import Forecast, Known, forecast
from inranker.recipe import StageCall

HEADER = ["stage", "pairs", "updates", "10¹⁵ operations", "GPU-hours", "GB", "cost"]


def plan_stages(prepared: Iterable[tuple[StageCall, Any]], speeds: DistillExecution) -> dict[str, Any]:
    """The plan of stages in order.

    Returns:
        `stages` (name -> what `Forecast` has, and `cost`), `gpu_hours`, `flops` and `cost` of those that are known,
        `whole` (whether all are), and a `table`.
    """
    known = Known(speeds)
    found = {call.name: forecast(call.stage, config, known) for call, config in prepared}
    hours = [each.gpu_hours for each in found.values() if each.gpu_hours is not None]
    flops = [each.flops for each in found.values() if each.flops is not None]
    summary: dict[str, Any] = {
        "stage": "distill",
        "plan": True,
        "stages": {name: {**asdict(each), "cost": cost(each.gpu_hours, speeds)} for name, each in found.items()},
        "gpu_hours": round(sum(hours), 2),
        "flops": sum(flops),
        "cost": cost(sum(hours), speeds),
        "whole": len(hours) == len(found),
    }
    return {**summary, "table": render(summary, found, speeds)}


def cost(gpu_hours: float | None, speeds: DistillExecution) -> float | None:
    """Money for GPU-hours; None where hours or price are not known."""
    if gpu_hours is None or speeds.price_per_hour is None:
        return None
    return round(gpu_hours * speeds.price_per_hour, 2)


def render(summary: dict[str, Any], found: dict[str, Forecast], speeds: DistillExecution) -> str:
    """The plan as a person reads it; repetitions of a stage are added up."""
    rows, notes = [], []
    for name, group in _groups(found).items():
        rows.append([name, *_cells(group, speeds)])
        said = dict.fromkeys(each.note for each in group if each.note)
        notes += [f"{name}: {note}" for note in said]
    least = "" if summary["whole"] else "at least "
    money = "" if summary["cost"] is None else f", cost {least}{summary['cost']:,.2f}"
    total = (
        f"in all {least}{summary['gpu_hours']:,.1f} GPU-hours{money}: reckoned, not measured, for GPUs of "
        f"{speeds.gpu_tflops:g}·10¹² operations a second, of which training reaches {speeds.training_utilisation:.0%} "
        f"(but {speeds.update_seconds:g} s an update at least) and scoring {speeds.scoring_utilisation:.0%}"
    )
    return "\n".join([render_rows(HEADER, rows), *notes, total])


def _groups(found: dict[str, Forecast]) -> dict[str, list[Forecast]]:
    groups: dict[str, list[Forecast]] = {}
    for name, each in found.items():
        groups.setdefault(name.split("/")[0], []).append(each)
    return {f"{name} × {len(group)}" if len(group) > 1 else name: group for name, group in groups.items()}


def _cells(group: list[Forecast], speeds: DistillExecution) -> list[str]:
    def total(values: list[Any], form: str) -> str:
        return format(sum(values), form) if values and None not in values else "–"

    hours = [each.gpu_hours for each in group]
    memory = [each.memory_gb for each in group if each.memory_gb is not None]
    money = [cost(value, speeds) for value in hours]
    return [
        total([each.pairs for each in group], ",.0f"),
        total([each.steps for each in group], ",.0f"),
        total([None if each.flops is None else each.flops / 1e15 for each in group], ",.0f"),
        total(hours, ",.1f"),
        f"{max(memory):,.1f}" if memory else "–",
        total(money, ",.2f"),
    ]
