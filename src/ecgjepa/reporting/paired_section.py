"""What the page says of evaluations side by side: which model is better, patient by patient."""

from collections.abc import Sequence
from typing import NamedTuple

from ecgjepa.errors import ScoreError
from ecgjepa.metrics.paired import Comparison
from ecgjepa.reporting.evaluation_section import EvaluationSection
from ecgjepa.results.compared import METRIC_WORDS, compare_predictions


class PairedRow(NamedTuple):
    """One evaluation, compared with the first of its task."""

    name: str
    found: Comparison


class PairedTable(NamedTuple):
    """The evaluations of a task, each compared with the first of them.

    Attributes:
        task: Name of the task.
        first: Name of the evaluation that the others are compared with.
        metric: What is compared, in words.
        rows: The others, in their order on the page.
        apart: Names of those that cannot be compared with the first: their test records, labels
            or true labels are other ones.
    """

    task: str
    first: str
    metric: str
    rows: tuple[PairedRow, ...]
    apart: tuple[str, ...]


def compare_evaluations(evaluations: Sequence[EvaluationSection]) -> list[PairedTable]:
    """Return a table for each task of which there are several evaluations, in their order.

    Of each evaluation, the model that was judged is compared, not what stands beside it.
    """
    by_task: dict[str, list[EvaluationSection]] = {}
    for section in evaluations:
        by_task.setdefault(section.results["task"]["name"], []).append(section)
    return [_table(task, found) for task, found in by_task.items() if len(found) > 1]


def _table(task: str, evaluations: list[EvaluationSection]) -> PairedTable:
    first, *others = evaluations
    rows: list[PairedRow] = []
    apart: list[str] = []
    for other in others:
        try:
            found = compare_predictions(
                other.path,
                first.path,
                model=next(iter(other.results["models"])),
                second_model=next(iter(first.results["models"])),
            )
        except ScoreError:
            apart.append(other.name)
        else:
            rows.append(PairedRow(other.name, found))
    metric = METRIC_WORDS[rows[0].found.metric] if rows else ""
    return PairedTable(task, first.name, metric, tuple(rows), tuple(apart))
