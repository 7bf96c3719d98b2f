"""All scores of one model's test records, as `results.json` tells them."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ecgjepa.metrics.bootstrap import Interval, PatientBootstrap, bca_interval, interval
from ecgjepa.metrics.classification import (
    FEW_POSITIVES,
    PerLabel,
    Scores,
    Targets,
    Weights,
    brier_scores,
    calibration_error,
    calibration_errors,
    log_losses,
    macro,
    ones,
    ranking_scores,
    single_label_scores,
    threshold_scores,
)
from ecgjepa.metrics.jackknife import left_out_scores
from ecgjepa.metrics.thresholds import (
    SPECIFICITY,
    best_f1_thresholds,
    specificity_thresholds,
)
from ecgjepa.model.outputs import ClassificationKind


class Part(NamedTuple):
    """Records with their true labels and what a model says of them."""

    targets: Targets
    probabilities: Scores


class Scored(NamedTuple):
    """A model's scores.

    Attributes:
        labels: Per label, for ``results.json``.
        macro: Means over the labels; of AUROC, and of single-label scores, with intervals.
        frequent: Means over the labels with at least 10 positives and negatives, with intervals
            where these cover (docs/statistics.md), and how many such labels there are.
        resampled: Macro AUROC of every resample, for differences between models.
        undefined_labels: Labels without positive or negative test records.
        without_threshold: Labels without positive or negative validation records.
    """

    labels: list[dict[str, Any]]
    macro: dict[str, Any]
    frequent: dict[str, Any]
    resampled: Float[np.ndarray, " resamples"]
    undefined_labels: list[str]
    without_threshold: list[str]


class Calls(NamedTuple):
    """Where test records are called.

    Attributes:
        best_f1: Threshold of each label that F1 is scored at.
        specific: Threshold of each label that sensitivity and specificity are scored at.
        probabilities: Of the test records, on the scale of the thresholds.
    """

    best_f1: Float[np.ndarray, " labels"]
    specific: Float[np.ndarray, " labels"]
    probabilities: Scores


def score(
    validation: Part,
    test: Part,
    labels: tuple[str, ...],
    kind: ClassificationKind,
    bootstrap: PatientBootstrap,
) -> Scored:
    """Score the test records, at thresholds chosen on the validation records.

    Args:
        validation: Chooses thresholds.
        test: Is scored.
        labels: Names.
        kind: Of the task.
        bootstrap: Resamples of the test patients.
    """
    calls = Calls(
        best_f1_thresholds(*validation), specificity_thresholds(*validation), test.probabilities
    )
    return score_at(test, labels, kind, bootstrap, calls)


def score_at(
    test: Part,
    labels: tuple[str, ...],
    kind: ClassificationKind,
    bootstrap: PatientBootstrap,
    calls: Calls,
) -> Scored:
    """Score the test records, at thresholds that are given.

    Args:
        test: Is scored.
        labels: Names.
        kind: Of the task.
        bootstrap: Resamples of the test patients.
        calls: Thresholds.
    """
    best_f1, specific = calls.best_f1, calls.specific
    once = ones(len(test.targets))
    point = _per_label(test, calls, once)
    resampled = _per_label(test, calls, bootstrap.weights)
    errors = calibration_errors(*test)
    spread = {
        name: [
            interval(float(value), row)
            for value, row in zip(point[name][:, 0], resampled[name], strict=True)
        ]
        for name in point
    }
    left_out = left_out_scores("auroc", *test, bootstrap.patient_of)
    auroc = (point["auroc"], resampled["auroc"], left_out)
    values = {name: mean_of_labels(point[name][:, 0]) for name in point} | {
        "calibration_error": mean_of_labels(errors)
    }
    frequent = np.minimum(test.targets.sum(axis=0), (~test.targets).sum(axis=0)) >= FEW_POSITIVES
    means = values | _macro_auroc(*auroc)
    if kind == "single-label":
        means |= _whole(test, bootstrap)
    undefined = ~np.isfinite(point["auroc"][:, 0])
    return Scored(
        labels=[
            {name: values[column] for name, values in spread.items()}
            | {
                "calibration_error": float(errors[column]),
                "f1_threshold": float(best_f1[column]),
                "specificity_threshold": float(specific[column]),
            }
            for column in range(len(labels))
        ],
        macro=means,
        frequent=_frequent(point, resampled, errors, frequent)
        | _macro_auroc(*(values[frequent] for values in auroc)),
        resampled=macro(resampled["auroc"]),
        undefined_labels=np.array(labels)[undefined].tolist(),
        without_threshold=np.array(labels)[np.isnan(best_f1)].tolist(),
    )


def _per_label(test: Part, calls: Calls, weights: Weights) -> dict[str, PerLabel]:
    ranking = ranking_scores(*test, weights)
    called = (test.targets, calls.probabilities)
    at_specificity = threshold_scores(*called, calls.specific, weights)
    return {
        "auroc": ranking.auroc,
        "average_precision": ranking.average_precision,
        "f1": threshold_scores(*called, calls.best_f1, weights).f1,
        "sensitivity": at_specificity.sensitivity,
        "specificity": at_specificity.specificity,
        "brier": brier_scores(*test, weights),
        "log_loss": log_losses(*test, weights),
    }


def _macro_auroc(
    point: Float[np.ndarray, "labels 1"],
    resampled: Float[np.ndarray, "labels resamples"],
    left_out: Float[np.ndarray, "labels patients"],
) -> dict[str, Interval]:
    value, draws = float(macro(point)[0]), macro(resampled)
    return {
        "auroc": interval(value, draws),
        "auroc_bca": bca_interval(value, draws, macro(left_out)),
    }


def _frequent(
    point: dict[str, Float[np.ndarray, "labels 1"]],
    resampled: dict[str, PerLabel],
    errors: Float[np.ndarray, " labels"],
    chosen: Bool[np.ndarray, " labels"],
) -> dict[str, Any]:
    """Return means over frequent labels; average precision without interval."""
    means: dict[str, Any] = {
        name: interval(mean_of_labels(point[name][chosen, 0]), macro(resampled[name][chosen]))
        for name in point
    }
    return means | {
        "labels": int(chosen.sum()),
        "average_precision": means["average_precision"].value,
        "calibration_error": mean_of_labels(errors[chosen]),
    }


def _whole(test: Part, bootstrap: PatientBootstrap) -> dict[str, Any]:
    """Return what is scored of one distribution over the labels per record."""
    point = single_label_scores(*test, ones(len(test.targets)))
    resampled = single_label_scores(*test, bootstrap.weights)
    scores: dict[str, Any] = {
        f"record_{name}": interval(float(point[name][0]), resampled[name]) for name in point
    }
    right = test.probabilities.argmax(axis=1) == test.targets.argmax(axis=1)
    top = calibration_error(right, test.probabilities.max(axis=1))
    return scores | {"record_calibration_error": top}


def mean_of_labels(values: Float[np.ndarray, " labels"]) -> float:
    """Return the mean over the labels that have a value."""
    return float(macro(values[:, None])[0])


def criteria() -> dict[str, str]:
    """Return what the numbers mean, to stand beside them."""
    return {
        "thresholds": "of uncalibrated probabilities, as all scores; calibration is apart",
        "f1": "at the threshold of best F1 on the validation records",
        "sensitivity": f"at the threshold of specificity {SPECIFICITY:g} on the validation records",
        "specificity": "on the test records, at that threshold",
        "calibration_error": "expected, in 15 bins; why it has no interval: docs/statistics.md",
        "labels": "every mean is over the labels with positive and negative test records",
    }
