"""Where a probability becomes a call: thresholds, chosen on validation records only.

A label without positive or negative validation records has no threshold (NaN), and what would
follow from one is left out by the rule of `ecgjepa.metrics.classification`.
"""

import math

import numpy as np
from jaxtyping import Bool, Float

from ecgjepa.metrics.classification import Scores, Targets
from ecgjepa.model.outputs import DecisionConfig

SPECIFICITY = 0.9
SENSITIVITY = 0.9

Thresholds = Float[np.ndarray, " labels"]


def best_f1_thresholds(targets: Targets, scores: Scores) -> Thresholds:
    """Return the threshold of greatest F1 per label, the highest of several."""
    return np.array(
        [
            _best_f1(positive, scores[:, column]) if _has_both(positive) else math.nan
            for column, positive in enumerate(targets.T)
        ]
    )


def specificity_thresholds(
    targets: Targets, scores: Scores, specificity: float = SPECIFICITY
) -> Thresholds:
    """Return the lowest threshold per label that keeps a share of the negatives below it."""
    return np.array(
        [
            _at_specificity(scores[~positive, column], specificity)
            if _has_both(positive)
            else math.nan
            for column, positive in enumerate(targets.T)
        ]
    )


def sensitivity_thresholds(
    targets: Targets, scores: Scores, sensitivity: float = SENSITIVITY
) -> Thresholds:
    """Return the highest threshold per label that keeps a share of the positives at or above it."""
    return np.array(
        [
            _at_sensitivity(scores[positive, column], sensitivity)
            if _has_both(positive)
            else math.nan
            for column, positive in enumerate(targets.T)
        ]
    )


def fit_decisions(
    targets: Targets, probabilities: Scores, *, folds: tuple[int, ...] = ()
) -> DecisionConfig:
    """Fit the thresholds of a model on validation records.

    Args:
        targets: Labels of the validation records.
        probabilities: Probabilities of the validation records on the scale that the model is used
            with, so after calibration.
        folds: Folds of the validation records, for the model folder.
    """

    def known(thresholds: Thresholds) -> tuple[float | None, ...]:
        return tuple(None if math.isnan(one) else one for one in thresholds.tolist())

    return DecisionConfig(
        best_f1=known(best_f1_thresholds(targets, probabilities)),
        at_sensitivity=known(sensitivity_thresholds(targets, probabilities)),
        at_specificity=known(specificity_thresholds(targets, probabilities)),
        sensitivity=SENSITIVITY,
        specificity=SPECIFICITY,
        folds=folds,
    )


def _at_sensitivity(positives: Float[np.ndarray, " positives"], sensitivity: float) -> float:
    called = max(1, math.ceil(sensitivity * len(positives) - 1e-9))
    return float(np.sort(positives)[len(positives) - called])


def _has_both(positive: Bool[np.ndarray, " records"]) -> bool:
    return bool(0 < positive.sum() < len(positive))


def _best_f1(
    positive: Bool[np.ndarray, " records"], scores: Float[np.ndarray, " records"]
) -> float:
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    called = np.arange(1, len(scores) + 1)
    f1 = 2 * hits / (called + positive.sum())
    # Records of equal scores are called together.
    last = np.r_[np.diff(scores[order]) != 0, True]
    return float(scores[order][np.argmax(np.where(last, f1, -1.0))])


def _at_specificity(negatives: Float[np.ndarray, " negatives"], specificity: float) -> float:
    below = math.ceil(specificity * len(negatives) - 1e-9)
    if below == 0:
        return -math.inf
    return float(np.nextafter(np.sort(negatives)[below - 1], math.inf))
