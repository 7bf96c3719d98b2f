"""Make probabilities mean what they say, by a fit on validation records alone.

Temperature scaling (Guo et al. 2017, https://arxiv.org/abs/1706.04599): all logits divided by one
number. Platt scaling (Platt 1999): a slope and an offset per label. Slopes are positive, so the
order of a label's records, and with it its AUROC, stays. (Dividing the logits of a softmax keeps
the order of the labels within a record, but may swap records.)
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax

from ecgjepa.errors import ScoreError
from ecgjepa.metrics.classification import FEW_POSITIVES, Scores, Targets, check_scores
from ecgjepa.model.outputs import CalibrationConfig, ClassificationKind, logits_of

Logits = Float[np.ndarray, "records labels"]

# A temperature beyond these would be the sign of something else.
_LOG_TEMPERATURE = (np.log(0.05), np.log(20.0))
_LEAST_SLOPE = 1e-3


def fit_calibration(
    targets: Targets,
    probabilities: Scores,
    labels: tuple[str, ...],
    *,
    kind: ClassificationKind,
    method: Literal["temperature", "platt"] | None = None,
    folds: tuple[int, ...] = (),
) -> CalibrationConfig:
    """Fit a calibration on validation records.

    Args:
        targets: Labels of the validation records.
        probabilities: What the model says of them.
        labels: Names.
        kind: ``multi-label`` or ``single-label``.
        method: By default ``platt`` for multi-label and ``temperature`` for single-label tasks.
            With ``platt``, a label with fewer than 10 positive or negative records, with scores
            that do not vary, or that are higher for negatives, gets the temperature instead, and is
            named.
        folds: Of the validation records, for the model folder.

    Raises:
        ScoreError: If scores are not numbers, or Platt scaling is asked for of a softmax.
    """
    check_scores(probabilities, targets, labels)
    method = method or ("platt" if kind == "multi-label" else "temperature")
    if kind == "single-label" and method == "platt":
        raise ScoreError(
            "Platt scaling is per label, and a single-label task's probabilities sum to 1; use "
            "method='temperature'"
        )
    logits = logits_of(probabilities, kind)
    inverse = 1 / _fit_temperature(targets, logits, kind)
    scale, shift = np.full(len(labels), inverse), np.zeros(len(labels))
    fallback: dict[str, str] = {}
    if method == "platt":
        for column, label in enumerate(labels):
            positive, scores = targets[:, column], logits[:, column]
            if reason := _too_little(positive, scores):
                fallback[label] = reason
                continue
            slope, offset = _fit_platt(positive, scores)
            if slope < _LEAST_SLOPE:
                fallback[label] = "scores of positives are not above those of negatives"
            else:
                scale[column], shift[column] = slope, offset
    return CalibrationConfig(
        method=method,
        kind=kind,
        scale=tuple(scale.tolist()),
        shift=tuple(shift.tolist()),
        folds=folds,
        fallback=fallback,
    )


def _too_little(
    positive: Bool[np.ndarray, " records"], scores: Float[np.ndarray, " records"]
) -> str:
    """Return why a label cannot be fitted by itself, or an empty text."""
    hits = int(positive.sum())
    if hits < FEW_POSITIVES:
        return f"{hits} positive validation records"
    if len(positive) - hits < FEW_POSITIVES:
        return f"{len(positive) - hits} negative validation records"
    return "scores do not vary" if np.ptp(scores) == 0 else ""


def _fit_temperature(targets: Targets, logits: Logits, kind: ClassificationKind) -> float:
    """Return the temperature of least log-loss."""

    def multi_label(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(np.logaddexp(0, np.where(targets, -scaled, scaled)).mean())

    def single_label(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-(scaled * targets).sum(axis=1).mean())

    loss: Callable[[float], float] = single_label if kind == "single-label" else multi_label
    found = minimize_scalar(loss, bounds=_LOG_TEMPERATURE, method="bounded")
    return float(np.exp(found.x))


def _fit_platt(
    positive: Bool[np.ndarray, " records"], scores: Float[np.ndarray, " records"]
) -> tuple[float, float]:
    """Return slope and offset; the targets are smoothed as by Platt, so separable labels settle."""
    hits, misses = positive.sum(), (~positive).sum()
    wanted = np.where(positive, (hits + 1) / (hits + 2), 1 / (misses + 2))
    mean, std = scores.mean(), scores.std()
    z = (scores - mean) / std  # the fit does not depend on the scale of the scores

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        logit = parameters[0] * z + parameters[1]
        value = np.logaddexp(0, logit) - wanted * logit
        gap = expit(logit) - wanted
        return float(value.mean()), np.array([(gap * z).mean(), gap.mean()])

    start = np.array([1.0, np.log(hits / misses)])
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None), (None, None)],
        options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 500},
    )
    slope = float(found.x[0] / std)
    return slope, float(found.x[1] - slope * mean)
