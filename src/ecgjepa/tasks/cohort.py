"""What is asked of labelled records: which labels, who trains, who selects and who is tested."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from ecgjepa.errors import TaskError
from ecgjepa.model.outputs import TaskKind
from ecgjepa.tasks.split import PAPER_SPLIT, Split, check_share, check_split
from ecgjepa.tasks.task import is_table, task_name


@dataclass(frozen=True)
class Cohort:
    """One request for labelled records; every verb that evaluates builds one from its arguments.

    Attributes:
        task: One of `ecgjepa.tasks.task.TASKS` or ``INDEX_TASKS``; the path of a table of labels,
            with ``:COLUMN`` behind it to choose columns; or a column of the table that a store was
            prepared with.
        kind: What the columns of a table of labels hold.
        split: Folds for training, selection and test.
        label_fraction: Share of the training patients whose labels are used: more than 0, up to 1.
        label_draw: Number of the draw that chooses those patients.
        test_on: Databases that are tested and not trained on; the others are then trained on and
            not tested. None for a task in which every database is trained on and tested.
        allow_seen: Whether pre-training may have seen the signals, but no labels, of databases
            without folds of their own: see `ecgjepa.tasks.leakage.refuse_leak`.
        is_tested: Whether there are test records; a probe that follows a pre-training run has none.
        is_trained: Whether there are training records; a classifier that is judged as it is needs
            none, and takes validation records only to fit thresholds and calibration. Both may then
            be of the same folds, for they are told apart by patient.

    Raises:
        TaskError: If the task, the kind, the split, the share or the names are not usable.
    """

    task: str = "all"
    kind: TaskKind = "multi-label"
    split: Split = PAPER_SPLIT
    label_fraction: float = 1.0
    label_draw: int = 0
    test_on: tuple[str, ...] = ()
    allow_seen: bool = False
    is_tested: bool = True
    is_trained: bool = True

    def __post_init__(self) -> None:
        if self.kind not in get_args(TaskKind):
            raise TaskError(
                f"unknown kind {self.kind!r}: expected one of {', '.join(get_args(TaskKind))}"
            )
        needed = ("train", "validation") if self.is_trained else ()
        check_split(
            self.split,
            transfer=bool(self.test_on) or not self.is_trained,
            needed=(*needed, "test") if self.is_tested else needed,
        )
        check_share(self.label_fraction)

    @property
    def task_name(self) -> str:
        """Name of the task; of a table of labels, the file's name without its ending."""
        return task_name(self.task) if is_table(self.task) else self.task

    def judged_folds(self, database: str) -> Split:
        """Return the folds of one database on which models are selected or tested.

        In a transfer, the tested databases give test records alone, and the others give training
        and validation records alone.
        """
        if not self.test_on:
            return self.split
        unused = "validation" if database in self.test_on else "test"
        return self.split._replace(**{unused: ()})

    def as_request(self) -> dict[str, Any]:
        """Return all that decides which records and labels are used, as JSON content."""
        return {
            "task": self.task,
            "kind": self.kind,
            "split": self.split._asdict(),
            "label_fraction": self.label_fraction,
            "label_draw": self.label_draw,
            "test_on": self.test_on,
            "allow_seen": self.allow_seen,
        }


def database_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of databases as a tuple.

    Raises:
        TaskError: If they are one text, which would be taken for names of one letter.
    """
    if isinstance(names, str):
        raise TaskError(f"test_on is {names!r}; expected a list of names: test_on=[{names!r}]")
    return tuple(names)


def check_test_on(test_on: Iterable[str], databases: tuple[str, ...]) -> None:
    """Refuse to test on a database that is not there, or on all of them.

    Raises:
        TaskError: If a name is unknown, or no database is left to train on.
    """
    tested = tuple(test_on)
    if unknown := sorted(set(tested) - set(databases)):
        raise TaskError(f"cannot test on {', '.join(unknown)}; found {', '.join(databases)}")
    if tested and not set(databases) - set(tested):
        raise TaskError(f"{', '.join(tested)}: tested, so no database is left to train on")
