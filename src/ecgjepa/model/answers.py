"""What a model folder holds for its answers: thresholds, label sets, intervals, test scores.

Thresholds, label sets and intervals are fitted on validation records, and are on the scale that a
prediction prints. How they do is measured on test records, with 95 % intervals over patients.
"""

from typing import Any, Literal

from pydantic import Field, FiniteFloat, NonNegativeFloat, NonNegativeInt, model_validator

from ecgjepa.config import Section
from ecgjepa.model.outputs import (
    CalibrationConfig,
    DecisionConfig,
    Measured,
    Share,
    TaskConfig,
    TaskKind,
    check_count,
)
from ecgjepa.signals.leads import name_of_set


class LabelSetConfig(Section):
    """Which labels are in a record's set: those whose probability is at or above a threshold.

    Attributes:
        kind: ``per-label`` (of the records that have a label, a share has it in its set) or ``lac``
            (a share of the records has its one label in its set).
        coverage: That share, as it was asked for.
        thresholds: One for each label, or with ``lac`` one for all; None where there are too few
            validation records to promise anything, so that the label is in every set.
        folds: Validation folds that the thresholds were fitted on.
        measured: Share of the true labels of the test records that is in their sets.
        per_label: The same of each label.
        mean_size: Mean number of labels in a test record's set.
        share_empty: Share of the test records whose set is empty.
    """

    kind: Literal["per-label", "lac"]
    coverage: float = Field(gt=0, lt=1)
    thresholds: tuple[Share | None, ...] = Field(min_length=1)
    folds: tuple[int, ...] = ()
    measured: Measured | None = None
    per_label: tuple[Measured | None, ...] = ()
    mean_size: NonNegativeFloat | None = None
    share_empty: Share | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "LabelSetConfig":
        if self.kind == "lac":
            check_count("thresholds of label sets of kind lac", len(self.thresholds), 1)
        return self

    def apply(self, probabilities: dict[str, float]) -> tuple[str, ...]:
        """Return the labels of a record's set.

        Args:
            probabilities: Label to calibrated probability, in the model's order.
        """
        thresholds = self.thresholds * (len(probabilities) if self.kind == "lac" else 1)
        pairs = zip(probabilities.items(), thresholds, strict=True)
        return tuple(label for (label, value), least in pairs if least is None or value >= least)


class ValueIntervalConfig(Section):
    """How far the true value of a regression may be from the predicted one.

    Attributes:
        coverage: Share of the true values that the intervals are to hold.
        half_widths: Of each value's interval, in the value's unit; None where there are too few
            validation records to promise anything.
        folds: Validation folds that the widths were fitted on.
        measured: Share of the test records' true values that is in their intervals, of each value.
    """

    coverage: float = Field(gt=0, lt=1)
    half_widths: tuple[NonNegativeFloat | None, ...]
    folds: tuple[int, ...] = ()
    measured: tuple[Measured | None, ...] = ()

    def apply(self, values: dict[str, float]) -> dict[str, tuple[float, float]]:
        """Return the bounds of each value that has an interval.

        Args:
            values: Name to predicted value, in the model's order.
        """
        pairs = zip(values.items(), self.half_widths, strict=True)
        return {
            name: (value - half, value + half) for (name, value), half in pairs if half is not None
        }


class Tested(Section):
    """How the model did on the test records, of each label or value; None where not defined.

    Attributes:
        databases: Databases of the test records.
        folds: Test folds.
        records: Number of test records.
        patients: Number of their patients.
        positives: Test records that have a label; empty in a regression, as the two below.
        auroc: Area under the receiver operating characteristic.
        average_precision: Area under the precision-recall curve.
        r2: Coefficient of determination; empty in a classification, as the one below.
        mean_absolute_error: In the value's unit.
    """

    databases: tuple[str, ...]
    folds: tuple[int, ...]
    records: NonNegativeInt
    patients: NonNegativeInt
    positives: tuple[NonNegativeInt, ...] = ()
    auroc: tuple[Measured | None, ...] = ()
    average_precision: tuple[Measured | None, ...] = ()
    r2: tuple[tuple[FiniteFloat, FiniteFloat, FiniteFloat] | None, ...] = ()
    mean_absolute_error: tuple[tuple[FiniteFloat, FiniteFloat, FiniteFloat] | None, ...] = ()


class AnswersConfig(Section):
    """All that a prediction says beside probabilities or values; None where a folder has it not.

    Attributes:
        decisions: Thresholds, of a classification.
        label_sets: Conformal label sets, of a classification.
        value_intervals: Conformal intervals, of a regression.
        tested: Scores on the test records.
    """

    decisions: DecisionConfig | None = None
    label_sets: LabelSetConfig | None = None
    value_intervals: ValueIntervalConfig | None = None
    tested: Tested | None = None

    def lacking(self, kind: TaskKind) -> list[str]:
        """Return in words what folders of this version hold and this one does not."""
        parts: dict[str, object] = {"value intervals": self.value_intervals}
        if kind != "regression":
            parts = {"thresholds": self.decisions, "label sets": self.label_sets}
        return [name for name, there in {**parts, "test scores": self.tested}.items() if not there]

    def check(self, task: TaskConfig) -> None:
        """Refuse what does not fit a task.

        Raises:
            ValueError: If the numbers of labels differ, or a part belongs to another kind of task.
        """
        count = len(task.labels)
        classifies = task.kind != "regression"
        if (self.decisions or self.label_sets) and not classifies:
            raise ValueError("answers: a regression has no decisions and no label_sets")
        if self.value_intervals and classifies:
            raise ValueError(f"answers: a {task.kind} task has no value_intervals")
        for one in () if self.decisions is None else self.decisions.rules:
            check_count(f"answers.decisions, thresholds by {one.rule}", len(one.values), count)
            if unknown := set(one.remarks) - set(task.labels):
                raise ValueError(
                    f"answers.decisions: a remark on {min(unknown)[:80]!r}, which is no label"
                )
        if (sets := self.label_sets) is not None:
            if (sets.kind == "lac") != (task.kind == "single-label"):
                raise ValueError(
                    f"answers.label_sets are of kind {sets.kind}, but task of {task.kind}"
                )
            if sets.kind == "per-label":
                check_count("answers.label_sets.thresholds", len(sets.thresholds), count)
            check_count("answers.label_sets.per_label", len(sets.per_label), count, or_none=True)
        if (widths := self.value_intervals) is not None:
            check_count("answers.value_intervals.half_widths", len(widths.half_widths), count)
            check_count(
                "answers.value_intervals.measured", len(widths.measured), count, or_none=True
            )
        if self.tested is not None:
            for name in ("positives", "auroc", "average_precision", "r2", "mean_absolute_error"):
                check_count(
                    f"answers.tested.{name}", len(getattr(self.tested, name)), count, or_none=True
                )


class LeadSetConfig(Section):
    """A set of leads that a model was trained for beside all of its leads.

    Probabilities from fewer leads are on a scale of their own, so that correction, thresholds and
    label sets are fitted to each set.

    Attributes:
        leads: Leads that the model sees, in its order; the others are 0.
        calibration: Correction of the probabilities, or None.
        answers: Thresholds, label sets and test scores.
        score: Score on the test records, with the bounds of its 95 % interval over patients: macro
            AUROC, or the mean R² of a regression.
    """

    leads: tuple[str, ...] = Field(min_length=1)
    calibration: CalibrationConfig | None = None
    answers: AnswersConfig = AnswersConfig()
    score: tuple[FiniteFloat, FiniteFloat, FiniteFloat] | None = None

    @property
    def name(self) -> str:
        """Name of the set, such as ``I+II``."""
        return name_of_set(self.leads)

    def check(self, task: TaskConfig, leads: tuple[str, ...]) -> None:
        """Refuse what fits neither the task nor the leads of the model.

        Raises:
            ValueError: If a lead is unknown or out of place, or the numbers of labels differ.
        """
        ordered = tuple(lead for lead in leads if lead in self.leads)
        if ordered != self.leads or ordered == leads:
            raise ValueError(
                f"lead_sets: found {', '.join(self.leads)[:80]}; expected some of "
                f"{', '.join(leads)}, in this order"
            )
        if self.calibration is not None:
            self.calibration.check(task)
        self.answers.check(task)


def with_older_decisions(content: Any) -> Any:  # noqa: ANN401
    """Return the content of a ``config.json`` with thresholds of version 1 among the answers."""
    if not isinstance(content, dict) or "decisions" not in content:
        return content
    newer = {name: value for name, value in content.items() if name != "decisions"}
    older = content["decisions"]
    return newer if older is None else {**newer, "answers": {"decisions": older}}
