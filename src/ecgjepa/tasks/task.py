"""What is to be predicted: the seven PTB-XL tasks, and what every task has.

Tasks of other databases are in `record_tasks`, tables of your own in `label_table`.

PTB-XL's are built from ``scp_statements.csv``. Definitions follow the paper (section 4.1 and
Strodthoff et al. 2020, https://doi.org/10.1109/JBHI.2020.3022989): every statement present counts,
whatever its likelihood; sub- and superdiagnostic map diagnostic statements to their class; records
without any label of the task are left out, in all folds; labels are in alphabetical order.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Shaped

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
    """Return whether a task's name is the path of a table of labels."""
    return name.lower().endswith(".csv")


def check_task(name: str) -> None:
    """Raise `TaskError` if there is no such task."""
    if name not in (*TASKS, *INDEX_TASKS) and not is_table(name):
        raise TaskError(
            f"unknown task {name!r}: expected one of {', '.join((*TASKS, *INDEX_TASKS))}, or the "
            "path of a .csv file"
        )
