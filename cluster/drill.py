"""Preemption drill: label and train while processes, nodes and drivers die, and get what an undisturbed run gets.

    python -m cluster.drill                                   # ten minutes of kills, on this machine
    python -m cluster.drill --minutes 60 --seed 7 --kill_every 15 --json out/drill.json
    python -m cluster.drill --stages label --kinds worker,node

A cluster of several nodes starts on this machine. The jobs run once undisturbed, then again and again while random
victims get SIGKILL; every round must end with the same labels and the same student.
"""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from safetensors.numpy import load_file

from cluster.killer import WEIGHTS, Killer
from cluster.local import LocalCluster
from inranker.cli import main
from inranker.errors import UserError
from inranker.evaluation.table import render_rows
from inranker.labeling.read import read_labels
from inranker.mining import MineConfig, MineExecution, MineIdentity, mine
from inranker.rerankers.create import T5Shape
from inranker.starts import CreateConfig, CreateIdentity, VocabularyConfig, VocabularyIdentity, create, vocabulary

REPOSITORY = Path(__file__).resolve().parent.parent
NODE_CPUS = 3
TOLERANCE = 1e-6
STARTS = 20  # of one job, before the drill gives up
AGAIN = re.compile(r"unit \S+ is started again in scoring")
BACK = re.compile(r"training goes on from step (\d+) after step (\d+)")
SHAPE = T5Shape(d_model=128, d_ff=512, d_kv=32, num_heads=4, num_layers=4, num_decoder_layers=1)


@dataclass(frozen=True)
class DrillConfig:
    """Kill random parts of running jobs and compare what they make."""

    output: str = "out/drill"
    """Local directory for data, jobs' outputs and logs; undisturbed runs in it are used again."""
    minutes: float = 10.0
    """How long things are killed; the round that is under way then is finished in peace."""
    seed: int = 0
    """Seed of what is killed when."""
    kill_every: float = 20.0
    """Seconds between kills, on average."""
    kinds: list[str] = field(default_factory=lambda: list(WEIGHTS))
    """What is killed: worker (a process), node (all processes of a node), driver (of the job)."""
    stages: list[str] = field(default_factory=lambda: ["label", "train"])
    """Jobs of a round: label, train."""
    nodes: int = 3
    """Nodes of the cluster besides its head."""
    actors: int = 2
    """Scoring actors."""
    workers: int = 2
    """Training processes."""
    pairs: str | None = None
    """Pairs to label; null: mined from the docstrings of the standard library."""
    teacher: str | None = None
    """Teacher, also the start of the student; null: a small T5 with random weights."""
    queries: int = 400
    """Queries to mine pairs of, ten pairs each, where none are given."""
    unit_rows: int = 50
    """Pairs of a unit of work."""
    steps: int = 150
    """Updates of the student."""
    checkpoint_every: int = 10
    """Updates between checkpoints."""


def drill(config: DrillConfig) -> dict[str, Any]:
    """Run the drill.

    Returns:
        Kills and what each cost, the largest differences to the undisturbed run, and `failed` with `reasons`.

    Raises:
        UserError: a field is wrong.
    """
    check(config)
    folder = Path(config.output).resolve()
    config = with_data(config, folder)
    started = time.monotonic()
    rounds: list[Path] = []
    seconds: list[float | None] = []
    with LocalCluster(dashboard=False, environment={"PYTHONPATH": str(REPOSITORY)}) as cluster:
        for _ in range(config.nodes):
            cluster.add_node(NODE_CPUS)
        calm, disturbed = folder / "undisturbed", folder / f"seed-{config.seed}-{int(time.time())}"
        calm_seconds = run_round(config, cluster, calm, None)
        kinds = [kind for kind in WEIGHTS if kind in config.kinds]
        with Killer(cluster, config.seed, config.kill_every, config.minutes, kinds, NODE_CPUS) as killer:
            while killer.active or not rounds:
                rounds.append(disturbed / f"round-{len(rounds) + 1}")
                seconds.append(run_round(config, cluster, rounds[-1], killer))
    differences = [compare(config, calm, each) for each in rounds]
    return summarize(config, killer, differences, calm_seconds, seconds, time.monotonic() - started)


def check(config: DrillConfig) -> None:
    """Refuse what cannot work.

    Raises:
        UserError: naming the field.
    """
    for name, known in (("kinds", list(WEIGHTS)), ("stages", ["label", "train"])):
        chosen = getattr(config, name)
        if not chosen or any(each not in known for each in chosen):
            raise UserError(f"{name}: {', '.join(chosen) or 'none'}; known: {', '.join(known)}")
    if "label" not in config.stages:
        raise UserError("stages: training is on the labels of its round; add label")


def with_data(config: DrillConfig, folder: Path) -> DrillConfig:
    """The same drill with pairs and teacher made, where none are named."""
    data = folder / "data"
    pairs, teacher = config.pairs, config.teacher
    if teacher is None:
        vocabulary(VocabularyConfig(VocabularyIdentity("python-docs", 2000), str(data / "vocabulary")))
        chosen = CreateIdentity(str(data / "vocabulary" / "tokenizer"), SHAPE, seed=1, max_length=256)
        create(CreateConfig(chosen, str(data / "teacher")))
        teacher = str(data / "teacher" / "model")
    if pairs is None:
        mined = MineIdentity("python-docs", max_queries=config.queries)
        mine(MineConfig(mined, str(data / "pairs"), MineExecution(progress=False, write_report=False)))
        pairs = str(data / "pairs")
    return DrillConfig(**{**vars(config), "pairs": pairs, "teacher": teacher})


def commands(config: DrillConfig, output: Path) -> dict[str, list[str]]:
    """The jobs of a round: the commands that a user would give."""
    labels, common = str(output / "labels"), ["--threads", "1", "--progress", "false", "--write_report", "false"]
    label = [
        *("--pairs", str(config.pairs), "--teacher", str(config.teacher), "--output", labels),
        *("--unit_rows", str(config.unit_rows), "--actors", str(config.actors), *common),
    ]
    train = [
        *("--labels", labels, "--start", str(config.teacher), "--output", str(output / "student")),
        *("--steps", str(config.steps), "--batch_size", "16", "--learning_rate", "1e-3", "--log_every", "1"),
        *("--workers", str(config.workers), "--checkpoint_every", str(config.checkpoint_every)),
        *("--max_failures", "-1", *common),  # machines that come and go: worker deaths end nothing
    ]
    return {stage: words for stage, words in (("label", label), ("train", train)) if stage in config.stages}


def run_round(config: DrillConfig, cluster: LocalCluster, output: Path, killer: Killer | None) -> float | None:
    """Label and train into `output`; seconds, or None where it had been done before.

    Raises:
        RuntimeError: a job ended again and again.
    """
    if all((output / name / "manifest.json").exists() for name in outputs(config)):
        return None
    started = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    for stage, words in commands(config, output).items():
        run_job(stage, words, cluster, output / f"{stage}.log", killer)
    return round(time.monotonic() - started, 1)


def outputs(config: DrillConfig) -> list[str]:
    """Directories that a round fills."""
    return [{"label": "labels", "train": "student"}[stage] for stage in config.stages]


def run_job(stage: str, words: list[str], cluster: LocalCluster, log: Path, killer: Killer | None) -> None:
    """Give a job's command until it succeeds, as whatever restarts failed jobs would.

    Raises:
        RuntimeError: it ended too often.
    """
    environment = cluster.variables() | {"RAY_ADDRESS": cluster.address, "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
    command = [sys.executable, str(REPOSITORY / "pipelines" / f"{stage}.py"), *words]
    for _ in range(STARTS):
        driver = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        if killer is not None:
            killer.job, killer.driver = f"{log.parent.name}/{stage}", psutil.Process(driver.pid)
        assert driver.stdout is not None
        try:
            with open(log, "a", encoding="utf-8") as file:
                for line in driver.stdout:
                    file.write(line)
                    file.flush()
                    if killer is not None:
                        note(line, killer)
        except BaseException:
            driver.kill()
            raise
        if driver.wait() == 0:
            return
        if killer is None:
            break
        killer.cost(restarts=1)
    raise RuntimeError(f"{stage} did not end well, see {log}: {log.read_text(encoding='utf-8')[-2000:]}")


def note(line: str, killer: Killer) -> None:
    """What a line of a job's log says was done again."""
    if AGAIN.search(line):
        killer.cost(units_again=1)
    if back := BACK.search(line):
        killer.cost(steps_again=int(back[2]) - int(back[1]))


def compare(config: DrillConfig, calm: Path, disturbed: Path) -> dict[str, float]:
    """Largest differences of a round's logits and weights; infinite where rows or weights are others."""
    expected, found = read_labels(str(calm / "labels")), read_labels(str(disturbed / "labels"))
    same = all(found[name].equals(expected[name]) for name in ("shard", "row", "query_id", "passage_id"))
    logits = [largest(expected[name].to_numpy(), found[name].to_numpy()) for name in ("false_logit", "true_logit")]
    differences = {"logits": max(logits) if same else float("inf")}
    if "train" in config.stages:
        ours, theirs = (load_file(each / "student" / "student" / "model.safetensors") for each in (calm, disturbed))
        same = ours.keys() == theirs.keys()
        differences["weights"] = max(largest(ours[name], theirs[name]) for name in ours) if same else float("inf")
    return differences


def largest(left: np.ndarray, right: np.ndarray) -> float:
    """The largest difference of two arrays of one shape."""
    return float(np.abs(left - right).max()) if left.shape == right.shape else float("inf")


def summarize(
    config: DrillConfig,
    killer: Killer,
    differences: list[dict[str, float]],
    calm_seconds: float | None,
    seconds: list[float | None],
    elapsed: float,
) -> dict[str, Any]:
    """What the drill reports, with the table that a person reads."""
    worst = {name: max(each[name] for each in differences) for name in differences[0]}
    reasons = [
        f"{name} differ from the undisturbed run's by {worst[name]:.3g}, more than {TOLERANCE:g}"
        for name in worst
        if not worst[name] <= TOLERANCE
    ]
    if not killer.kills:
        reasons.append("nothing was killed; give it more minutes or a smaller --kill_every")
    total = {
        name: sum(getattr(kill, name) for kill in killer.kills) for name in ("units_again", "steps_again", "restarts")
    }
    summary = {
        "stage": "drill",
        "seed": config.seed,
        "minutes": config.minutes,
        "cores": os.cpu_count(),
        "rounds": len(differences),
        "kills": {kind: sum(kill.kind == kind for kill in killer.kills) for kind in WEIGHTS},
        **total,
        "largest_difference": worst,
        "undisturbed_round_seconds": calm_seconds,
        "round_seconds": seconds,
        "seconds": round(elapsed, 1),
        "events": [asdict(kill) for kill in killer.kills],
        "failed": bool(reasons),
        "reasons": reasons,
    }
    return {**summary, "table": table(summary)}


def table(summary: dict[str, Any]) -> str:
    """Every kill with its cost, and what it all came to."""
    names = ("seconds", "kind", "victim", "job", "units_again", "steps_again", "restarts")
    rows = [[str(event[name]) for name in names] for event in summary["events"]]
    header = ["after s", "kill", "of", "in", "units again", "steps again", "job starts"]
    same = ", ".join(f"{name} {value:.2g}" for name, value in summary["largest_difference"].items())
    return "\n".join(
        [
            render_rows(header, rows),
            f"{len(rows)} kills in {summary['rounds']} rounds: {summary['units_again']} units scored again, "
            f"{summary['steps_again']} steps made again, {summary['restarts']} jobs started again",
            f"largest differences to the undisturbed run: {same}",
            *(f"FAILED: {reason}" for reason in summary["reasons"]),
        ]
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the cluster goes before the drill
    main(DrillConfig, drill, __doc__)
