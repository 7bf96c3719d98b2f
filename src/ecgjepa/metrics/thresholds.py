"""Where a probability becomes a call: thresholds, chosen on validation records only.

A label without positive or negative validation records has no threshold (NaN), and what would
follow from one is left out by the rule of `ecgjepa.metrics.classification`.
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from ecgjepa.metrics.classification import FEW_POSITIVES, Scores, Targets
from ecgjepa.metrics.proportions import shares
from ecgjepa.model.outputs import BEST_F1, DEFAULT_RULES, DecisionConfig, DecisionRule
from ecgjepa.model.outputs import Thresholds as FittedThresholds

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
    targets: Targets,
    probabilities: Scores,
    labels: tuple[str, ...],
    *,
    rule: DecisionRule = BEST_F1,
    folds: tuple[int, ...] = (),
) -> DecisionConfig:
    """Fit the thresholds of a model, by three rules, on validation records.

    A share of x records can only be told of 1 / (1 - x) and more: a label with fewer positive
    records, or fewer than 10, gets no threshold by ``sensitivity=x``, nor one with so few negative
    records by ``specificity=x``. The threshold of best F1 of such a label has a remark.

    Args:
        targets: Labels of the validation records.
        probabilities: Probabilities of the validation records on the scale that the model is used
            with, so after calibration.
        labels: Names.
        rule: Rule that predictions follow; it takes the place of the usual one of its kind.
        folds: Folds of the validation records, for the model folder.
    """
    rules = [rule if rule.kind == usual.kind else usual for usual in DEFAULT_RULES]
    return DecisionConfig(
        rules=tuple(_by_rule(targets, probabilities, labels, one) for one in rules),
        chosen=str(rule),
        folds=folds,
    )


def measure_decisions(
    decisions: DecisionConfig,
    targets: Targets,
    probabilities: Scores,
    patient_of: Int[np.ndarray, " records"],
) -> DecisionConfig:
    """Return the same thresholds with what they do on test records.

    Args:
        decisions: Thresholds, fitted on other records.
        targets: Labels of the test records.
        probabilities: Probabilities of the test records, on the scale of the thresholds.
        patient_of: Number of each test record's patient, for the intervals.
    """
    rules = []
    for one in decisions.rules:
        values = np.array([math.nan if value is None else value for value in one.values])
        called = probabilities >= values
        known = np.broadcast_to(~np.isnan(values), called.shape)
        parts = {
            "sensitivity": (called & targets, targets & known),
            "specificity": (~called & ~targets & known, ~targets & known),
            "ppv": (called & targets, called),
            "npv": (~called & ~targets & known, ~called & known),
        }
        measured = {name: tuple(shares(*part, patient_of)) for name, part in parts.items()}
        rules.append(one.model_copy(update=measured))
    return decisions.model_copy(update={"rules": tuple(rules)})


def _by_rule(
    targets: Targets, probabilities: Scores, labels: tuple[str, ...], rule: DecisionRule
) -> FittedThresholds:
    if rule.least is None:
        values, least = best_f1_thresholds(targets, probabilities), FEW_POSITIVES
    else:
        fit = sensitivity_thresholds if rule.kind == "sensitivity" else specificity_thresholds
        values = fit(targets, probabilities, rule.least)
        least = max(FEW_POSITIVES, math.ceil(1 / (1 - rule.least) - 1e-9))
    remarks = {}
    for column, label in enumerate(labels):
        few = _too_few(targets[:, column], rule, least)
        if not few:
            continue
        if rule.least is not None:
            values[column] = math.nan
        remarks[label] = few
    known = tuple(None if math.isnan(one) else one for one in values.tolist())
    return FittedThresholds(rule=str(rule), values=known, remarks=remarks)


def _too_few(positive: Bool[np.ndarray, " records"], rule: DecisionRule, least: int) -> str:
    """Return of which validation records there are too few for a rule, or an empty text."""
    counts = {"positive": int(positive.sum()), "negative": int((~positive).sum())}
    needed = {"sensitivity": ("positive",), "specificity": ("negative",)}
    for sign, count in counts.items():
        enough = least if sign in needed.get(rule.kind, counts) else 1
        if count < enough:
            return f"{count} {sign} validation records, fewer than {enough}"
    return ""


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
