"""Appendix C of the paper in small: which loss makes the better student of the same labels.

    python pipelines/distill.py pipelines/recipes/from-scratch.yaml
    python -m tests.benchmarks.losses --json losses.json

That recipe's teacher, labels and student shape; losses mse (Eq. 2), true_only and kl; five seeds, of which each sets
the student's start and the order of its batches; the same updates. Students train two at a time, a core each, in
processes of their own. nDCG@10 is on the recipe's held-out queries; every student re-ranks the same candidates.
Intervals of a loss are Student's t over its seeds; those of a difference come from a bootstrap over queries of the
seeds' mean, with Holm's correction over the tests.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy import stats

from inranker.config import build_config, read_yaml
from inranker.evaluation.comparison import comparison, render_comparison
from inranker.evaluation.config import EvaluateConfig, EvaluateExecution, EvaluateIdentity
from inranker.evaluation.stage import evaluate
from inranker.evaluation.table import render_rows
from inranker.rerankers.create import T5Shape, create_t5
from inranker.training.config import TrainExecution, TrainIdentity

from .harness import write

RECIPE = Path("pipelines/recipes/from-scratch.yaml")
LOSSES = ("mse", "true_only", "kl")
MEASURE = "nDCG@10"
Values = dict[str, float]


def main() -> None:
    """Train, evaluate, print the tables and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--made", type=Path, default=Path("out/from-scratch"), help="what the recipe made")
    parser.add_argument("--output", type=Path, default=Path("out/losses"), help="students and evaluation")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="updates; the recipe's when left out")
    parser.add_argument("--json", help="file for the results")
    arguments = parser.parse_args()
    if not (arguments.made / "labels" / "manifest.json").exists():
        parser.error(f"{arguments.made} has no finished labels; run `python pipelines/distill.py {RECIPE}` first")
    stages = {stage["name"]: stage["config"]["identity"] for stage in read_yaml(RECIPE)["stages"]}
    arms = [(loss, seed) for seed in range(arguments.seeds) for loss in LOSSES]
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        jobs = [pool.submit(train_student, *arm, stages, arguments) for arm in arms]
        for (loss, seed), job in zip(arms, jobs, strict=True):
            print(f"{loss}, seed {seed}: loss {job.result():.4f} at the end", file=sys.stderr, flush=True)
    rows, differences = report(arms, measure(arms, stages["evaluation"], arguments))
    figures = {f"{row['loss']}_{MEASURE}": row["mean"] for row in rows}
    write(arguments.json, figures, rows + differences)


def train_student(loss: str, seed: int, stages: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> float:
    """Make one student in this process, unless it is there; returns its last update's loss."""
    import torch

    from inranker.training.custody import find_source
    from inranker.training.job import Job, Place
    from inranker.training.meter import LOSS
    from inranker.training.worker import Trainer

    from .trainers import NoHooks, make_updates, work_alone

    torch.set_num_threads(1)
    output, done = arguments.output / f"{loss}-{seed}", arguments.output / f"{loss}-{seed}.json"
    if done.exists():
        return float(json.loads(done.read_text()))
    chosen, shape = stages["student"], stages["student-start"]
    start = arguments.output / f"start-{loss}-{seed}"
    vocabulary = arguments.made / "vocabulary" / "tokenizer"
    create_t5(build_config(T5Shape, shape["shape"], "shape"), vocabulary, seed, start, max_length=shape["max_length"])
    given = {"labels": str(arguments.made / "labels"), "start": str(start), "loss": loss, "seed": seed}
    steps = {"steps": arguments.steps} if arguments.steps else {}
    identity: TrainIdentity = build_config(TrainIdentity, {**chosen, **given, **steps}, "student")
    work_alone(torch.device("cpu"))
    execution = TrainExecution(cache=str(arguments.output / "cache"), trackers=[])
    trainer = Trainer(
        Job(identity, execution, find_source(identity), str(output), False, 1), Place(), NoHooks(), torch.device("cpu")
    )
    last = float(make_updates(trainer, trainer.steps)[-1][LOSS])
    trainer.save()
    done.write_text(json.dumps(last))
    return last


def measure(arms: list[tuple[str, int]], stage: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Summary and per-query values of the teacher and every student."""
    students = [f"{loss}-{seed}={arguments.output / f'{loss}-{seed}' / 'student'}" for loss, seed in arms]
    identity = EvaluateIdentity(
        collection="python-docs",
        split=stage["split"],
        depth=stage["depth"],
        systems=["bm25", f"teacher={arguments.made / 'teacher' / 'student'}", *students],
        teacher="teacher",
    )
    output = arguments.output / f"evaluation-{len(arms)}-{arguments.steps or 'recipe'}"
    summary = evaluate(EvaluateConfig(identity, str(output), EvaluateExecution(progress=False)))
    values: dict[str, Values] = defaultdict(dict)
    for line in (output / "per_query.jsonl").read_text().splitlines():
        record = json.loads(line)
        values[record["system"]][record["query_id"]] = record[MEASURE]
    return {"summary": summary, "values": values}


def report(arms: list[tuple[str, int]], found: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Print both tables; their rows."""
    fidelity, values = found["summary"]["fidelity_by_system"], found["values"]
    rows, means = [], {}
    for loss in LOSSES:
        names = [f"{name}-{seed}" for name, seed in arms if name == loss]
        by_seed = [fmean(values[name].values()) for name in names]
        low, high = t_interval(by_seed)
        tau = fmean(fidelity[name]["kendall_tau"] for name in names)
        rows.append({"loss": loss, "seeds": by_seed, "mean": fmean(by_seed), "low": low, "high": high, "tau": tau})
        means[loss] = {query: fmean(values[name][query] for name in names) for query in values[names[0]]}
    for name in ("bm25", "teacher"):
        print(f"{name}: {MEASURE} {fmean(values[name].values()):.4f}")
    header = ["loss", MEASURE, "95 % interval over seeds", "tau to the teacher"]
    cells = [[r["loss"], f"{r['mean']:.4f}", f"{r['low']:.4f} … {r['high']:.4f}", f"{r['tau']:.4f}"] for r in rows]
    print(render_rows(header, cells))
    compared = comparison("mse", means, dict.fromkeys(means["mse"], ""))
    print(render_comparison(compared, MEASURE))
    kept = ("difference", "low", "high", "p_t_test_holm", "p_randomisation_holm")
    differences = [
        {"loss": f"{name} − mse", **{field: row[field] for field in kept}} for name, row in compared["systems"].items()
    ]
    return rows, differences


def t_interval(values: list[float]) -> tuple[float, float]:
    """95 % interval of the mean of a few values (Student's t)."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else float("nan")
    return float(np.mean(values) - half), float(np.mean(values) + half)


if __name__ == "__main__":
    main()
