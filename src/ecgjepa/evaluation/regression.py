"""Regression: ridge on frozen features, its measures, and the one measure that selects.

R², one minus the residual over the total sum of squares, is the mean over the labels; a label whose
records all have one value is left out of it, as labels without positives are of macro AUROC.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped
from sklearn.linear_model import Ridge

from ecgjepa.evaluation.bootstrap import PatientBootstrap, interval
from ecgjepa.evaluation.linear import LinearProbe
from ecgjepa.evaluation.metrics import macro, macro_auroc, ones
from ecgjepa.evaluation.regression_scores import label_scores
from ecgjepa.evaluation.tasks import TaskKind

if TYPE_CHECKING:
    from ecgjepa.evaluation.data import EvaluationData
    from ecgjepa.evaluation.results import Outcome

# What `results.json` says of one model, and its score in every resample.
Described = tuple[dict[str, Any], Float[np.ndarray, " resamples"]]

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
    """Return the mean R² over the labels that vary; NaN if none does, or a value is no number."""
    if not np.isfinite(values).all():
        return float("nan")
    return float(macro(label_scores(targets, values, ones(len(targets)))["r2"])[0])


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


def score_regression(
    data: "EvaluationData", outcome: "Outcome", bootstrap: PatientBootstrap
) -> Described:
    """Return what ``results.json`` says of one model of a regression, and its resampled mean R²."""
    test = data.targets(data.parts.test)
    point = label_scores(test, outcome.test, ones(len(test)))
    drawn = label_scores(test, outcome.test, bootstrap.weights)
    resampled = macro(drawn["r2"])
    names = {"r2": "r2", "mean_absolute_error": "mae", "pearson": "pearson"}
    content = {
        "r2": interval(float(macro(point["r2"])[0]), resampled),
        "validation_r2": mean_r2(data.targets(data.parts.validation), outcome.validation),
        "labels_scored": int(np.isfinite(point["r2"]).sum()),
        "undefined_labels": [
            label
            for label, value in zip(data.task.labels, point["r2"][:, 0], strict=True)
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
            {"label": label}
            | {
                name: interval(float(point[key][column, 0]), drawn[key][column])
                for name, key in names.items()
            }
            for column, label in enumerate(data.task.labels)
        ],
        "test_records": len(test),
    }
    return content, resampled
