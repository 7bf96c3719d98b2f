"""What a model's outputs mean: kind of task, labels, calibration of the probabilities."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field, FiniteFloat, PositiveFloat, model_validator

from ecgjepa.config import Section

ClassificationKind = Literal["multi-label", "single-label"]
TaskKind = Literal[ClassificationKind, "regression"]


class TaskConfig(Section):
    """What the logits mean.

    Attributes:
        name: Task.
        kind: ``multi-label`` (a sigmoid per label), ``single-label`` (softmax) or ``regression``
            (a value is the output times ``spread`` plus ``centre``).
        labels: Label of each logit, in order.
        descriptions: What the labels stand for.
        centre: Mean of each label's training values, in a regression.
        spread: Standard deviation of each label's training values, in a regression.
    """

    name: str
    kind: TaskKind
    labels: tuple[str, ...] = Field(min_length=1)
    descriptions: tuple[str, ...]
    centre: tuple[float, ...] = ()
    spread: tuple[PositiveFloat, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> "TaskConfig":
        count = len(self.labels)
        if len(set(self.labels)) < count:
            raise ValueError("labels: one comes twice")
        scaled = count if self.kind == "regression" else 0
        for name, values, expected in (
            ("descriptions", self.descriptions, count),
            ("centre", self.centre, scaled),
            ("spread", self.spread, scaled),
        ):
            if len(values) != expected:
                raise ValueError(
                    f"{name}: found {len(values)}, expected {expected} for a {self.kind} task of "
                    f"{count} labels"
                )
        return self


class CalibrationConfig(Section):
    """How probabilities are corrected: every logit times ``scale`` plus ``shift``.

    Attributes:
        method: ``temperature`` or ``platt``.
        kind: Kind of the task.
        scale: Per label, positive.
        shift: Per label; 0 for a temperature.
        folds: Validation folds it was fitted on.
        fallback: Labels that could not be fitted by themselves and got the temperature, and why.
    """

    method: Literal["temperature", "platt"]
    kind: ClassificationKind
    scale: tuple[PositiveFloat, ...]
    shift: tuple[FiniteFloat, ...]
    folds: tuple[int, ...] = ()
    fallback: dict[str, str] = Field(default_factory=dict)

    def apply(
        self, probabilities: Float[np.ndarray, "records labels"]
    ) -> Float[np.ndarray, "records labels"]:
        """Return the corrected probabilities."""
        logits = logits_of(probabilities, self.kind) * np.array(self.scale) + np.array(self.shift)
        return _softmax(logits) if self.kind == "single-label" else _expit(logits)


class DecisionConfig(Section):
    """Where a calibrated probability becomes a call: it is at or above the threshold of its label.

    A threshold is None where the validation records of a label are all positive or all negative.

    Attributes:
        best_f1: Threshold per label of the greatest F1 on the validation records.
        at_sensitivity: Highest threshold per label that calls the share ``sensitivity`` of the
            positive validation records.
        at_specificity: Lowest threshold per label that passes the share ``specificity`` of the
            negative validation records.
        sensitivity: Share of the positive records that ``at_sensitivity`` calls.
        specificity: Share of the negative records that ``at_specificity`` does not call.
        folds: Validation folds that the thresholds were fitted on.
    """

    best_f1: tuple[FiniteFloat | None, ...]
    at_sensitivity: tuple[FiniteFloat | None, ...]
    at_specificity: tuple[FiniteFloat | None, ...]
    sensitivity: float = Field(gt=0, le=1)
    specificity: float = Field(gt=0, le=1)
    folds: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> "DecisionConfig":
        if len({len(self.best_f1), len(self.at_sensitivity), len(self.at_specificity)}) > 1:
            raise ValueError("best_f1, at_sensitivity and at_specificity: expected as many of each")
        return self

    def apply(self, probabilities: dict[str, float]) -> dict[str, bool]:
        """Return the call at ``best_f1`` of each label that has a threshold.

        Args:
            probabilities: Label to calibrated probability, in the model's order.
        """
        pairs = zip(probabilities.items(), self.best_f1, strict=True)
        return {label: value >= least for (label, value), least in pairs if least is not None}


def logits_of(
    probabilities: Float[np.ndarray, "records labels"], kind: str
) -> Float[np.ndarray, "records labels"]:
    """Return logits, finite even of a 0 or 1; of a softmax, up to a number per record."""
    # The least and the greatest below 1 that single and double precision can tell from 0 and 1.
    clipped = np.clip(probabilities.astype(np.float64), 1e-38, 1 - 2.0**-53)
    logs = np.log(clipped)
    return logs if kind == "single-label" else logs - np.log1p(-clipped)


# SciPy's functions of these names, whose import takes longer than a prediction.
def _softmax(
    logits: Float[np.ndarray, "records labels"],
) -> Float[np.ndarray, "records labels"]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _expit(logits: Float[np.ndarray, "records labels"]) -> Float[np.ndarray, "records labels"]:
    power = np.exp(-np.abs(logits))  # never overflows
    return np.where(logits >= 0, 1.0, power) / (1.0 + power)
