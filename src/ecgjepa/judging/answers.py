"""What turns a classifier's probabilities into answers: as its folder has it, or fitted anew.

Fitted are calibration, thresholds and label sets, on records that are not scored.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool

from ecgjepa.metrics.answers import fit_sets
from ecgjepa.metrics.calibration import fit_calibration
from ecgjepa.metrics.classification import Scores
from ecgjepa.metrics.thresholds import Thresholds, fit_decisions
from ecgjepa.model.answers import AnswersConfig, LabelSetConfig
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.outputs import (
    BEST_F1,
    CalibrationConfig,
    DecisionConfig,
    DecisionRule,
    RuleKind,
    parse_rule,
)

Item = TypeVar("Item")
# Why a label of a folder that was fitted elsewhere keeps what it had, or has no threshold.
_NOT_FITTED = "has no label in the table that the others were fitted to"


class Fit(NamedTuple):
    """What is to be fitted.

    Attributes:
        rule: Rule of the thresholds; None for the rule of the folder, or best F1.
        calibrates: Whether the calibration is fitted, too; thresholds are on its scale, so they
            are always fitted with it.
    """

    rule: DecisionRule | None
    calibrates: bool


class Answers(NamedTuple):
    """How probabilities become answers; None where a folder does not know.

    Attributes:
        calibration: Correction of the probabilities of all labels of the classifier.
        decisions: Thresholds of the labels that are scored.
        sets: Label sets over the labels that are scored.
    """

    calibration: CalibrationConfig | None
    decisions: DecisionConfig | None
    sets: LabelSetConfig | None

    def calibrate(self, probabilities: Scores) -> Scores:
        """Return probabilities of all labels as a prediction prints them."""
        return probabilities if self.calibration is None else self.calibration.apply(probabilities)

    def thresholds(self, kind: RuleKind) -> Thresholds:
        """Return the thresholds of a kind of rule, NaN where there is none."""
        assert self.decisions is not None, "asked for thresholds that are not there"
        for one in self.decisions.rules:
            if one.kind == kind:
                return np.array([math.nan if value is None else value for value in one.values])
        return np.full(len(self.decisions.rules[0].values), math.nan)


def answers_of_folder(config: ModelConfig, columns: Sequence[int]) -> Answers:
    """Return what a model folder has of the labels that are scored.

    Args:
        config: Of the classifier.
        columns: Which of its labels these are.
    """
    held = config.answers or AnswersConfig()
    decisions = held.decisions
    if decisions is not None:
        rules = tuple(
            one.model_copy(
                update={
                    "values": _choose(one.values, columns),
                    "sensitivity": (),
                    "specificity": (),
                    "ppv": (),
                    "npv": (),
                }
            )
            for one in decisions.rules
        )
        decisions = decisions.model_copy(update={"rules": rules})
    sets = held.label_sets
    if sets is not None and sets.kind == "per-label":
        sets = sets.model_copy(
            update={"thresholds": _choose(sets.thresholds, columns), "per_label": ()}
        )
    return Answers(config.calibration, decisions, sets)


def fit_answers(
    config: ModelConfig,
    columns: Sequence[int],
    targets: Bool[np.ndarray, "records chosen"],
    probabilities: Scores,
    fit: Fit,
    *,
    folds: tuple[int, ...],
) -> Answers:
    """Fit the answers to records.

    Args:
        config: Of the classifier.
        columns: Which of its labels are scored.
        targets: These labels of the records.
        probabilities: Of all labels of the classifier, before calibration.
        fit: What to fit.
        folds: Folds of the records, for the model folder.

    Raises:
        ScoreError: If a probability is not finite.
    """
    task = config.task
    assert task is not None
    assert task.kind != "regression"
    labels = tuple(task.labels[column] for column in columns)
    calibration = config.calibration
    if fit.calibrates:
        fitted = fit_calibration(
            targets, probabilities[:, columns], labels, kind=task.kind, folds=folds
        )
        calibration = _merge_calibration(calibration, fitted, columns, len(task.labels))
    answers = Answers(calibration, None, None)
    corrected = answers.calibrate(probabilities)[:, columns]
    held = config.answers.decisions if config.answers is not None else None
    rule = fit.rule or (BEST_F1 if held is None else parse_rule(held.chosen))
    return answers._replace(
        decisions=fit_decisions(targets, corrected, labels, rule=rule, folds=folds),
        sets=fit_sets(targets, corrected, task.kind, folds=folds),
    )


def for_folder(answers: Answers, config: ModelConfig, columns: Sequence[int]) -> AnswersConfig:
    """Return fitted answers for a model folder, where labels that were not fitted have theirs.

    Their thresholds are on the scale of their own calibration, which they keep.

    Args:
        answers: Fitted, and measured.
        config: Of the classifier as it was.
        columns: Labels of the classifier that were fitted.
    """
    assert answers.decisions is not None
    assert answers.sets is not None
    assert config.task is not None
    labels, held = config.task.labels, config.answers or AnswersConfig()
    left = [label for column, label in enumerate(labels) if column not in columns]
    before = {} if held.decisions is None else {one.rule: one for one in held.decisions.rules}
    rules = []
    for one in answers.decisions.rules:
        old = before.get(one.rule)
        kept = (None,) * len(labels) if old is None else old.values
        spread = {
            name: _spread(getattr(one, name), columns, (None,) * len(labels))
            for name in ("sensitivity", "specificity", "ppv", "npv")
        }
        remarks = one.remarks | dict.fromkeys(left, _NOT_FITTED)
        values = _spread(one.values, columns, kept)
        rules.append(one.model_copy(update={"values": values, "remarks": remarks, **spread}))
    sets = answers.sets
    if sets.kind == "per-label":
        old_sets = held.label_sets
        kept = (None,) * len(labels) if old_sets is None else old_sets.thresholds
        sets = sets.model_copy(
            update={
                "thresholds": _spread(sets.thresholds, columns, kept),
                "per_label": _spread(sets.per_label, columns, (None,) * len(labels)),
            }
        )
    decisions = answers.decisions.model_copy(update={"rules": tuple(rules)})
    return AnswersConfig(decisions=decisions, label_sets=sets)


def _merge_calibration(
    old: CalibrationConfig | None, new: CalibrationConfig, columns: Sequence[int], count: int
) -> CalibrationConfig:
    """Return a calibration of all labels; those that were not fitted keep theirs."""
    scale = (1.0,) * count if old is None else old.scale
    shift = (0.0,) * count if old is None else old.shift
    return new.model_copy(
        update={
            "scale": _spread(new.scale, columns, scale),
            "shift": _spread(new.shift, columns, shift),
        }
    )


def _choose(values: Sequence[Item], columns: Sequence[int]) -> tuple[Item, ...]:
    return tuple(values[column] for column in columns)


def _spread(
    values: Sequence[Item], columns: Sequence[int], others: Sequence[Item]
) -> tuple[Item, ...]:
    """Return the others with values in the place of some; nothing where there are no values."""
    if not values:
        return ()
    found = list(others)
    for column, value in zip(columns, values, strict=True):
        found[column] = value
    return tuple(found)
