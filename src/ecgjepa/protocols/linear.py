"""Protocol ``linear``: logistic or ridge regression on mean-pooled features."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.linalg import LinAlgWarning
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from ecgjepa.inference.windows import outputs_of_logits
from ecgjepa.metrics.classification import macro_auroc
from ecgjepa.metrics.regression import mean_r2
from ecgjepa.model.heads import Classifier, HeadConfig, LinearHead, build_head
from ecgjepa.protocols.features import Standardised, standardise
from ecgjepa.protocols.frozen import Frozen
from ecgjepa.protocols.outcome import Outcome, ProbeResult

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
    standardised = standardise(features)
    validation_features = validation_features.astype(np.float64)
    best: LinearProbe | None = None
    for strength in strengths:
        probe = fit_logistic(standardised, targets, strength=strength, single_label=single_label)
        logits = probe.logits(validation_features)
        # With one label per record, scores compete: rank records by their share, as in the test.
        scores = softmax(logits, axis=1) if single_label else logits
        score = macro_auroc(validation_targets, scores)
        if best is None or score > best.validation_score:
            best = probe._replace(validation_score=score)
    assert best is not None
    return best


def fit_logistic(
    features: Standardised,
    targets: Bool[np.ndarray, "train labels"],
    *,
    strength: float,
    single_label: bool,
) -> LinearProbe:
    """Fit logistic regressions of one strength, whose weights are of the features as they were.

    Args:
        features: Standardised features of the training records.
        targets: Labels of the training records.
        strength: Inverse of the regularisation.
        single_label: Whether each record has exactly one label: one regression over all labels in
            place of one for each.
    """
    fit = _fit_single_label if single_label else _fit_multi_label
    weight, bias = fit(features.values, targets, strength)
    # Fold the standardisation into the weights: the head then takes raw features.
    weight = weight / features.scale
    return LinearProbe(weight, bias - weight @ features.mean, strength, float("nan"))


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
        # Where features are collinear the solver continues with L-BFGS; where classes are
        # separable neither solver need settle, and validation judges what they reached.
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
) -> LinearProbe:
    """Fit ridge regressions on standardised features; choose the penalty by validation R²."""
    standardised, mean, scale = standardise(features)
    best: LinearProbe | None = None
    for penalty in PENALTIES:
        model = Ridge(alpha=penalty * len(features)).fit(standardised, targets)
        weight = np.reshape(model.coef_, (targets.shape[1], -1)) / scale
        probe = LinearProbe(weight, model.intercept_ - weight @ mean, penalty, float("nan"))
        score = mean_r2(validation_targets, probe.logits(validation_features.astype(np.float64)))
        if best is None or score > best.validation_score:
            best = probe._replace(validation_score=score)
    assert best is not None
    return best


def read_linear(frozen: Frozen) -> ProbeResult:
    """Fit logistic regression, or in a regression ridge regression, on mean features."""
    records, task = frozen.records, frozen.records.task_config()
    (train, validation, test), targets = frozen.vectors()
    if task.kind == "regression":
        scaled = [(part - task.centre) / task.spread for part in targets[:2]]
        fitted = fit_ridge(train, scaled[0], validation, scaled[1])
        selected = f"penalty = {fitted.strength:g}"
    else:
        single = task.kind == "single-label"
        fitted = fit_linear_probe(train, targets[0], validation, targets[1], single_label=single)
        selected = f"C = {fitted.strength:g}"
    head_config = HeadConfig(
        kind="statistics" if frozen.reading.beside else "mean",
        num_labels=len(records.task.labels),
        bias=True,
        layers=frozen.reading.layers,
        beside=frozen.reading.beside,
    )
    head = build_head(head_config, frozen.encoder)
    assert isinstance(head, LinearHead)
    with torch.no_grad():
        head.fc.weight.copy_(torch.from_numpy(fitted.weight))
        head.fc.bias.copy_(torch.from_numpy(fitted.bias))
    outputs = [
        outputs_of_logits(torch.from_numpy(fitted.logits(part)), task).numpy()
        for part in (validation, test)
    ]
    classifier = Classifier(frozen.encoder, head, frozen.reading)
    return ProbeResult(Outcome(outputs[0], outputs[1], None, selected), classifier, head_config)
