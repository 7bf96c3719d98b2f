"""The labelled records that a classifier is judged on, and those that its answers are fitted to."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool

from ecgjepa.errors import TaskError
from ecgjepa.inference.predict import Model
from ecgjepa.judging.labels import Matched, find_labels, match_labels
from ecgjepa.metrics.bootstrap import patient_ids
from ecgjepa.model.folder import ModelConfig
from ecgjepa.protocols.request import Workspace
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.early.listed import list_labels
from ecgjepa.tasks.label_table import labels_of_table
from ecgjepa.tasks.leakage import refuse_copies, refuse_other_folds, refuse_seen
from ecgjepa.tasks.opening import Data, check_databases, names_of, open_labels
from ecgjepa.tasks.records import EvaluationData
from ecgjepa.tasks.split import Split, SplitTask, check_share, part_of_patients, without_copies
from ecgjepa.tasks.task import is_known, is_table, task_name

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """Which records a classifier is judged on.

    Attributes:
        task: See `ecgjepa.tasks.cohort.Cohort`.
        mapping: Label of the classifier to what the table calls it, where that differs.
        folds: Folds that are scored; none for all records.
        fit_folds: Folds that answers are fitted to, which are not scored; none to fit nothing, or
            to a share of the patients.
        fit_share: Share of the patients of ``folds`` that answers are fitted to; 0 for none.
        seed: Of the draw of these patients.
        allow_seen: See `ecgjepa.tasks.leakage.refuse_leak`.

    Raises:
        TaskError: If folds are in both parts, or the share is not between 0 and 1.
    """

    task: str
    mapping: Mapping[str, str] = field(default_factory=dict)
    folds: tuple[int, ...] = ()
    fit_folds: tuple[int, ...] = ()
    fit_share: float = 0.0
    seed: int = 0
    allow_seen: bool = False

    def __post_init__(self) -> None:
        if self.fit_folds and self.fit_share:
            raise TaskError("fit_folds and fit_share: expected one of the two")
        if self.fit_share:
            check_share(self.fit_share)
            if self.fit_share == 1:
                raise TaskError("share of patients to fit to is 1, so none is left to score")
        if both := sorted(set(self.folds) & set(self.fit_folds)):
            raise TaskError(f"folds {both}: what answers are fitted to cannot be scored")
        if self.fit_folds and not self.folds:
            raise TaskError("no test folds are given beside the folds to fit to; use --test-folds")

    @property
    def fits(self) -> bool:
        """Whether answers are fitted to a part of the records."""
        return bool(self.fit_folds or self.fit_share)

    def as_request(self) -> dict[str, Any]:
        """Return what decides which records are scored, as JSON content."""
        return {
            "map": dict(self.mapping),
            "folds": self.folds,
            "fit_folds": self.fit_folds,
            "fit_share": self.fit_share,
            "seed": self.seed if self.fit_share else 0,
        }


class JudgedRecords(NamedTuple):
    """Open records: ``test`` is scored, ``validation`` is fitted to and may be empty."""

    records: EvaluationData
    matched: Matched


def open_judged(model: Model, data: Data, choice: Choice, work: Workspace) -> JudgedRecords:
    """Return the labelled records for a classifier that has not seen them.

    Args:
        model: The classifier, which says how records are prepared.
        data: See `ecgjepa.tasks.opening.open_data`.
        choice: Which of them.
        work: Cache and progress.

    Raises:
        TaskError: If no label fits, no record is left, or the classifier has seen some.
    """
    config = model.config
    cohort = _cohort(config, choice, choice.folds or (1,), choice.fit_folds)
    labelled = open_labels(
        data, config.preprocessing, cohort, cache=work.cache, progress=work.progress
    )
    try:
        matched = match_labels(labelled.task, model.task, choice.mapping)
        parts, cohort = _divide_unseen(config, labelled.table, matched, choice)
        parts, num_copies = without_copies(matched.task, parts, labelled.table["sha256"])
        for notice in matched.task.notices:
            logger.warning("task %s: %s", matched.task.name, notice)
        records = EvaluationData(
            cohort=cohort,
            trained=(),
            tested=labelled.databases,
            store=labelled.store,
            table=labelled.table,
            folds=labelled.folds,
            task=matched.task,
            parts=parts,
            whole=parts,
            num_copies=num_copies,
            normalisation=config.normalisation,
            preprocessing=config.preprocessing,
        )
        refuse_other_folds(config, labelled.folds, allow_seen=choice.allow_seen)
        refuse_copies(config, records, allow_seen=choice.allow_seen)
    except Exception:
        labelled.store.close()
        raise
    return JudgedRecords(records, matched)


def refuse_early(config: ModelConfig, data: Data, choice: Choice) -> None:
    """Refuse folds that the classifier has seen, and labels that do not fit, by lists alone.

    Raises:
        EcgjepaError: As `open_judged`; what depends on samples is refused there alone.
    """
    is_own = config.task is not None and choice.task == config.task.name
    if is_own and isinstance(data, Mapping) and not is_known(choice.task):
        raise TaskError(
            f"the model was trained on a table of labels, {choice.task!r}, which is not kept with "
            "it; give --task TABLE.csv:COLUMN"
        )
    check_databases(data, choice.task)
    if is_table(choice.task) and config.task is not None:
        labels = labels_of_table(choice.task, config.task.kind)
        find_labels(task_name(choice.task), labels, config.task, choice.mapping)
    if choice.folds:
        refuse_seen(config, names_of(data), _cohort(config, choice, choice.folds, choice.fit_folds))
    if isinstance(data, Mapping):  # Of a store, nothing is prepared: opening it is as quick.
        cohort = _cohort(config, choice, choice.folds or (1,), choice.fit_folds)
        table, folds, task = list_labels(data, cohort)
        assert config.task is not None
        matched = match_labels(task, config.task, choice.mapping)
        _divide_unseen(config, table, matched, choice)
        refuse_other_folds(config, folds, allow_seen=choice.allow_seen)


def _cohort(
    config: ModelConfig, choice: Choice, test: tuple[int, ...], validation: tuple[int, ...]
) -> Cohort:
    assert config.task is not None
    return Cohort(
        task=choice.task,
        kind=config.task.kind,
        split=Split((), validation, test),
        allow_seen=choice.allow_seen,
        is_trained=False,
    )


def _divide_unseen(
    config: ModelConfig, table: pd.DataFrame, matched: Matched, choice: Choice
) -> tuple[SplitTask, Cohort]:
    """Return the records to fit to and to score, and what is asked of their folds.

    Raises:
        TaskError: If none is left, or the classifier has seen the folds.
    """
    parts, present = _divide(table, matched, choice)
    cohort = _cohort(config, choice, present[1], present[0])
    refuse_seen(config, sorted(set(table["database"])), cohort)
    return parts, cohort


def _divide(
    table: pd.DataFrame, matched: Matched, choice: Choice
) -> tuple[SplitTask, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the records to fit to and to score, and the folds of each."""
    rows = table.iloc[matched.task.rows]
    folds = rows["fold"]
    patients = patient_ids(rows["patient_id"])
    scored = folds.notna().to_numpy()
    if choice.folds:
        scored = folds.isin(choice.folds).to_numpy()
    fitted = folds.isin(choice.fit_folds).to_numpy()
    if choice.fit_share and scored.any():
        drawn = np.zeros_like(scored)
        drawn[scored] = part_of_patients(patients[scored], choice.fit_share, choice.seed)
        fitted, scored = drawn, scored & ~drawn
    there = sorted({int(fold) for fold in folds.dropna()})
    for words, chosen in (("score", scored), ("fit to", fitted)):
        if not chosen.any() and (words == "score" or choice.fits):
            raise TaskError(
                f"task {matched.task.name!r}: no labelled record is left to {words}; folds with "
                f"labelled records: {there or 'none'}"
            )
    if both := sorted(set(patients[fitted]) & set(patients[scored])):
        raise TaskError(
            f"patient {both[0]} is among those to fit to and those to score; choose other folds, "
            "or --fit-share, which keeps a patient's records together"
        )
    nothing = np.zeros(0, np.int64)
    parts = SplitTask(nothing, np.flatnonzero(fitted), np.flatnonzero(scored))
    return parts, (_folds_of(folds, fitted), _folds_of(folds, scored))


def _folds_of(folds: pd.Series, chosen: Bool[np.ndarray, " records"]) -> tuple[int, ...]:
    return tuple(sorted({int(fold) for fold in folds[chosen]}))
