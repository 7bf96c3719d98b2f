"""Scores of predicted numbers, such as age or an interval, over weighted copies of the records."""

import numpy as np
from jaxtyping import Float, Shaped

from ecgjepa.errors import ScoreError
from ecgjepa.metrics.classification import Weights, macro, macro_auroc, ones
from ecgjepa.model.outputs import TaskKind

Values = Float[np.ndarray, " records"]


def regression_scores(
    targets: Values, predicted: Values, weights: Weights
) -> dict[str, Float[np.ndarray, " resamples"]]:
    """Return mean absolute error, R² and Pearson's correlation of every resample.

    Args:
        targets: True values, in any unit.
        predicted: Predictions in the same unit.
        weights: How often each record counts in each resample.

    Returns:
        ``mae`` in the unit of the values, ``r2`` and ``pearson``. Where the targets do not vary
        the latter two are NaN, as is ``pearson`` of constant predictions.

    Raises:
        ScoreError: If a value is not finite.
    """
    for name, values in (("true", targets), ("predicted", predicted)):
        if wrong := int((~np.isfinite(values)).sum()):
            raise ScoreError(
                f"{wrong} of {len(values)} {name} values are not finite; leave such records "
                "out before, and say how many"
            )
    columns = moments(targets, predicted)
    total = weights.sum(axis=0, dtype=np.float64)
    return scores_of_moments(
        columns @ weights.astype(np.float64) / np.where(total > 0, total, np.nan)
    )


def moments(targets: Values, predicted: Values) -> Float[np.ndarray, "7 records"]:
    """Return of each record what the scores are made of: their means give `scores_of_moments`."""
    x, y = targets.astype(np.float64), predicted.astype(np.float64)
    # Centred beforehand, or the sums of squares would cancel.
    x_centre, y_centre = x - x.mean(), y - y.mean()
    return np.stack(
        (
            np.abs(x - y),
            (x - y) ** 2,
            x_centre,
            y_centre,
            x_centre**2,
            y_centre**2,
            x_centre * y_centre,
        )
    )


def scores_of_moments(
    means: Float[np.ndarray, "7 resamples"],
) -> dict[str, Float[np.ndarray, " resamples"]]:
    """Return `regression_scores` from the means of `moments` over the records of each resample."""
    error, square, x_mean, y_mean, xx, yy, xy = means
    x_variance, y_variance = _variance(xx, x_mean), _variance(yy, y_mean)
    covariance = xy - x_mean * y_mean
    return {
        "mae": error,
        "r2": 1 - square / x_variance,
        "pearson": covariance / np.sqrt(x_variance * y_variance),
    }


def label_scores(
    targets: Float[np.ndarray, "records labels"],
    values: Float[np.ndarray, "records labels"],
    weights: Weights,
) -> dict[str, Float[np.ndarray, "labels resamples"]]:
    """Return `regression_scores` of every label."""
    scores = [
        regression_scores(targets[:, column], values[:, column], weights)
        for column in range(targets.shape[1])
    ]
    return {name: np.stack([one[name] for one in scores]) for name in scores[0]}


def _variance(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return a variance, or NaN where there is none beyond rounding."""
    variance = square - mean**2
    return np.where(variance > 1e-12 * np.maximum(square, 1e-300), variance, np.nan)


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
    """Return the mean R² over the labels that vary; NaN if none does, or a value is not finite."""
    if not np.isfinite(values).all():
        return float("nan")
    return float(macro(label_scores(targets, values, ones(len(targets)))["r2"])[0])
