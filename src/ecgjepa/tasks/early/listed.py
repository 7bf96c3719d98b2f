"""The labels of databases as their lists of records tell them, before any record is prepared."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from ecgjepa.databases import database_names
from ecgjepa.databases.listing import Listing
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.shard_plan import Settings, make_plan
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.described import Described, Known, describe
from ecgjepa.tasks.label_table import read_task_table
from ecgjepa.tasks.opening import check_databases, label_index
from ecgjepa.tasks.task import Task, is_table


class ListedLabels(NamedTuple):
    """Labels of the records that databases list; some of these records may turn out to be bad.

    Attributes:
        table: Ids, patients and folds of the records.
        folds: Where the folds of each database are from, as `ecgjepa.tasks.folds` says.
        task: Labels.
    """

    table: pd.DataFrame
    folds: dict[str, str]
    task: Task


def list_labels(data: Mapping[str, str | Path], cohort: Cohort) -> ListedLabels:
    """Return the labels that `ecgjepa.tasks.opening.open_labels` will find, without reading an ECG.

    Args:
        data: Databases, name to folder.
        cohort: Task, and what the columns of a table hold.

    Raises:
        TaskError: If the databases lack the task.
        DatabaseError: If a folder is not what its name says.
        StoreError: If there is no record.
    """
    check_databases(data, cohort.task, cohort.kind)
    # Settings decide nothing about which records are listed.
    listings = make_plan(data, "all", Settings(PreprocessingConfig()), own_filters=False).listings
    index = _index_of(listings)
    described = _describe(cohort.task, index, listings) if is_table(cohort.task) else None
    known = {listing.database: listing for listing in listings}
    return ListedLabels(*label_index(data, cohort, index, described, known))


def _index_of(listings: tuple[Listing, ...]) -> pd.DataFrame:
    """Return what the index of a store of these records tells, save what is measured."""
    tables = []
    for listing in listings:
        names = pa.array([listing.database] * len(listing), pa.string())
        tables.append(listing.to_arrow().add_column(0, "database", names))
    return pa.concat_tables(tables).to_pandas()


def _describe(task: str, index: pd.DataFrame, listings: tuple[Listing, ...]) -> Described:
    """Return which records a table of labels describes."""
    refused = {(one.database, bad.record_id) for one in listings for bad in one.refused}
    absent = {(one.database, gone.record_id) for one in listings for gone in one.absent}
    own = {one.database for one in listings} - set(database_names())
    known = Known(
        frozenset(refused), num_absent=len(absent), absent=lambda: absent, own=frozenset(own)
    )
    return describe(read_task_table(task), index, known)
