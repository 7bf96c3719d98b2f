"""What a model folder gets for its answers: fitted on validation records, measured on test records.

No function here takes both: what fits cannot see a test record, what measures chooses nothing.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ecgjepa.metrics.classification import Scores, Targets
from ecgjepa.metrics.conformal import (
    LabelSets,
    fit_half_widths,
    fit_label_sets,
    fit_single_label_sets,
    measure_coverage,
)
from ecgjepa.metrics.proportions import shares
from ecgjepa.model.answers import LabelSetConfig, ValueIntervalConfig
from ecgjepa.model.outputs import ClassificationKind

# Share of true labels, or true values, that sets and intervals are to hold.
COVERAGE = 0.9

Values = Float[np.ndarray, "records labels"]


def fit_sets(
    targets: Targets,
    probabilities: Scores,
    kind: ClassificationKind,
    *,
    coverage: float = COVERAGE,
    folds: tuple[int, ...] = (),
) -> LabelSetConfig:
    """Fit conformal label sets on validation records.

    Args:
        targets: Labels of the validation records.
        probabilities: Probabilities of the validation records on the scale that the model is used
            with, so after calibration.
        kind: Of the task.
        coverage: Share of the true labels that the sets are to hold.
        folds: Folds of the validation records, for the model folder.

    Raises:
        ScoreError: As `ecgjepa.metrics.conformal.fit_label_sets`.
    """
    fit = fit_single_label_sets if kind == "single-label" else fit_label_sets
    fitted = fit(targets, probabilities, coverage=coverage)
    return LabelSetConfig(
        kind=fitted.kind,
        coverage=coverage,
        thresholds=tuple(None if math.isinf(one) else one for one in fitted.thresholds.tolist()),
        folds=folds,
    )


def measure_sets(
    sets: LabelSetConfig,
    targets: Targets,
    probabilities: Scores,
    patient_of: Int[np.ndarray, " records"],
) -> LabelSetConfig:
    """Return the same label sets with what they hold on test records.

    Args:
        sets: Label sets, fitted on other records.
        targets: Labels of the test records.
        probabilities: Probabilities of the test records, on the scale of the sets.
        patient_of: Number of each test record's patient, for the intervals.
    """
    least = np.array([-math.inf if one is None else one for one in sets.thresholds])
    held = LabelSets(sets.kind, sets.coverage, least).predict(probabilities)
    measured = measure_coverage(targets, held)
    (overall,) = shares(
        (targets & held).sum(axis=1)[:, None], targets.sum(axis=1)[:, None], patient_of
    )
    return sets.model_copy(
        update={
            "measured": overall,
            "per_label": tuple(shares(targets & held, targets, patient_of)),
            "mean_size": measured.mean_size,
            "share_empty": measured.share_empty,
        }
    )


def fit_value_intervals(
    targets: Values, values: Values, *, coverage: float = COVERAGE, folds: tuple[int, ...] = ()
) -> ValueIntervalConfig:
    """Fit conformal intervals of a regression on validation records.

    Args:
        targets: True values of the validation records.
        values: Predicted values of the validation records.
        coverage: Share of the true values that the intervals are to hold.
        folds: Folds of the validation records, for the model folder.

    Raises:
        ScoreError: As `ecgjepa.metrics.conformal.fit_half_widths`.
    """
    widths = fit_half_widths(targets, values, coverage=coverage).tolist()
    return ValueIntervalConfig(
        coverage=coverage,
        half_widths=tuple(None if math.isinf(one) else one for one in widths),
        folds=folds,
    )


def measure_value_intervals(
    intervals: ValueIntervalConfig,
    targets: Values,
    values: Values,
    patient_of: Int[np.ndarray, " records"],
) -> ValueIntervalConfig:
    """Return the same intervals with the share of the test records' true values that they hold."""
    widths = np.array([math.inf if one is None else one for one in intervals.half_widths])
    held = np.abs(targets - values) <= widths
    measured = shares(held, np.ones(held.shape, np.bool_), patient_of)
    return intervals.model_copy(update={"measured": tuple(measured)})


def describe_sets(sets: LabelSetConfig, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return label sets as ``results.json`` has them."""
    everywhere = [one is None for one in sets.thresholds]
    if sets.kind == "lac":
        everywhere *= len(labels)
    return {
        "kind": sets.kind,
        "asked": sets.coverage,
        "thresholds": sets.thresholds,
        "in_every_set": [name for name, one in zip(labels, everywhere, strict=True) if one],
        "measured": sets.measured or (math.nan,) * 3,
        "per_label": {
            name: None if one is None else one[0]
            for name, one in zip(labels, sets.per_label, strict=True)
        },
        "per_label_intervals": dict(zip(labels, sets.per_label, strict=True)),
        "mean_size": sets.mean_size,
        "share_empty": sets.share_empty,
    }
