"""Which labels of a table are which of a classifier, and what is left out because none fits."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ecgjepa.errors import TaskError
from ecgjepa.model.outputs import TaskConfig
from ecgjepa.tasks.task import Task

_MOST_SHOWN = 12


class Matched(NamedTuple):
    """A task in the labels of a classifier.

    Attributes:
        task: The records, with labels named and ordered as the classifier has them.
        columns: Which of the classifier's outputs these are.
        lacking: Labels of the classifier that the table lacks: they are not scored.
        unknown: Labels of the table that the classifier lacks: they are not used.
        mapping: Labels of the classifier that the table calls otherwise, and how.
        num_unknown: Records that were left out because their class is none of the classifier's.
    """

    task: Task
    columns: list[int]
    lacking: tuple[str, ...]
    unknown: tuple[str, ...]
    mapping: dict[str, str]
    num_unknown: int


def match_labels(task: Task, model: TaskConfig, mapping: Mapping[str, str]) -> Matched:
    """Find the labels of a classifier among those of a task.

    Where records have one class each, all of the classifier's classes stay, because its
    probabilities sum to 1 over them; a record of another class is left out.

    Args:
        task: Labels of the records.
        model: Task of the classifier.
        mapping: Label of the classifier to what the table calls it, where that differs.

    Raises:
        TaskError: If the kinds differ, a name of the mapping does not exist or is meant twice, or
            no label fits.
    """
    if task.kind != model.kind:
        raise TaskError(
            f"task {task.name!r} is {task.kind}; the model predicts a {model.kind} task, "
            f"{model.name!r}"
        )
    found = find_labels(task.name, task.labels, model, mapping)
    lacking = tuple(label for label in model.labels if label not in found)
    used = set(found.values())
    unknown = tuple(name for column, name in enumerate(task.labels) if column not in used)
    single = task.kind == "single-label"
    labels = model.labels if single else tuple(found)
    targets = np.stack(
        [
            task.targets[:, found[label]]
            if label in found
            else np.zeros(len(task.targets), task.targets.dtype)
            for label in labels
        ],
        axis=1,
    )
    kept = targets.any(axis=1) if single else np.ones(len(targets), np.bool_)
    columns = [model.labels.index(label) for label in labels]
    matched = task._replace(
        labels=labels,
        descriptions=tuple(model.descriptions[column] for column in columns),
        rows=task.rows[kept],
        targets=targets[kept],
    )
    return Matched(matched, columns, lacking, unknown, dict(mapping), int((~kept).sum()))


def find_labels(
    name: str, labels: tuple[str, ...], model: TaskConfig, mapping: Mapping[str, str]
) -> dict[str, int]:
    """Return the labels of a classifier that a task has, and the place of each among its labels.

    Args:
        name: Name of the task.
        labels: Of the task, or all that its table may give.
        model: See `match_labels`.
        mapping: See `match_labels`.

    Raises:
        TaskError: If a name of the mapping does not exist or is meant twice, or no label fits.
    """
    _check_mapping(name, labels, model, mapping)
    names = {label: mapping.get(label, label) for label in model.labels}
    taken = set(mapping.values())
    # A name that the mapping gives to another label is not this one's, too.
    place = {one: column for column, one in enumerate(labels)}
    found = {
        label: place[one]
        for label, one in names.items()
        if one in place and (label in mapping or one not in taken)
    }
    if not found:
        raise TaskError(
            f"task {name!r}: none of its labels ({_some(labels)}) is one of the model's "
            f"({_some(model.labels)}); name those that mean the same with --map MODEL=TABLE, e.g. "
            f"--map {model.labels[0]}={labels[0]}"
        )
    return found


def _check_mapping(
    task_name: str, labels: tuple[str, ...], model: TaskConfig, mapping: Mapping[str, str]
) -> None:
    if wrong := [label for label in mapping if label not in model.labels]:
        raise TaskError(
            f"--map {wrong[0]}={mapping[wrong[0]]}: the model has no label {wrong[0]!r}; it has "
            f"{_some(model.labels)}"
        )
    if wrong := [label for label, name in mapping.items() if name not in labels]:
        raise TaskError(
            f"--map {wrong[0]}={mapping[wrong[0]]}: task {task_name!r} has no label "
            f"{mapping[wrong[0]]!r}; it has {_some(labels)}"
        )
    names = list(mapping.values())
    if twice := [name for name in names if names.count(name) > 1]:
        raise TaskError(f"--map: {twice[0]!r} of the table is given to two labels of the model")


def _some(labels: tuple[str, ...]) -> str:
    more = len(labels) - _MOST_SHOWN
    return ", ".join(labels[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")
