"""The true linear probe: logistic regression on mean-pooled features."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import LinAlgWarning
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from ecgjepa.metrics.classification import macro_auroc
from ecgjepa.metrics.regression import mean_r2

# Inverse regularisation strengths; one is chosen for all labels on the validation records.
# Up to next to none: an untrained encoder's features differ by little and do best with little.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1e3, 1e4)
# Score of a label that no training record has: as unlikely as makes no difference.
_NEVER = -10.0


class LinearProbe(NamedTuple):
    """Weights on raw features: logits = features @ weight.T + bias."""

    weight: Float[np.ndarray, "labels dim"]
    bias: Float[np.ndarray, " labels"]
    strength: float
    validation_score: float

    def logits(
        self, features: Float[np.ndarray, "records dim"]
    ) -> Float[np.ndarray, "records labels"]:
        """Return one logit per record and label."""
        return features @ self.weight.T + self.bias


def fit_linear_probe(
    features: Float[np.ndarray, "train dim"],
    targets: Bool[np.ndarray, "train labels"],
    validation_features: Float[np.ndarray, "validation dim"],
    validation_targets: Bool[np.ndarray, "validation labels"],
    *,
    single_label: bool,
    strengths: Sequence[float] = STRENGTHS,
) -> LinearProbe:
    """Fit logistic regressions on standardised features; choose the strength by validation.

    A linear layer on features averaged over a record's windows gives the average of its windows'
    logits, so this is the paper's evaluation with another head.
    """
    # In single precision the solver does not settle once regularisation is weak.
    features = features.astype(np.float64)
    validation_features = validation_features.astype(np.float64)
    mean, std = features.mean(axis=0), features.std(axis=0)
    # What varies by no more than rounding is constant; to scale it up would blow up the weights.
    scale = np.where(std > 1e-6 * np.abs(mean), std, 1.0)
    standardised = (features - mean) / scale
    best: LinearProbe | None = None
    for strength in strengths:
        fit = _fit_single_label if single_label else _fit_multi_label
        weight, bias = fit(standardised, targets, strength)
        # Fold the standardisation into the weights: the head then takes raw features.
        probe = LinearProbe(weight / scale, bias - (weight / scale) @ mean, strength, float("nan"))
        logits = probe.logits(validation_features)
        # With one label per record, scores compete: rank records by their share, as in the test.
        scores = softmax(logits, axis=1) if single_label else logits
        score = macro_auroc(validation_targets, scores)
        if best is None or score > best.validation_score:
            best = probe._replace(validation_score=score)
    assert best is not None
    return best


def _fit_multi_label(
    features: Float[np.ndarray, "train dim"], targets: Bool[np.ndarray, "train labels"], c: float
) -> tuple[np.ndarray, np.ndarray]:
    weight = np.zeros((targets.shape[1], features.shape[1]))
    bias = np.full(targets.shape[1], _NEVER)
    for column in range(targets.shape[1]):
        positive = targets[:, column]
        if positive.all():
            bias[column] = -_NEVER
        elif positive.any():
            model = _regress(features, positive, c)
            weight[column], bias[column] = model.coef_[0], model.intercept_[0]
    return weight, bias


def _fit_single_label(
    features: Float[np.ndarray, "train dim"], targets: Bool[np.ndarray, "train labels"], c: float
) -> tuple[np.ndarray, np.ndarray]:
    weight = np.zeros((targets.shape[1], features.shape[1]))
    bias = np.full(targets.shape[1], _NEVER)
    classes = targets.argmax(axis=1)
    present = np.unique(classes)
    if len(present) == 1:
        bias[present] = -_NEVER
        return weight, bias
    model = _regress(features, classes, c)
    if len(present) == 2:  # one row for the second class
        weight[present[1]], bias[present[1]] = model.coef_[0], model.intercept_[0]
        bias[present[0]] = 0.0
    else:
        weight[present], bias[present] = model.coef_, model.intercept_
    return weight, bias


def _regress(
    features: Float[np.ndarray, "train dim"], classes: np.ndarray, c: float
) -> LogisticRegression:
    with warnings.catch_warnings():
        # Where features are collinear it goes on with L-BFGS; where classes are separable, neither
        # need settle, and validation judges what they reached.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", LinAlgWarning)
        model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-6, max_iter=200)
        return model.fit(features, classes)


# Penalties relative to the number of training records; one is chosen on the validation records.
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


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
        if best is None or score > best.validation_score:
            best = probe._replace(validation_score=score)
    assert best is not None
    return best
