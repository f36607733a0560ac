"""Fitting a calibration: what a score is worth, measured on pairs whose relevance is known.

Temperature: Guo et al. 2017, "On Calibration of Modern Neural Networks" (https://arxiv.org/abs/1706.04599). Platt 1999
adds an intercept, which a reranker needs where few candidates are relevant. Isotonic: Zadrozny and Elkan 2002, any
non-decreasing function; it needs a thousand pairs or more.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression, minimize

from inranker.errors import UserError
from inranker.rerankers.calibration import Calibration, calibrated, sigmoid

Values = npt.NDArray[np.float64]
# Probabilities nearer to 0 and 1 than this cost no more: one surprise should not outweigh all other pairs.
EPSILON = 1e-6
BINS = 15
KNOTS = 200


def fit(scores: npt.ArrayLike, targets: npt.ArrayLike, method: str, fitted_on: str = "") -> Calibration:
    """The calibration of a method that makes the targets most likely.

    Args:
        scores: what ranks, [n].
        targets: how relevant each pair is, in [0, 1]: judgments (0 or 1) or a teacher's probability, [n].
        method: `temperature`, `platt` or `isotonic`.
        fitted_on: what the pairs are, for people.

    Raises:
        UserError: an unknown method, scores that are not finite, too little to fit, or scores that do not grow with
            relevance.
    """
    x, y = np.asarray(scores, np.float64), np.asarray(targets, np.float64)
    if method not in FITS:
        raise UserError(f"calibration method {method!r} is not one of {', '.join(FITS)}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("a score or a target is not a finite number; check the model and the labels")
    if len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        raise UserError(f"{len(x)} pairs with equal scores or equal relevance calibrate nothing; give other pairs")
    return FITS[method](x, y, fitted_on)


def quality(scores: npt.ArrayLike, targets: npt.ArrayLike, calibration: Calibration | None) -> dict[str, float]:
    """`log_loss`, `brier` and `ece` (expected calibration error, 15 bins of equally many pairs); lower is better."""
    probabilities = calibrated(scores, calibration)
    y = np.asarray(targets, np.float64)
    bins = np.array_split(np.argsort(probabilities, kind="stable"), min(BINS, len(y)))
    gaps = [len(rows) * abs(float(probabilities[rows].mean() - y[rows].mean())) for rows in bins]
    return {
        "log_loss": float(_log_loss(probabilities, y).mean()),
        "brier": float(((probabilities - y) ** 2).mean()),
        "ece": sum(gaps) / len(y),
    }


def held_out(
    scores: npt.ArrayLike, targets: npt.ArrayLike, query_ids: Sequence[str], method: str, folds: int = 2
) -> dict[str, dict[str, float]]:
    """Quality `before` and `after` on queries that the calibration was not fitted on: the mean over folds by query.

    Raises:
        UserError: as `fit`, of a part.
    """
    x, y = np.asarray(scores, np.float64), np.asarray(targets, np.float64)
    number = {query_id: place for place, query_id in enumerate(dict.fromkeys(query_ids))}
    fold_of = np.array([number[query_id] % folds for query_id in query_ids])
    before, after = [], []
    for fold in range(folds):
        own = fold_of == fold
        if not own.any() or own.all():
            raise UserError(f"{len(number)} queries are too few to measure a calibration on other ones; give more")
        before.append(quality(x[own], y[own], None))
        after.append(quality(x[own], y[own], fit(x[~own], y[~own], method)))
    return {name: _mean(parts) for name, parts in (("before", before), ("after", after))}


def _fit_temperature(x: Values, y: Values, fitted_on: str) -> Calibration:
    slope, _ = _fit_line(x, y, intercept=False)
    return Calibration("temperature", temperature=1 / slope, fitted_on=fitted_on)


def _fit_platt(x: Values, y: Values, fitted_on: str) -> Calibration:
    slope, offset = _fit_line(x, y, intercept=True)
    return Calibration("platt", temperature=1 / slope, offset=offset, fitted_on=fitted_on)


def _fit_line(x: Values, y: Values, intercept: bool) -> tuple[float, float]:
    """(a, b) of sigmoid(a x + b) with the least cross-entropy, which is convex in them; b = 0 without intercept."""
    scale = float(x.std())

    def loss(parameters: Values) -> tuple[float, Values]:
        line = parameters[0] * x / scale + (parameters[1] if intercept else 0.0)
        error = sigmoid(line) - y
        gradient = [float((error * x).mean() / scale), float(error.mean())]
        return float((np.logaddexp(0, line) - y * line).mean()), np.array(gradient[: 2 if intercept else 1])

    found = minimize(loss, np.array([1.0, 0.0][: 2 if intercept else 1]), jac=True, method="BFGS").x
    slope = float(found[0]) / scale
    if not slope > 1e-9 / scale:
        raise UserError(
            "scores do not grow with relevance on these pairs, so no probability follows from them; "
            "calibrate on pairs of the domain that the model was trained for"
        )
    return slope, float(found[1]) if intercept else 0.0


def _fit_isotonic(x: Values, y: Values, fitted_on: str) -> Calibration:
    """Pool-adjacent-violators; a block becomes one knot at its mean score, and what lies between is interpolated."""
    distinct, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=y) / counts
    found = isotonic_regression(means, weights=counts)
    starts = found.blocks[:-1]
    weights = np.add.reduceat(counts.astype(np.float64), starts)
    centres = np.add.reduceat(distinct * counts, starts) / weights
    heights = np.clip(found.x[starts], 0, 1)
    if len(heights) < 2:
        raise UserError("scores do not grow with relevance on these pairs; calibrate on other pairs, or with platt")
    kept = np.unique(np.linspace(0, len(centres) - 1, min(KNOTS, len(centres))).round().astype(int))
    return Calibration(
        "isotonic",
        scores=tuple(float(value) for value in centres[kept]),
        probabilities=tuple(float(value) for value in np.maximum.accumulate(heights[kept])),
        fitted_on=fitted_on,
    )


def _log_loss(probabilities: Values, y: Values) -> Values:
    p = np.clip(probabilities, EPSILON, 1 - EPSILON)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def _mean(parts: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}


FITS: dict[str, Callable[[Values, Values, str], Calibration]] = {
    "temperature": _fit_temperature,
    "platt": _fit_platt,
    "isotonic": _fit_isotonic,
}
