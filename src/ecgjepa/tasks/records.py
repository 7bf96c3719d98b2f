"""Labelled records of a database, divided for training, selection and test."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int64, Shaped

from ecgjepa.databases import list_all, original, ptb_xl
from ecgjepa.errors import TaskError
from ecgjepa.files import default_cache
from ecgjepa.metrics.bootstrap import patient_ids
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.model.outputs import TaskConfig, TaskKind
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.prepare import prepare_cached
from ecgjepa.store.reading import Store
from ecgjepa.tasks.folds import with_folds
from ecgjepa.tasks.index_tasks import build_index_task
from ecgjepa.tasks.label_table import build_table_task
from ecgjepa.tasks.ptb_xl import build_task
from ecgjepa.tasks.split import (
    Split,
    SplitTask,
    check_selectable,
    part_of_patients,
    split_task,
    without_copies,
)
from ecgjepa.tasks.task import INDEX_TASKS, Task, is_table
from ecgjepa.tasks.treatment import check_treatment, one_treatment

logger = logging.getLogger(__name__)

# One database, or several, by name; or the folder of a store.
Data = Mapping[str, str | Path] | str | Path


class EvaluationData(NamedTuple):
    """What a probe or fine-tuning works on.

    Attributes:
        database: Name of the database, of several joined by plus signs; in a transfer, of those
            that are tested.
        trained: Databases that give training and validation records.
        store: All their records, prepared as the model needs them.
        table: Ids, patients, folds and labels of the store's records.
        task: Labels.
        split: Folds.
        parts: Records of the task for training, selection and test.
        whole: The same, with all training records, where `parts` has only a share of them.
        preprocessing: What was done to every record, and is done to new ones.
        normalisation: Constants over the task's training records, as in the paper.
        facts: What results say of the data: origin of the folds, what was left out.
    """

    database: str
    trained: tuple[str, ...]
    store: Store
    table: pd.DataFrame
    task: Task
    split: Split
    parts: SplitTask
    whole: SplitTask
    normalisation: NormalisationConfig
    preprocessing: PreprocessingConfig
    facts: dict[str, Any]

    @property
    def tested(self) -> tuple[str, ...]:
        """In a transfer, the databases that are tested; none otherwise."""
        return (
            () if self.facts["tested_on"] == list(self.trained) else tuple(self.database.split("+"))
        )

    @property
    def databases(self) -> tuple[str, ...]:
        """All databases that take part."""
        return (*self.trained, *self.tested)

    def rows(self, part: Int64[np.ndarray, " part"]) -> Int64[np.ndarray, " part"]:
        """Return the store rows of some records of the task."""
        return self.task.rows[part]

    def targets(self, part: Int64[np.ndarray, " part"]) -> Shaped[np.ndarray, "part labels"]:
        """Return the labels of some records of the task."""
        return self.task.targets[part]

    def patients(self, part: Int64[np.ndarray, " part"]) -> np.ndarray:
        """Return the patient of each record; one of its own where unknown."""
        return patient_ids(self.table["patient_id"].iloc[self.rows(part)])

    def task_config(self) -> TaskConfig:
        """Return what a model folder says of the task."""
        scale = self.target_scale() if self.task.kind == "regression" else ((), ())
        return TaskConfig(
            name=self.task.name,
            kind=self.task.kind,
            labels=self.task.labels,
            descriptions=self.task.descriptions,
            centre=scale[0],
            spread=scale[1],
        )

    def target_scale(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation of a regression's training values."""
        values = self.targets(self.parts.train)
        spread = values.std(axis=0)
        return tuple(values.mean(axis=0).tolist()), tuple(
            np.where(spread > 0, spread, 1.0).tolist()
        )

    def for_encoder(self, config: ModelConfig) -> "EvaluationData":
        """Return the same for another encoder, whose preprocessing must be that of the records.

        Raises:
            TaskError: If it is another.
        """
        treatment = one_treatment(config.preprocessing, self.databases)
        check_treatment(self.store.path, self.store.manifest, treatment)
        clipped = self.normalisation.model_copy(update={"clip": config.normalisation.clip})
        return self._replace(normalisation=clipped)

    def with_labels(self, share: float, draw: int = 0) -> "EvaluationData":
        """Return the same with the labels of only a share of the training patients.

        The shares of one draw lie within each other. Validation and test records, and the constants
        that scale the leads (which need no labels), stay as they are.

        Args:
            share: More than 0, up to 1.
            draw: Another one chooses other patients.

        Raises:
            TaskError: If the share is none, or leaves no label with both kinds of records.
        """
        if not 0 < share <= 1:
            raise TaskError(f"share of labels is {share:g}; expected more than 0, up to 1")
        if share == 1:
            facts = {**self.facts, "label_fraction": 1.0, "label_draw": 0}
            return self._replace(parts=self.whole, facts=facts)
        train = self.whole.train
        chosen = train[part_of_patients(self.patients(train), share, draw)]
        facts = {**self.facts, "label_fraction": share, "label_draw": draw}
        smaller = self._replace(parts=self.whole._replace(train=chosen), facts=facts)
        check_learnable(smaller)
        return smaller


def open_data(
    data: Data,
    config: ModelConfig,
    *,
    task: str,
    split: Split,
    cache: str | Path | None,
    kind: TaskKind = "multi-label",
    test_on: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationData:
    """Prepare (once) and open the labelled records of databases for an encoder.

    Args:
        data: Databases, name to folder; or the folder of a store that is prepared already.
        config: The encoder, whose preprocessing the records get.
        task: Name of the task, or the path of a table of labels.
        split: Folds.
        cache: Folder for the prepared records; the user's cache folder by default.
        kind: Of a table of labels.
        test_on: Databases that are tested and not trained on; the others are not tested then.
        progress: Called with (records done, records in all) while preparing.

    Raises:
        TaskError: If the databases lack the task, or the split leaves nothing to train, select or
            test on that is no copy.
    """
    check_databases(data, task)
    store, treatment = _open_store(data, config, cache, progress)
    table, origin = with_folds(store.table())
    databases = tuple(sorted(set(table["database"])))
    if len(databases) > 1:
        table["patient_id"] = table["database"].map(original) + "/" + table["patient_id"]
    table = _with_recorders(table, data)
    trained, tested = _roles(databases, test_on)
    built = _build(data, task, kind, table, store)
    parts = split_task(
        built,
        table["fold"],
        table["patient_id"],
        split,
        tested=table["database"].isin(tested).to_numpy() if test_on else None,
    )
    parts, num_copies = without_copies(built, parts, table["sha256"])
    statistics = store.statistics(built.rows[parts.train])
    opened = EvaluationData(
        database="+".join(tested),
        trained=trained,
        store=store,
        table=table,
        task=built,
        split=split,
        parts=parts,
        whole=parts,
        normalisation=NormalisationConfig.of(
            statistics.mean, statistics.std, config.normalisation.clip
        ),
        preprocessing=treatment,
        facts={
            "trained_on": list(trained),
            "tested_on": list(tested),
            "folds": origin,
            "highpass_hz": treatment.highpass_hz,
            "copies_of_others_left_out_of_training": num_copies["train"],
            "copies_of_test_left_out_of_validation": num_copies["validation"],
            "notices": list(built.notices),
            "label_fraction": 1.0,
            "label_draw": 0,
        },
    )
    for notice in built.notices:
        logger.warning("task %s: %s", built.name, notice)
    check_learnable(opened)
    for part in ("validation", "test") if split.test else ("validation",):
        check_selectable(opened.targets(getattr(parts, part)), part)
    return opened


def check_learnable(records: EvaluationData) -> None:
    """Refuse labels from which nothing can be learned.

    Raises:
        TaskError: If no label has both positive and negative training records, or a regression's
            values are all the same.
    """
    targets = records.targets(records.parts.train)
    if not (targets != targets[:1]).any():
        raise TaskError(
            f"task {records.task.name!r}: the {len(targets):,} training records all have the same "
            "labels, so nothing can be learned; use more of them, or other folds"
        )


def check_databases(data: Data, task: str) -> None:
    """Refuse, before anything is read, databases that cannot have the task.

    Raises:
        TaskError: If they cannot.
    """
    if isinstance(data, Mapping) and not data:
        raise TaskError("no labelled records are given: found nothing. Use --data NAME=DIR")
    if task in INDEX_TASKS or is_table(task):
        return
    found = ", ".join(data) if isinstance(data, Mapping) else f"the store {data}"
    if not isinstance(data, Mapping) or set(data) != {ptb_xl.NAME}:
        raise TaskError(
            f"task {task!r} is defined on {ptb_xl.NAME}, by its scp_statements.csv; found {found}. "
            f"Use --data {ptb_xl.NAME}=DIR, or another task: {', '.join(INDEX_TASKS)}, or a table"
        )


def _open_store(
    data: Data,
    config: ModelConfig,
    cache: str | Path | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[Store, PreprocessingConfig]:
    """Return the records' store, and the treatment that all of them got."""
    if isinstance(data, Mapping):
        treatment = one_treatment(config.preprocessing, data)
        folder = prepare_cached(
            data,
            cache or default_cache(),
            folds="all",
            preprocessing=treatment,
            progress=progress,
        )
        return Store(folder), treatment
    store = Store(data)
    treatment = one_treatment(config.preprocessing, store.manifest.databases)
    check_treatment(store.path, store.manifest, treatment)
    return store, treatment


def _roles(
    databases: tuple[str, ...], test_on: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the databases that are trained on, and those that are tested."""
    if unknown := sorted(set(test_on) - set(databases)):
        raise TaskError(f"cannot test on {', '.join(unknown)}; found {', '.join(databases)}")
    if not test_on:
        return databases, databases
    trained = tuple(name for name in databases if name not in test_on)
    if not trained:
        raise TaskError(f"{', '.join(test_on)}: tested, so no database is left to train on")
    return trained, tuple(sorted(test_on))


def _build(data: Data, task: str, kind: TaskKind, table: pd.DataFrame, store: Store) -> Task:
    if is_table(task):
        summaries = store.manifest.databases.values()
        return build_table_task(
            task,
            kind,
            table,
            quarantined=frozenset(bad.record_id for one in summaries for bad in one.quarantine),
            num_absent=sum(one.absent for one in summaries),
            absent=partial(_absent, data) if isinstance(data, Mapping) else None,
        )
    if task in INDEX_TASKS:
        return build_index_task(task, table)
    assert isinstance(data, Mapping)
    return build_task(task, table["labels"], ptb_xl.read_statements(Path(data[ptb_xl.NAME])))


def _absent(data: Mapping[str, str | Path]) -> frozenset[tuple[str, str]]:
    """Return database and name of records that the databases' tables name but the copies lack."""
    return frozenset(
        (listing.database, gone.record_id) for listing in list_all(data) for gone in listing.absent
    )


def _with_recorders(table: pd.DataFrame, data: Data) -> pd.DataFrame:
    """Return the table with the site and device of PTB-XL's records, where its folder is given."""
    if not isinstance(data, Mapping) or ptb_xl.NAME not in data:
        return table
    found = ptb_xl.read_recorders(Path(data[ptb_xl.NAME]))
    joined = table.join(found, on="record_id")
    others = table["database"] != ptb_xl.NAME
    return joined.assign(**{str(name): joined[name].mask(others) for name in found})


def standardised(
    records: EvaluationData, part: Int64[np.ndarray, " part"]
) -> Shaped[np.ndarray, "part labels"]:
    """Return what a head is trained on: labels, or a regression's values of mean 0, spread 1."""
    if records.task.kind != "regression":
        return records.targets(part)
    centre, spread = records.target_scale()
    return (records.targets(part) - centre) / spread
