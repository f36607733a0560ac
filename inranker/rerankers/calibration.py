"""From what ranks to a probability of relevance: for display and thresholds, never for ranking.

A reranker's margin orders the passages of one query; that a margin of 3 means "relevant in 80 of 100 cases" has to be
measured on judged pairs. A calibration is the result of that measurement and travels in `reranker.json`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UserError

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """A non-decreasing function from score to probability, as plain numbers.

    Fitted by `inranker.ranking.calibration`; `method` says which of the numbers count.
    """

    method: str
    """`temperature`, `platt` or `isotonic`."""
    temperature: float = 1.0
    """sigmoid(score / temperature + offset); above 1 the reranker was too sure of itself (Guo et al. 2017)."""
    offset: float = 0.0
    """0 for `temperature`; Platt's intercept for `platt`."""
    scores: tuple[float, ...] = ()
    """`isotonic`: increasing scores, between which probabilities are interpolated."""
    probabilities: tuple[float, ...] = ()
    """`isotonic`: the probability at each of them."""
    fitted_on: str = ""
    """What it was measured on, for people."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UserError(f"calibration method {self.method!r} is not one of {', '.join(METHODS)}")
        if not self.temperature > 0:
            raise UserError(f"calibration temperature {self.temperature} must be above 0")
        if self.method == "isotonic":
            _check_knots(self.scores, self.probabilities)


def calibrated(scores: npt.ArrayLike, calibration: Calibration | None) -> Values:
    """Probabilities, float64 [n], of scores [n]; sigmoid(score), which is P(true), without a calibration."""
    values = np.asarray(scores, dtype=np.float64)
    return sigmoid(values) if calibration is None else METHODS[calibration.method](values, calibration)


def sigmoid(values: Values) -> Values:
    """1 / (1 + e⁻ˣ), without overflow."""
    return 0.5 * (1 + np.tanh(values / 2))


def from_json(value: Any) -> Calibration | None:
    """What `reranker.json` holds under `calibration`.

    Raises:
        TypeError: unknown fields, or not an object.
        UserError: numbers that are no calibration.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise TypeError(f"calibration is {type(value).__name__}, not an object")
    knots = {name: tuple(float(item) for item in value.get(name, ())) for name in ("scores", "probabilities")}
    return Calibration(**{**value, **knots})


def _scaled(scores: Values, calibration: Calibration) -> Values:
    return sigmoid(scores / calibration.temperature + calibration.offset)


def _interpolated(scores: Values, calibration: Calibration) -> Values:
    return np.interp(scores, calibration.scores, calibration.probabilities)


METHODS: dict[str, Callable[[Values, Calibration], Values]] = {
    "temperature": _scaled,
    "platt": _scaled,
    "isotonic": _interpolated,
}


def _check_knots(scores: tuple[float, ...], probabilities: tuple[float, ...]) -> None:
    rising = all(left < right for left, right in pairwise(scores))
    growing = all(left <= right for left, right in pairwise(probabilities))
    within = all(0 <= probability <= 1 for probability in probabilities)
    if not scores or len(scores) != len(probabilities) or not (rising and growing and within):
        raise UserError(
            "an isotonic calibration needs increasing scores and as many probabilities in [0, 1] that never fall"
        )
