"""Labelled records of a database, divided for training, selection and test."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64

from ecgjepa.databases import ptb_xl
from ecgjepa.errors import TaskError
from ecgjepa.evaluation.metrics import patient_ids
from ecgjepa.evaluation.tasks import Split, SplitTask, Task, build_task, split_task
from ecgjepa.model.folder import ModelConfig, NormalisationConfig, TaskConfig
from ecgjepa.store.prepare import prepare_cached
from ecgjepa.store.reading import Store


class EvaluationData(NamedTuple):
    """What a probe or fine-tuning works on.

    Attributes:
        database: Name of the database.
        store: All its records, prepared as the model needs them.
        table: Ids, patients, folds and labels of the store's records.
        task: Labels.
        split: Folds.
        parts: Records of the task for training, selection and test.
        normalisation: Constants over the task's training records, as in the paper.
    """

    database: str
    store: Store
    table: pd.DataFrame
    task: Task
    split: Split
    parts: SplitTask
    normalisation: NormalisationConfig

    def rows(self, part: Int64[np.ndarray, " part"]) -> Int64[np.ndarray, " part"]:
        """Return the store rows of some records of the task."""
        return self.task.rows[part]

    def targets(self, part: Int64[np.ndarray, " part"]) -> Bool[np.ndarray, "part labels"]:
        """Return the labels of some records of the task."""
        return self.task.targets[part]

    def patients(self, part: Int64[np.ndarray, " part"]) -> np.ndarray:
        """Return the patient of each record; one of its own where unknown."""
        return patient_ids(self.table["patient_id"].iloc[self.rows(part)])

    def task_config(self) -> TaskConfig:
        """Return what a model folder says of the task."""
        return TaskConfig(
            name=self.task.name,
            kind=self.task.kind,
            labels=self.task.labels,
            descriptions=self.task.descriptions,
        )


def open_data(
    data: Mapping[str, str | Path],
    config: ModelConfig,
    *,
    task: str,
    split: Split,
    cache: str | Path | None,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationData:
    """Prepare (once) and open the labelled records of a database for an encoder.

    Args:
        data: One database: name to folder.
        config: The encoder, whose preprocessing the records get.
        task: Name of the task.
        split: Folds.
        cache: Folder for the prepared records; the user's cache folder by default.
        progress: Called with (records done, records in all) while preparing.

    Raises:
        TaskError: If the database has no tasks or the split leaves nothing to train or test.
    """
    if set(data) != {ptb_xl.NAME}:
        raise TaskError(
            f"tasks are defined on {ptb_xl.NAME}; found {', '.join(data) or 'nothing'}. "
            f"Use --data {ptb_xl.NAME}=DIR"
        )
    root = Path(data[ptb_xl.NAME])
    folder = prepare_cached(
        data,
        cache or default_cache(),
        folds="all",
        preprocessing=config.preprocessing,
        progress=progress,
    )
    store = Store(folder)
    table = store.table().join(ptb_xl.read_recorders(root), on="record_id")
    built = build_task(task, table["labels"], ptb_xl.read_statements(root))
    parts = split_task(built, table["fold"], table["patient_id"], split)
    statistics = store.statistics(built.rows[parts.train])
    return EvaluationData(
        database=ptb_xl.NAME,
        store=store,
        table=table,
        task=built,
        split=split,
        parts=parts,
        normalisation=NormalisationConfig(
            mean=tuple(np.nan_to_num(statistics.mean).tolist()),
            std=tuple(np.nan_to_num(statistics.std).tolist()),
            clip=config.normalisation.clip,
        ),
    )


def default_cache() -> Path:
    """Return the folder for prepared records: ``ECGJEPA_CACHE``, or ``~/.cache/ecgjepa``."""
    if chosen := os.environ.get("ECGJEPA_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ecgjepa"
