"""Regression: ridge on frozen features, its measures, and the one measure that selects.

R², one minus the residual over the total sum of squares, is the mean over the labels; a label whose
records all have one value is left out of it, as labels without positives are of macro AUROC.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped
from sklearn.linear_model import Ridge

from ecgjepa.evaluation.linear import LinearProbe
from ecgjepa.evaluation.metrics import PatientBootstrap, interval, macro_auroc
from ecgjepa.evaluation.tasks import TaskKind

if TYPE_CHECKING:
    from ecgjepa.evaluation.data import EvaluationData
    from ecgjepa.evaluation.results import Outcome

# Penalties relative to the number of training records; one is chosen on the validation records.
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


def selection_score(
    kind: TaskKind,
    targets: Shaped[np.ndarray, "records labels"],
    outputs: Float[np.ndarray, "records labels"],
) -> float:
    """Return what is selected by: macro AUROC, or the mean R² of a regression."""
    if kind == "regression":
        return mean_r2(targets, outputs)
    return macro_auroc(targets, outputs)


def mean_r2(
    targets: Float[np.ndarray, "records labels"], values: Float[np.ndarray, "records labels"]
) -> float:
    """Return the mean R² over the labels that vary; NaN if none does."""
    weights = np.ones((1, len(targets)))
    return float(_mean(_weighted_r2(targets, values, weights))[0])


def fit_ridge(
    features: Float[np.ndarray, "train dim"],
    targets: Float[np.ndarray, "train labels"],
    validation_features: Float[np.ndarray, "validation dim"],
    validation_targets: Float[np.ndarray, "validation labels"],
    *,
    penalties: Sequence[float] = PENALTIES,
) -> LinearProbe:
    """Fit ridge regressions on standardised features; choose the penalty by validation R²."""
    features = features.astype(np.float64)
    mean, std = features.mean(axis=0), features.std(axis=0)
    scale = np.where(std > 1e-6 * np.abs(mean), std, 1.0)
    best: LinearProbe | None = None
    for penalty in penalties:
        model = Ridge(alpha=penalty * len(features)).fit((features - mean) / scale, targets)
        weight = np.reshape(model.coef_, (targets.shape[1], -1)) / scale
        probe = LinearProbe(weight, model.intercept_ - weight @ mean, penalty, float("nan"))
        score = mean_r2(validation_targets, probe.logits(validation_features.astype(np.float64)))
        if best is None or score > best.validation_macro_auroc:
            best = probe._replace(validation_macro_auroc=score)
    assert best is not None
    return best


def resampled_r2(
    data: "EvaluationData", outcome: "Outcome", bootstrap: PatientBootstrap
) -> Float[np.ndarray, " resamples"]:
    """Return the mean R² of the test records in every resample of the patients."""
    targets = data.targets(data.parts.test)
    return _mean(_weighted_r2(targets, outcome.test, bootstrap._weights))


def score_regression(
    data: "EvaluationData",
    outcome: "Outcome",
    bootstrap: PatientBootstrap,
    resampled: Float[np.ndarray, " resamples"],
) -> dict[str, Any]:
    """Return what ``results.json`` says of one model of a regression."""
    parts, weights = data.parts, bootstrap._weights
    targets, error = data.targets(parts.test), np.abs(data.targets(parts.test) - outcome.test)
    one = np.ones((1, len(targets)))
    r2, resampled_r2s = (
        _weighted_r2(targets, outcome.test, one),
        _weighted_r2(targets, outcome.test, weights),
    )
    resampled_errors = weights @ error / weights.sum(axis=1, keepdims=True)
    return {
        "r2": interval(float(_mean(r2)[0]), resampled),
        "validation_r2": mean_r2(data.targets(parts.validation), outcome.validation),
        "labels_scored": int(np.isfinite(r2[0]).sum()),
        "undefined_labels": [
            label
            for label, value in zip(data.task.labels, r2[0], strict=True)
            if not np.isfinite(value)
        ],
        "selected": outcome.selected,
        "history": []
        if outcome.fit is None
        else [
            {"step": line.step, "train_loss": line.train_loss, "r2": line.macro_auroc}
            for line in outcome.fit.history
        ],
        "labels": [
            {
                "label": label,
                "r2": interval(float(r2[0, column]), resampled_r2s[:, column]),
                "mean_absolute_error": interval(
                    float(error[:, column].mean()), resampled_errors[:, column]
                ),
            }
            for column, label in enumerate(data.task.labels)
        ],
        "test_records": len(parts.test),
    }


def _weighted_r2(
    targets: Float[np.ndarray, "records labels"],
    values: Float[np.ndarray, "records labels"],
    weights: Float[np.ndarray, "resamples records"],
) -> Float[np.ndarray, "resamples labels"]:
    total = weights.sum(axis=1, keepdims=True)
    residual = weights @ (targets - values) ** 2
    # About the overall mean first: squares of large numbers would lose the digits that matter.
    centred = targets - targets.mean(axis=0)
    spread = weights @ centred**2 - (weights @ centred) ** 2 / total
    varies = spread > 1e-12 * np.maximum(weights @ targets**2, 1e-300)
    return np.where(varies, 1 - residual / np.where(varies, spread, 1.0), np.nan)


def _mean(r2: Float[np.ndarray, "resamples labels"]) -> Float[np.ndarray, " resamples"]:
    defined = np.isfinite(r2)
    count = defined.sum(axis=1)
    return np.where(
        count > 0, np.where(defined, r2, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan
    )
