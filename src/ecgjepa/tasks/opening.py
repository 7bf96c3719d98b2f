"""Open the labelled records of databases, divided for training, selection and test."""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ecgjepa.databases import original, ptb_xl
from ecgjepa.databases.listing import Listing
from ecgjepa.errors import TaskError
from ecgjepa.files import default_cache
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.model.outputs import TaskKind
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.manifest import TableFacts, read_manifest, store_fingerprint
from ecgjepa.store.prepare import prepare_cached
from ecgjepa.store.reading import Store
from ecgjepa.tasks.cohort import Cohort, check_test_on
from ecgjepa.tasks.column_tasks import build_column_task, label_columns
from ecgjepa.tasks.described import Described, describe_store, with_patients_and_folds
from ecgjepa.tasks.folds import with_folds
from ecgjepa.tasks.index_tasks import build_index_task
from ecgjepa.tasks.label_table import labels_of_table, read_task_table, task_of
from ecgjepa.tasks.ptb_xl import build_task
from ecgjepa.tasks.records import (
    EvaluationData,
    check_learnable,
    report_skipped,
    with_recorders,
)
from ecgjepa.tasks.split import SplitTask, check_selectable, split_task, without_copies
from ecgjepa.tasks.task import INDEX_TASKS, Task, check_task, is_known, is_table
from ecgjepa.tasks.treatment import check_folds, check_treatment, one_treatment

logger = logging.getLogger(__name__)

# One database, or several, by name; or the folder of a store.
Data = Mapping[str, str | Path] | str | Path


class Labelled(NamedTuple):
    """The records of databases and their labels.

    Attributes:
        store: All records, prepared.
        table: Ids, patients, folds and labels of the store's records.
        folds: Where the folds of each database are from, as `ecgjepa.tasks.folds` says.
        task: Labels.
    """

    store: Store
    table: pd.DataFrame
    folds: dict[str, str]
    task: Task

    @property
    def databases(self) -> tuple[str, ...]:
        """Names of the databases."""
        return tuple(sorted(set(self.table["database"])))


def names_of(data: Data) -> tuple[str, ...]:
    """Return the names of the databases.

    Raises:
        StoreError: If the folder is not a complete store.
    """
    if isinstance(data, Mapping):
        return tuple(data)
    return tuple(read_manifest(Path(data)).databases)


def open_data(
    data: Data,
    config: ModelConfig,
    cohort: Cohort,
    *,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationData:
    """Prepare (once) and open the labelled records of databases for an encoder.

    Args:
        data: Databases, name to folder; or the folder of a store that is prepared already.
        config: The encoder, whose preprocessing the records get.
        cohort: Labels, folds and databases.
        cache: Folder for the prepared records; the user's cache folder by default.
        progress: Called with (records done, records in all) while preparing.

    Raises:
        TaskError: If the databases lack the task, or the split leaves nothing to train, select or
            test on that is not a copy.
    """
    check_folds(data, cohort)
    treatment = one_treatment(config.preprocessing, names_of(data))
    with ExitStack() as opened:
        labelled = open_labels(data, treatment, cohort, cache=cache, progress=progress)
        store, table, folds, task = labelled
        opened.enter_context(store)
        databases = labelled.databases
        check_test_on(cohort.test_on, databases)
        parts, num_copies = without_copies(task, divide(task, table, cohort), table["sha256"])
        statistics = store.statistics(task.rows[parts.train])
        records = EvaluationData(
            cohort=cohort,
            trained=tuple(name for name in databases if name not in cohort.test_on),
            tested=tuple(sorted(cohort.test_on)) or databases,
            store=store,
            table=table,
            folds=folds,
            task=task,
            parts=parts,
            whole=parts,
            num_copies=num_copies,
            normalisation=NormalisationConfig.of(
                statistics.mean, statistics.std, config.normalisation.clip
            ),
            preprocessing=treatment,
        )
        for notice in task.notices:
            logger.warning("task %s: %s", task.name, notice)
        _check_scorable(records)
        chosen = records.with_labels(cohort.label_fraction, cohort.label_draw)
        opened.pop_all()
        return chosen


def open_labels(
    data: Data,
    treatment: PreprocessingConfig,
    cohort: Cohort,
    *,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Labelled:
    """Prepare (once) and open the labelled records of databases.

    Args:
        data: See `open_data`.
        treatment: What is done to every record.
        cohort: Task, and what the columns of a table hold.
        cache: See `open_data`.
        progress: See `open_data`.

    Raises:
        TaskError: If the databases lack the task, or a store was prepared in another way.
    """
    check_databases(data, cohort.task)
    read = read_task_table(cohort.task) if is_table(cohort.task) else None
    with ExitStack() as opened:
        store = opened.enter_context(_open_store(data, treatment, cache, progress))
        report_skipped(store)
        table = store.table()
        described = None if read is None else describe_store(read, table, store, data)
        summaries = store.manifest.databases
        table, folds, task = label_index(data, cohort, table, described, summaries)
        opened.pop_all()
        return Labelled(store, with_recorders(table, data), folds, task)


def label_index(
    data: Data,
    cohort: Cohort,
    table: pd.DataFrame,
    described: Described | None,
    known: Mapping[str, TableFacts | Listing],
) -> tuple[pd.DataFrame, dict[str, str], Task]:
    """Return an index with every patient and fold, where the folds are from, and the labels.

    The index is that of a store, or of one that will be; ``known`` tells of each database.

    Raises:
        TaskError: If the databases lack the task.
    """
    if described is not None:
        table = with_patients_and_folds(table, described)
    hashed = {name: one.hashed_folds for name, one in known.items() if one.hashed_folds}
    table, folds = with_folds(table, hashed)
    if table["database"].nunique() > 1:
        table["patient_id"] = table["database"].map(original) + "/" + table["patient_id"]
    return table, folds, _build(data, cohort, table, known, described)


def divide(task: Task, table: pd.DataFrame, cohort: Cohort) -> SplitTask:
    """Return the records of each part.

    Raises:
        TaskError: See `ecgjepa.tasks.split.split_task`.
    """
    tested = table["database"].isin(cohort.test_on).to_numpy() if cohort.test_on else None
    return split_task(task, table["fold"], table["patient_id"], cohort.split, tested=tested)


def _check_scorable(records: EvaluationData) -> None:
    """Refuse labels that cannot be learned, selected by or scored."""
    check_learnable(records)
    for part in ("validation", "test") if records.split.test else ("validation",):
        check_selectable(records.targets(getattr(records.parts, part)), part)


def check_databases(data: Data, task: str, kind: TaskKind | None = None) -> None:
    """Refuse, before any record is read, databases or a table that cannot have the task.

    What the columns of a table hold is the ``kind``; without it the table is not looked at.

    Raises:
        TaskError: If they cannot.
    """
    if isinstance(data, Mapping) and not data:
        raise TaskError("no labelled records are given: found nothing. Use --data NAME=DIR")
    if is_table(task) and kind is not None:
        labels_of_table(task, kind)
    if task in INDEX_TASKS or is_table(task):
        return
    if not isinstance(data, Mapping):
        columns = label_columns(read_manifest(Path(data)))
        if task.lower() in map(str.lower, columns) or not (is_known(task) or columns):
            return  # A column; of an older store, which does not tell, it is looked for later.
        check_task(task, columns=columns)
    elif not is_known(task):
        check_task(task)
    found = ", ".join(data) if isinstance(data, Mapping) else f"the store {data}"
    if not isinstance(data, Mapping) or set(data) != {ptb_xl.NAME}:
        raise TaskError(
            f"task {task!r} is defined on {ptb_xl.NAME}, by its scp_statements.csv; found {found}. "
            f"Use --data {ptb_xl.NAME}=DIR, or another task: {', '.join(INDEX_TASKS)}, or a table"
        )


def fingerprint_of(
    data: Data,
    treatment: PreprocessingConfig,
    *,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Return a hash of the records that are evaluated: of their samples, ids and labels.

    Records of databases are prepared for it as `open_data` does, and again if files have changed,
    so another content under the same names is another hash.

    Args:
        data: Databases, or a store.
        treatment: What is done to every record.
        cache: Folder for the prepared records; the user's cache folder by default.
        progress: Called with (records done, records in all) while preparing.
    """
    if not isinstance(data, Mapping):
        return store_fingerprint(Path(data))
    return store_fingerprint(_prepare(data, treatment, cache, progress))


def _prepare(
    data: Mapping[str, str | Path],
    treatment: PreprocessingConfig,
    cache: str | Path | None,
    progress: Callable[[int, int], None] | None,
) -> Path:
    return prepare_cached(
        data, cache or default_cache(), folds="all", preprocessing=treatment, progress=progress
    )


def _open_store(
    data: Data,
    treatment: PreprocessingConfig,
    cache: str | Path | None,
    progress: Callable[[int, int], None] | None,
) -> Store:
    if isinstance(data, Mapping):
        return Store(_prepare(data, treatment, cache, progress))
    store = Store(data)
    try:
        check_treatment(store.path, store.manifest, treatment)
    except TaskError:
        store.close()
        raise
    return store


def _build(
    data: Data,
    cohort: Cohort,
    table: pd.DataFrame,
    known: Mapping[str, TableFacts | Listing],
    described: Described | None,
) -> Task:
    task = cohort.task
    if described is not None:
        return task_of(task, cohort.kind, described, len(table))
    columns = {name: one.label_columns for name, one in known.items()}
    if task in INDEX_TASKS:
        return build_index_task(task, table, columns)
    if not isinstance(data, Mapping):
        return build_column_task(task, cohort.kind, table, columns)
    return build_task(task, table["labels"], ptb_xl.read_statements(Path(data[ptb_xl.NAME])))
