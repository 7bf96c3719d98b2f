"""Labelled records, divided for training, selection and test: what every protocol works on."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int64, Shaped

from ecgjepa.databases import ptb_xl
from ecgjepa.errors import TaskError
from ecgjepa.metrics.bootstrap import patient_ids
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.model.outputs import TaskConfig
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.reading import Store
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.split import Split, SplitTask, check_share, part_of_patients
from ecgjepa.tasks.task import Task
from ecgjepa.tasks.treatment import check_treatment, one_treatment

logger = logging.getLogger(__name__)


class EvaluationData(NamedTuple):
    """What a probe or fine-tuning works on; `ecgjepa.tasks.opening.open_data` makes it.

    Attributes:
        cohort: What was asked for: labels, folds, databases.
        trained: Names of the databases that give training and validation records.
        tested: Names of the databases that give test records; in a transfer, they are others.
        store: All their records, prepared as the model needs them.
        table: Ids, patients, folds and labels of the store's records.
        folds: Where the folds of each database are from, as `ecgjepa.tasks.folds` says.
        task: Labels.
        parts: Records of the task for training, selection and test.
        whole: The parts with all training records, where `parts` has only a share of them.
        num_copies: How many copies of later parts' records were left out of ``train`` and of
            ``validation``.
        normalisation: Constants over the task's training records, as in the paper.
        preprocessing: What was done to every record, and is done to new ones.
    """

    cohort: Cohort
    trained: tuple[str, ...]
    tested: tuple[str, ...]
    store: Store
    table: pd.DataFrame
    folds: dict[str, str]
    task: Task
    parts: SplitTask
    whole: SplitTask
    num_copies: dict[str, int]
    normalisation: NormalisationConfig
    preprocessing: PreprocessingConfig

    def __enter__(self) -> "EvaluationData":
        """Return the open records."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close their store."""
        self.close()

    def close(self) -> None:
        """Close the store, which may be shared by several of these."""
        self.store.close()

    @property
    def split(self) -> Split:
        """Folds for training, selection and test."""
        return self.cohort.split

    @property
    def databases(self) -> tuple[str, ...]:
        """Names of all databases that take part."""
        return tuple(dict.fromkeys((*self.trained, *self.tested)))

    @property
    def facts(self) -> dict[str, Any]:
        """What results say of the data: origin of the folds, what was left out."""
        return {
            "trained_on": list(self.trained),
            "tested_on": list(self.tested),
            "folds": self.folds,
            "highpass_hz": self.preprocessing.highpass_hz,
            "copies_of_others_left_out_of_training": self.num_copies["train"],
            "copies_of_test_left_out_of_validation": self.num_copies["validation"],
            "notices": list(self.task.notices),
            "label_fraction": self.cohort.label_fraction,
            "label_draw": self.cohort.label_draw,
        }

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
        """Return the description of the task for a model folder."""
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

    def scaled_targets(self, part: Int64[np.ndarray, " part"]) -> Shaped[np.ndarray, "part labels"]:
        """Return what a head is trained on: labels; of a regression, values of mean 0, spread 1."""
        if self.task.kind != "regression":
            return self.targets(part)
        centre, spread = self.target_scale()
        return (self.targets(part) - centre) / spread

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
        check_share(share)
        if share == 1:
            everyone = replace(self.cohort, label_fraction=1.0, label_draw=0)
            return self._replace(parts=self.whole, cohort=everyone)
        train = self.whole.train
        chosen = train[part_of_patients(self.patients(train), share, draw)]
        cohort = replace(self.cohort, label_fraction=share, label_draw=draw)
        smaller = self._replace(parts=self.whole._replace(train=chosen), cohort=cohort)
        check_learnable(smaller)
        return smaller


def report_skipped(store: Store) -> None:
    """Log how many records of each database cannot be used, and why: no part holds them."""
    for name, summary in store.manifest.databases.items():
        reasons = [f"{count:,} {one.replace('_', ' ')}" for one, count in summary.skipped.items()]
        if reasons:
            number = f"{sum(summary.skipped.values()):,} of {summary.listed:,}"
            logger.warning("%s: %s records cannot be used: %s", name, number, ", ".join(reasons))


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


def with_recorders(
    table: pd.DataFrame, data: Mapping[str, str | Path] | str | Path
) -> pd.DataFrame:
    """Return the table with the site and device of PTB-XL's records, where its folder is given."""
    if not isinstance(data, Mapping) or ptb_xl.NAME not in data:
        return table
    found = ptb_xl.read_recorders(Path(data[ptb_xl.NAME]))
    joined = table.join(found, on="record_id")
    others = table["database"] != ptb_xl.NAME
    return joined.assign(**{str(name): joined[name].mask(others) for name in found})
