"""How far probabilities are from the truth in one direction: slope and intercept per label.

A logistic regression of the label on the logit of its probability (Cox 1958; Steyerberg et al.
2010, https://doi.org/10.1097/EDE.0b013e3181c30fb2). The slope is 1 where probabilities are right,
below 1 where they are too extreme. The intercept is that of a regression whose slope is fixed at 1
(calibration in the large): 0 where the mean is right, above 0 where probabilities are too low.

Intervals are of Wald's kind, with a variance that allows for several records of a patient.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import expit
from scipy.stats import norm

from ecgjepa.metrics.bootstrap import CONFIDENCE, Interval
from ecgjepa.metrics.classification import FEW_POSITIVES, Scores, Targets
from ecgjepa.model.outputs import logits_of

_MOST_STEPS = 100
_UNDEFINED = Interval(float("nan"), float("nan"), float("nan"))


class CalibrationLine(NamedTuple):
    """Slope and intercept of one label; NaN where there are too few records, or no fit."""

    slope: Interval
    intercept: Interval


def calibration_lines(
    targets: Targets, probabilities: Scores, patient_of: Int[np.ndarray, " records"]
) -> list[CalibrationLine]:
    """Return slope and intercept of every label.

    Args:
        targets: True labels.
        probabilities: As they are used, so after calibration.
        patient_of: Number of each record's patient.
    """
    logits = logits_of(probabilities, "multi-label")
    return [
        _line(targets[:, column], logits[:, column], patient_of)
        for column in range(targets.shape[1])
    ]


def _line(
    positive: Bool[np.ndarray, " records"],
    logit: Float[np.ndarray, " records"],
    patient_of: Int[np.ndarray, " records"],
) -> CalibrationLine:
    hits = int(positive.sum())
    if min(hits, len(positive) - hits) < FEW_POSITIVES:
        return CalibrationLine(_UNDEFINED, _UNDEFINED)
    one = np.ones((len(logit), 1))
    intercept = _fit(positive, one, logit, patient_of)
    centre, spread = logit.mean(), logit.std()
    slope = None
    if spread > 0:
        both = np.column_stack([one, (logit - centre) / spread])
        slope = _fit(positive, both, np.zeros(len(logit)), patient_of)
    return CalibrationLine(
        _UNDEFINED if slope is None else _interval(*slope, column=1, scale=1 / spread),
        _UNDEFINED if intercept is None else _interval(*intercept, column=0),
    )


def _fit(
    positive: Bool[np.ndarray, " records"],
    columns: Float[np.ndarray, "records parameters"],
    offset: Float[np.ndarray, " records"],
    patient_of: Int[np.ndarray, " records"],
) -> tuple[Float[np.ndarray, " parameters"], Float[np.ndarray, "parameters parameters"]] | None:
    """Return the parameters of greatest likelihood and their variance; None if there are none."""
    found = np.zeros(columns.shape[1])
    loss = _loss(positive, columns @ found + offset)
    for _ in range(_MOST_STEPS):
        probability = expit(columns @ found + offset)
        weight = probability * (1 - probability)
        curvature = (columns * weight[:, None]).T @ columns
        if np.linalg.cond(curvature) > 1e12:  # separable: the likelihood has no maximum
            return None
        step = np.linalg.solve(curvature, columns.T @ (positive - probability))
        while (later := _loss(positive, columns @ (found + step) + offset)) > loss + 1e-12:
            step = step / 2
        found, loss = found + step, later
        if np.abs(step).max() < 1e-10 * max(1.0, np.abs(found).max()):
            break
    else:
        return None
    residual = columns * (positive - expit(columns @ found + offset))[:, None]
    of_patient = np.zeros((int(patient_of.max()) + 1, columns.shape[1]))
    np.add.at(of_patient, patient_of, residual)
    patients = len(np.unique(patient_of))
    middle = of_patient.T @ of_patient * patients / max(patients - 1, 1)
    inverse = np.linalg.inv(curvature)
    return found, inverse @ middle @ inverse


def _loss(positive: Bool[np.ndarray, " records"], logit: Float[np.ndarray, " records"]) -> float:
    return float(np.logaddexp(0, np.where(positive, -logit, logit)).mean())


def _interval(
    found: Float[np.ndarray, " parameters"],
    variance: Float[np.ndarray, "parameters parameters"],
    *,
    column: int,
    scale: float = 1.0,
) -> Interval:
    half = norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt(variance[column, column])
    value = found[column]
    return Interval(*(float(scale * one) for one in (value, value - half, value + half)))
