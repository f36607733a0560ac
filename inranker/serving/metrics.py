"""What is counted, for Prometheus and, on a cluster, for Ray's own metrics (`ray_inranker_serve_*`)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PREFIX = "inranker_serve_"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
TOKENS = (64, 256, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)


@dataclass(frozen=True)
class Measure:
    """Something counted."""

    kind: str
    help: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()


MEASURES = {
    "requests": Measure("counter", "Requests answered", ("route", "status")),
    "request_seconds": Measure("histogram", "Time from a request's headers to its answer", ("route",), SECONDS),
    "requests_in_flight": Measure("gauge", "Requests being answered", ()),
    "passages": Measure("counter", "Passages scored; its rate is passages per second", ("model",)),
    "tokens": Measure("counter", "Tokens scored", ("model",)),
    "batch_tokens": Measure("histogram", "Tokens of a batch", ("model",), TOKENS),
    "batch_seconds": Measure("histogram", "Time to score a batch", ("model",), SECONDS),
    "queued_passages": Measure("gauge", "Passages that wait or are being scored", ("model",)),
}

Sink = Callable[[str, float, dict[str, str]], None]


class Metrics:
    """Counts into a Prometheus registry of its own, and into another sink beside it."""

    def __init__(self, beside: Sink | None = None) -> None:
        self.registry = CollectorRegistry()
        self._beside = beside
        self._instruments = {name: _prometheus(name, measure, self.registry) for name, measure in MEASURES.items()}

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        """Count `value`: added to a counter, observed by a histogram, set on a gauge."""
        instrument = self._instruments[name]
        kind = MEASURES[name].kind
        labelled = instrument.labels(**labels) if labels else instrument
        if kind == "counter":
            labelled.inc(value)
        elif kind == "gauge":
            labelled.set(value)
        else:
            labelled.observe(value)
        if self._beside is not None:
            self._beside(name, value, labels)

    def page(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(self.registry)


def _prometheus(name: str, measure: Measure, registry: CollectorRegistry) -> Any:
    if measure.kind == "histogram":
        return Histogram(PREFIX + name, measure.help, measure.labels, registry=registry, buckets=measure.buckets)
    return {"counter": Counter, "gauge": Gauge}[measure.kind](
        PREFIX + name, measure.help, measure.labels, registry=registry
    )
