"""The report of a training job: its curves, the student beside its teacher, what it was told and made of."""

import json
from typing import Any

import numpy as np

from inranker.manifest import Manifest, read_manifest
from inranker.report.charts import Axis, Row, Series, histogram_rows, lines, padded, scatter, thin
from inranker.report.job import custody, fields, write_report
from inranker.report.page import Html, Section, charts, details, duration, number, page, paragraph, tiles
from inranker.report.streams import Histogram
from inranker.storage import Store
from inranker.training.agreement import correlation, read_agreement
from inranker.training.config import TrainConfig
from inranker.training.dev import DEV_SCORE
from inranker.training.meter import METRICS

POINTS = 300  # of a curve
BINS = 40
STEEP = 30  # a loss that falls by more is drawn over equal factors
TERMS = (("loss", "loss"), ("delta", "δ term of Eq. 2"), ("s", "s term"))

Line = dict[str, Any]


def report(config: TrainConfig) -> dict[str, Any]:
    """Write `report.html` into a finished training job's output.

    Returns:
        `stage`, `output` and the page's URL as `report`.

    Raises:
        UserError: the job is unfinished.
    """
    store = Store(config.output)
    manifest = read_manifest(store)
    measured = [json.loads(line) for line in store.read(METRICS).decode().splitlines() if line.endswith("}")]
    sample = read_agreement(store)
    sections = [
        Section("At a glance", [tiles(at_a_glance(manifest))]),
        Section("Curves", curves(measured)),
        Section("Student and teacher", agreement(sample) if sample else []),
        Section("Made from", [custody(manifest)]),
        Section("Told", [details("Identity", fields(manifest.identity, "What the student depends on"))]),
        Section("Versions", [details("Packages", fields(manifest.versions, "Packages at the end of the job"))]),
    ]
    loss = manifest.identity.get("loss", "")
    about = f"A student of {number(manifest.figures.get('parameters'))} parameters, trained with the loss {loss}."
    return {
        "stage": "report",
        "output": config.output,
        "report": write_report(store, page("Training job", about, sections)),
    }


def at_a_glance(manifest: Manifest) -> list[tuple[str, str]]:
    """The figures one looks for first."""
    held = manifest.figures
    shown = [
        ("updates", number(held.get("steps"))),
        ("pairs in the data", number(held.get("pairs"))),
        ("last loss", number(held.get("loss"))),
        ("pairs/s", number(held.get("pairs_per_second"))),
        ("parameters", number(held.get("parameters"))),
    ]
    if held.get("dev") is not None:
        shown.append(("best dev nDCG@10", number(held["dev"])))
        shown.append(("saved after update", number(held.get("saved_step"))))
    if held.get("total_seconds"):
        shown.append(("last start took", duration(held["total_seconds"])))
    return shown


def curves(measured: list[Line]) -> list[Html]:
    """Loss with its terms, dev nDCG@10, learning rate and speed over the updates."""
    windows = [line for line in measured if "loss" in line]
    dev = [line for line in measured if DEV_SCORE in line]
    if not windows and not dev:
        return [paragraph("The job logged no line.")]
    drawn = []
    last = max(line["step"] for line in measured)
    across = Axis("update", 0, last)
    terms = [
        _series(windows, key, name, colour)
        for colour, (key, name) in enumerate(TERMS)
        if key == "loss" or any(line.get(key) for line in windows)
    ]
    if windows:
        told = "Means over the updates between two lines of metrics.jsonl; long curves are thinned by means."
        drawn.append(lines("Loss", across, _up("loss", terms), terms, told))
    if dev:
        points = Series("", [line["step"] for line in dev], [line[DEV_SCORE] for line in dev], 2)
        low, high = padded(min(points.y), max(points.y))
        told = "Of a small re-ranked first-stage run; it chooses which student is saved."
        drawn.append(lines("nDCG@10 on dev", across, Axis("nDCG@10", low, high), [points], told))
    for key, title, colour, told in (
        ("learning_rate", "Learning rate", 3, "As used by the last update of each window."),
        ("pairs_per_second", "Pairs a second", 4, "Over all workers; measurements and checkpoints slow a window down."),
    ):
        if windows:
            one = _series(windows, key, "", colour)
            drawn.append(lines(title, across, Axis(title.lower(), 0, max(*one.y, 1e-12) * 1.06), [one], told))
    return [charts(*drawn)]


def agreement(sample: dict[str, Any]) -> list[Html]:
    """The saved student's margins beside the teacher's, or by kind where there was no teacher."""
    student_N2, positive_N = np.array(sample["student"]), np.array(sample["positive"], dtype=bool)
    margin_N = student_N2[:, 1] - student_N2[:, 0]
    of_what = f"{len(margin_N)} training pairs drawn at random, scored by the student saved after update {{}}"
    of_what = of_what.format(number(sample["step"]))
    kinds = (("positive", positive_N, 0), ("negative", ~positive_N, 1))
    if sample["teacher"] is None:
        low, high = padded(float(margin_N.min()), float(margin_N.max()))
        rows = []
        for name, chosen, colour in kinds:
            held = Histogram()
            held.add(margin_N[chosen])
            rows.append(Row(name, held.over(low, high, BINS).tolist(), colour))
        return [histogram_rows("The student's margin by kind", Axis("margin", low, high), rows, f"{of_what}.")]
    teacher_N2 = np.array(sample["teacher"])
    taught_N = teacher_N2[:, 1] - teacher_N2[:, 0]
    ends = padded(float(min(margin_N.min(), taught_N.min())), float(max(margin_N.max(), taught_N.max())))
    points = [Series(name, taught_N[rows].tolist(), margin_N[rows].tolist(), colour) for name, rows, colour in kinds]
    shown = [
        ("pairs in the sample", number(len(margin_N))),
        ("correlation of margins", "–" if (r := correlation(sample)) is None else number(r)),
        ("mean squared difference of margins", number(float(((taught_N - margin_N) ** 2).mean()))),
        ("variance of the teacher's", number(float(taught_N.var()))),
    ]
    told = f"{of_what}: they were trained on, so this shows how well they were learnt. The line is equality."
    x, y = Axis("teacher's margin", *ends), Axis("student's margin", *ends)
    return [tiles(shown), scatter("Student and teacher", x, y, points, told, diagonal=True)]


def _series(windows: list[Line], key: str, name: str, colour: int) -> Series:
    held = [(float(line["step"]), float(line[key])) for line in windows if line.get(key) is not None]
    x, y = thin([step for step, _ in held], [value for _, value in held], POINTS)
    return Series(name, x, y, colour)


def _up(title: str, series: list[Series]) -> Axis:
    main = series[0].y
    low, high = min(main), max(main)
    if low > 0 and high / low > STEEP:
        least = min(value for one in series for value in one.y if value > 0)
        return Axis(title, max(least, low / 100), high * 1.1, log=True)
    every = [value for one in series for value in one.y]
    return Axis(title, min(0.0, *every), max(*every, 1e-12) * 1.05)
