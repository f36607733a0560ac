"""Where curves go besides metrics.jsonl: TensorBoard by default, Weights & Biases or MLflow by a field.

A tracker is a class of two methods and a line in `TRACKERS`. All of them get the lines of metrics.jsonl, from one
worker.
"""

import json
import math
from pathlib import Path
from typing import Any, Protocol

from inranker.errors import UserError
from inranker.manifest import to_json
from inranker.storage import Store

FOLDER = "tensorboard"
MLFLOW_RUN = "mlflow.json"  # in the output: which run its starts write to


class Tracker(Protocol):
    """Takes lines of metrics.jsonl."""

    def write(self, line: dict[str, Any]) -> None:
        """One line: `step` and numbers by name."""

    def close(self) -> None:
        """Everything is written."""


class TensorBoard:
    """Event files in the output's `tensorboard` directory, where that is on disk."""

    def __init__(self, output: str, step: int, config: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        place = Store(output).local_path(FOLDER)
        # What a start that died wrote beyond its last checkpoint is hidden by purge_step.
        self.writer = SummaryWriter(str(place), purge_step=step + 1, flush_secs=10) if place is not None else None

    def write(self, line: dict[str, Any]) -> None:
        """See `Tracker`."""
        if self.writer is not None:
            for name, value in numbers(line).items():
                self.writer.add_scalar(name, value, line["step"])

    def close(self) -> None:
        """See `Tracker`."""
        if self.writer is not None:
            self.writer.close()


class WeightsAndBiases:
    """A run of https://wandb.ai, resumed under the output's name; key and project come from its own settings."""

    def __init__(self, output: str, step: int, config: dict[str, Any]) -> None:
        wandb = _import("wandb")
        name = Path(output).name
        self.run = wandb.init(id=name, name=name, resume="allow", config=config)

    def write(self, line: dict[str, Any]) -> None:
        """See `Tracker`."""
        self.run.log(numbers(line), step=line["step"])

    def close(self) -> None:
        """See `Tracker`."""
        self.run.finish()


class MLflow:
    """A run of https://mlflow.org, resumed by later starts; server and experiment come from its own environment."""

    def __init__(self, output: str, step: int, config: dict[str, Any]) -> None:
        self.mlflow = _import("mlflow")
        store = Store(output)
        if store.exists(MLFLOW_RUN):
            self.mlflow.start_run(run_id=json.loads(store.read(MLFLOW_RUN))["run_id"])
            return
        run = self.mlflow.start_run(run_name=Path(output).name)
        self.mlflow.log_params({name: str(value)[:500] for name, value in config.items()})
        store.write(MLFLOW_RUN, to_json({"run_id": run.info.run_id}))

    def write(self, line: dict[str, Any]) -> None:
        """See `Tracker`."""
        self.mlflow.log_metrics(numbers(line), step=line["step"])

    def close(self) -> None:
        """See `Tracker`."""
        self.mlflow.end_run()


TRACKERS: dict[str, type[TensorBoard] | type[WeightsAndBiases] | type[MLflow]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


def open_trackers(names: list[str], output: str, step: int, config: dict[str, Any]) -> list[Tracker]:
    """The trackers of these names.

    Args:
        output: the job's directory or URL.
        step: updates made before this start.
        config: what the job is, for those that show it.
    """
    return [TRACKERS[name](output, step, config) for name in names]


def check_trackers(names: list[str]) -> None:
    """Refuse a tracker that there is not.

    Raises:
        UserError: the name is unknown, or its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise UserError(f"trackers: unknown tracker {name!r}; known: {', '.join(TRACKERS)}")
        if name != "tensorboard":
            _import(name)


def numbers(line: dict[str, Any]) -> dict[str, float]:
    """What of a line can be drawn."""
    return {
        name: float(value)
        for name, value in line.items()
        if name != "step" and isinstance(value, int | float) and math.isfinite(value)
    }


def _import(package: str) -> Any:
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError as error:
        raise UserError(f"trackers: {package} is not installed; `pip install {package}`, or leave it out") from error
