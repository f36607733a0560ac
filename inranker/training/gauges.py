"""Tells a training job's progress to Ray, whose nodes serve it to Prometheus as `ray_inranker_train_loss`, ….

This module imports Ray.
"""

from typing import Any

from ray.util.metrics import Gauge

GAUGES = {
    figure: f"inranker_train_{figure}"
    for figure in ("step", "steps", "loss", "pairs", "pairs_per_second", "learning_rate")
}


class TrainGauges:
    """The driver's gauges of a job.

    Args:
        output: tells the jobs of a cluster apart.
    """

    def __init__(self, output: str) -> None:
        self.gauges = {
            figure: Gauge(name, f"{figure.replace('_', ' ')} of a training job", ("output",))
            for figure, name in GAUGES.items()
        }
        self.tags = {"output": output}

    def tell(self, progress: dict[str, Any]) -> dict[str, Any]:
        """Set the gauges of what is known; returns the progress, for whoever reads it next."""
        for figure, gauge in self.gauges.items():
            if figure in progress:
                gauge.set(progress[figure], self.tags)
        return progress
