"""What a model's outputs mean: kind of task, labels, calibrated probabilities, decisions."""

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from pydantic import Field, FiniteFloat, PositiveFloat, model_validator

from ecgjepa.config import Section
from ecgjepa.errors import ConfigError

ClassificationKind = Literal["multi-label", "single-label"]
TaskKind = Literal[ClassificationKind, "regression"]
RuleKind = Literal["best-f1", "sensitivity", "specificity"]
_RULE = re.compile(r"(best-f1)|(sensitivity|specificity)>?=(0?\.[0-9]{1,6})")

# What models are judged and compared by, and its name for people.
MEASURES = {"macro_auroc": "macro AUROC", "r2": "mean R²"}

Share = Annotated[float, Field(ge=0, le=1)]
# A value with the bounds of its 95 % interval.
Measured = tuple[Share, Share, Share]
# Of calibrated probabilities; the least number above 1 is what no record reaches.
Threshold = Annotated[float, Field(ge=0, le=math.nextafter(1.0, 2.0))]


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
        for label in self.labels:
            # Lone surrogates: neither JSON nor a table of predictions can hold them.
            if label.encode("utf-8", "replace").decode("utf-8") != label:
                raise ValueError(f"labels: {label[:80]!r} is not text that UTF-8 can hold")
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

    def check(self, task: TaskConfig) -> None:
        """Refuse a task of other labels or another kind.

        Raises:
            ValueError: If it is of such.
        """
        check_count("values of calibration.scale", len(self.scale), len(task.labels))
        check_count("values of calibration.shift", len(self.shift), len(task.labels))
        if self.kind != task.kind:
            raise ValueError(f"calibration is of kind {self.kind}, but task of {task.kind}")

    def apply(
        self, probabilities: Float[np.ndarray, "records labels"]
    ) -> Float[np.ndarray, "records labels"]:
        """Return the corrected probabilities."""
        logits = logits_of(probabilities, self.kind) * np.array(self.scale) + np.array(self.shift)
        return _softmax(logits) if self.kind == "single-label" else _expit(logits)

    def of(self, columns: Sequence[int]) -> "CalibrationConfig":
        """Return the calibration of some of the labels, in the order of ``columns``."""
        return self.model_copy(
            update={
                "scale": tuple(self.scale[column] for column in columns),
                "shift": tuple(self.shift[column] for column in columns),
            }
        )


class DecisionRule(NamedTuple):
    """How a threshold is chosen among the validation records.

    Attributes:
        kind: ``best-f1`` (greatest F1), ``sensitivity`` (highest threshold that calls a share of
            the positive records) or ``specificity`` (lowest one that passes a share of the negative
            records).
        least: That share; None for ``best-f1``.
    """

    kind: RuleKind
    least: float | None = None

    def __str__(self) -> str:
        """Return the rule as it is typed."""
        return self.kind if self.least is None else f"{self.kind}={self.least:g}"


BEST_F1 = DecisionRule("best-f1")
DEFAULT_RULES = (
    BEST_F1,
    DecisionRule("sensitivity", 0.9),
    DecisionRule("specificity", 0.9),
)


def parse_rule(text: str) -> DecisionRule:
    """Return the rule that a text names: ``best-f1``, ``sensitivity=0.95``, ``specificity>=0.9``.

    Raises:
        ConfigError: If it names none. A bare ``sensitivity`` is refused, too: a shell makes that of
            ``sensitivity>=0.95`` without quotes.
    """
    found = _RULE.fullmatch(text.replace(" ", ""))
    if found is None or (found[3] is not None and not float(found[3])):
        raise ConfigError(
            f"unknown decision rule {text[:80]!r}: expected best-f1, sensitivity=X or "
            "specificity=X with X between 0 and 1, e.g. sensitivity=0.95"
        )
    if found[1]:
        return BEST_F1
    return DecisionRule(
        "sensitivity" if found[2] == "sensitivity" else "specificity", float(found[3])
    )


class Thresholds(Section):
    """The thresholds of one rule; a label is called at or above its own.

    Attributes:
        rule: The rule, as it is typed.
        values: Threshold of each label; None where the validation records allow none.
        remarks: Label to why it has no threshold, or why its threshold is in doubt.
        sensitivity: Of each label at its threshold, on the test records; None where it is not
            defined. Empty where it was not measured, as the three below.
        specificity: The same.
        ppv: Share of the called test records that have the label; it depends on how common the
            label is there.
        npv: Share of the other test records that do not have the label.
    """

    rule: str
    values: tuple[Threshold | None, ...]
    remarks: dict[str, str] = Field(default_factory=dict)
    sensitivity: tuple[Measured | None, ...] = ()
    specificity: tuple[Measured | None, ...] = ()
    ppv: tuple[Measured | None, ...] = ()
    npv: tuple[Measured | None, ...] = ()

    @property
    def kind(self) -> RuleKind:
        """Kind of the rule."""
        return parse_rule(self.rule).kind

    @model_validator(mode="after")
    def _fits_together(self) -> "Thresholds":
        if str(parse_rule(self.rule)) != self.rule:
            raise ValueError(f"rule: expected {parse_rule(self.rule)}, found {self.rule[:80]!r}")
        for name in ("sensitivity", "specificity", "ppv", "npv"):
            check_count(
                f"{name} of {self.rule}", len(getattr(self, name)), len(self.values), or_none=True
            )
        return self


class DecisionConfig(Section):
    """Where a calibrated probability becomes a call.

    Attributes:
        rules: Thresholds of each rule, at most one of a kind.
        chosen: Rule that a prediction follows unless it is asked for another one.
        folds: Validation folds that the thresholds were fitted on.
    """

    rules: tuple[Thresholds, ...] = Field(min_length=1, max_length=3)
    chosen: str
    folds: tuple[int, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_older(cls, content: Any) -> Any:  # noqa: ANN401
        """Read the form of folders before format version 2: three lists, without test scores."""
        if not isinstance(content, dict) or "best_f1" not in content:
            return content
        older = dict(content)
        rules = [{"rule": "best-f1", "values": older.pop("best_f1")}]
        for kind in ("sensitivity", "specificity"):
            rule = f"{kind}={older.pop(kind, 0.9)}"
            rules.append({"rule": rule, "values": older.pop(f"at_{kind}", None)})
        return {**older, "rules": rules, "chosen": "best-f1"}

    @model_validator(mode="after")
    def _fits_together(self) -> "DecisionConfig":
        kinds = [one.kind for one in self.rules]
        if len(set(kinds)) < len(kinds):
            raise ValueError("rules: two are of one kind")
        if self.chosen not in (one.rule for one in self.rules):
            raise ValueError(f"chosen: {self.chosen[:80]!r} is none of the rules")
        for one in self.rules[1:]:
            check_count(f"thresholds of {one.rule}", len(one.values), len(self.rules[0].values))
        return self

    @property
    def thresholds(self) -> Thresholds:
        """Thresholds of the chosen rule."""
        return next(one for one in self.rules if one.rule == self.chosen)

    def choose(self, rule: str) -> "DecisionConfig":
        """Return the same with another rule chosen, by its kind or as it is typed.

        Raises:
            ConfigError: If the folder holds no such thresholds.
        """
        for one in self.rules:
            if rule == one.kind or (not rule.isalpha() and str(parse_rule(rule)) == one.rule):
                return self.model_copy(update={"chosen": one.rule})
        raise ConfigError(
            f"decision rule {rule[:80]!r}: the model folder holds "
            f"{', '.join(one.rule for one in self.rules)}. Others are fitted by 'ecgjepa probe "
            "--decision RULE' and 'ecgjepa finetune --decision RULE'"
        )

    def apply(self, probabilities: dict[str, float]) -> dict[str, bool]:
        """Return the call of each label that has a threshold of the chosen rule.

        Args:
            probabilities: Label to calibrated probability, in the model's order.
        """
        pairs = zip(probabilities.items(), self.thresholds.values, strict=True)
        return {label: value >= least for (label, value), least in pairs if least is not None}


def check_count(what: str, found: int, labels: int, *, or_none: bool = False) -> None:
    """Raise `ValueError` unless there are as many as labels, or rightly none at all."""
    if found != labels and (found or not or_none):
        raise ValueError(f"{what}: found {found}, for {labels} labels of task")


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
