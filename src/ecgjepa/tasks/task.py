"""What is to be predicted: the seven PTB-XL tasks, and what every task has.

Tasks of other databases are in `record_tasks`, tables of your own in `label_table`.

PTB-XL's are built from ``scp_statements.csv``. Definitions follow the paper (section 4.1 and
Strodthoff et al. 2020, https://doi.org/10.1109/JBHI.2020.3022989): every statement present counts,
whatever its likelihood; sub- and superdiagnostic map diagnostic statements to their class; records
without any label of the task are left out, in all folds; labels are in alphabetical order.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Shaped

from ecgjepa.databases.sheets.columns import SheetOptions
from ecgjepa.databases.sheets.reading import ENDINGS
from ecgjepa.errors import TaskError
from ecgjepa.model.outputs import TaskKind

TASKS = (
    "all",
    "diagnostic",
    "subdiagnostic",
    "superdiagnostic",
    "form",
    "rhythm",
    "st-mem",
)
# Tasks that need nothing but the store's index; see `record_tasks`.
INDEX_TASKS = ("challenge-2021", "code-15", "codes", "age")
REGRESSIONS = ("age",)
# What says of the table's columns and cells what they do not say themselves.
_TOLD = re.compile(r"(?:^|:)(file|patient|divide)=")
_TABLE = re.compile(rf"(?is)(?P<path>.*?({'|'.join(map(re.escape, ENDINGS))}))(:(?P<columns>.*))?")


class Task(NamedTuple):
    """A task over some records of a store.

    Attributes:
        name: One of `TASKS` or `INDEX_TASKS`, or the name of a table of labels.
        kind: ``multi-label``, ``single-label`` or ``regression``.
        labels: Names, in order.
        descriptions: What they stand for.
        rows: Store rows that have a label of the task.
        targets: Which labels each of those rows has, as booleans; in a regression, the values.
        num_unlabelled: Records left out because they have none (or, single-label, several).
        notices: What was counted on the way, in sentences.
    """

    name: str
    kind: TaskKind
    labels: tuple[str, ...]
    descriptions: tuple[str, ...]
    rows: Int64[np.ndarray, " records"]
    targets: Shaped[np.ndarray, "records labels"]
    num_unlabelled: int
    notices: tuple[str, ...] = ()


def is_table(name: str) -> bool:
    """Return whether a task's name is the path of a table of labels, with columns or without."""
    return _TABLE.fullmatch(name) is not None


def table_of(name: str) -> Path:
    """Return the path of the table that a task names, without the columns behind it."""
    found = _TABLE.fullmatch(name)
    return Path(name if found is None else found["path"])


def columns_of(name: str) -> tuple[str, ...]:
    """Return the columns behind the path of a table, ``table.csv:mi,cd``; none if none is named."""
    named = _TOLD.split(_behind(name))[0]
    return tuple(column.strip() for column in named.split(",") if column.strip())


def sheet_options_of(name: str) -> SheetOptions:
    """Return what a task says of its table: ``table.csv:mi:file=Name:patient=Case:divide=;``."""
    _, *told = _TOLD.split(_behind(name))
    return SheetOptions(**dict(zip(told[::2], told[1::2], strict=True)))


def _behind(name: str) -> str:
    found = _TABLE.fullmatch(name)
    return (found["columns"] or "") if found else ""


def task_name(task: str) -> str:
    """Return the name of a table's task: the file's, with the columns that are named."""
    return "-".join([table_of(task).stem, *columns_of(task)]).replace("/", "-")


def is_known(name: str) -> bool:
    """Return whether a task is one of the package's or a table of labels, and no column's name."""
    return name in (*TASKS, *INDEX_TASKS) or is_table(name)


def check_task(name: str, *, columns: Iterable[str] = ()) -> None:
    """Raise `TaskError` if there is no such task.

    Args:
        name: The task.
        columns: Columns of labels of the store that is evaluated, if one is.
    """
    if is_known(name):
        return
    found = tuple(columns)
    meant = get_close_matches(name, [*TASKS, *INDEX_TASKS, *found], n=1)
    raise TaskError(
        f"unknown task {name!r}"
        + (f"; did you mean {meant[0]!r}?" if meant else ":")
        + f" expected one of {', '.join((*TASKS, *INDEX_TASKS))}, the path of a table of labels "
        "(FILE.csv --labels COLUMN), or with --store a column of the table that the store was "
        f"prepared with ({', '.join(found) or 'none is known here'})"
    )
