"""The tables of a comparison: means over runs, intervals over patients, paired differences."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecgjepa.comparing import published
from ecgjepa.comparing.cells import Cell, list_cells, read_cell
from ecgjepa.comparing.plan import ComparisonPlan
from ecgjepa.files import as_json
from ecgjepa.metrics.bootstrap import Interval
from ecgjepa.metrics.subgroups import too_few_to_tell
from ecgjepa.protocols.request import ReadingName
from ecgjepa.results.compared import compare_predictions
from ecgjepa.results.words import column_heading


class TableRow(NamedTuple):
    """One arm in one protocol of one task.

    Attributes:
        model: Name of the arm.
        task: Labels.
        protocol: How it was evaluated.
        shown_with: The protocol of its column; of arms without pre-training, the fine-tuned ones'.
        label_fraction: Share of the training patients whose labels were used.
        runs: Macro AUROC of each run on the test records.
        macro_auroc: Mean over the runs, with its interval over patients.
        difference: To the first arm in the same column, paired; None of that arm itself, or where
            it was not evaluated so.
        p_value: Two-sided, from the same resamples.
        validation: Macro AUROC of each run on the validation records, over all labels.
        labels: How many are in the mean.
        left_out: Labels with too few positive or negative test records.
        patients: Number of test patients.
        reading: How the encoder was read.
    """

    model: str
    task: str
    protocol: str
    shown_with: str
    label_fraction: float
    runs: tuple[float, ...]
    macro_auroc: Interval
    difference: Interval | None
    p_value: float | None
    validation: tuple[float, ...]
    labels: int
    left_out: tuple[str, ...]
    patients: int
    reading: ReadingName = "paper"

    @property
    def panel(self) -> str:
        """What heads its panel of the figure: the protocol, and how the encoder was read."""
        return column_heading(self.shown_with, self.reading)

    @property
    def column(self) -> str:
        """What heads its column of the table."""
        return column_heading(self.shown_with, self.reading, self.label_fraction)


def tabulate(plan: ComparisonPlan, out: Path) -> list[TableRow]:
    """Return an entry for every arm in every protocol of a finished comparison."""
    runs: dict[Cell, list[Cell]] = {}
    for cell in list_cells(plan):
        runs.setdefault(cell._replace(seed=-1), []).append(cell)
    return [_entry(plan, out, cells, runs) for cells in runs.values()]


def _entry(
    plan: ComparisonPlan, out: Path, cells: list[Cell], runs: dict[Cell, list[Cell]]
) -> TableRow:
    """Compare an arm's runs with those of the first arm, on the same resamples."""
    cell, first = cells[0], next(iter(plan.arms))
    beside = plan.shown_with(plan.specification(cell.protocol, cell.reading))
    theirs = runs.get(
        cell._replace(arm=first, protocol=beside.name, reading=beside.reading, seed=-1), []
    )
    compared = compare_predictions(
        [out / one.folder for one in cells],
        [out / one.folder for one in theirs or cells],
        model=cell.arm,
        second_model=first if theirs else cell.arm,
        min_positives=plan.min_positives,
    )
    has_difference = bool(theirs) and cell.arm != first
    return TableRow(
        model=cell.arm,
        task=cell.task,
        protocol=cell.protocol,
        shown_with=beside.name,
        reading=beside.reading,
        label_fraction=cell.label_fraction,
        runs=compared.first.runs,
        macro_auroc=compared.first.score,
        difference=compared.difference if has_difference else None,
        p_value=compared.p_value if has_difference else None,
        validation=tuple(read_cell(out, one)["validation_macro_auroc"] for one in cells),
        labels=len(compared.labels),
        left_out=compared.undefined_labels,
        patients=compared.patients,
    )


def as_markdown(entries: list[TableRow], notes: list[str]) -> str:
    """Return two tables per task, scores and differences, and the published numbers."""
    lines = ["# Comparison", "", *(f"- {note}" for note in notes), ""]
    for task in dict.fromkeys(entry.task for entry in entries):
        chosen = [entry for entry in entries if entry.task == task]
        first = chosen[0]
        left_out = f" Left out: {', '.join(first.left_out)}." if first.left_out else ""
        lines += [
            f"## {task}",
            "",
            f"Macro AUROC over {first.labels} labels (95 % interval) ± deviation over "
            f"{len(first.runs)} runs.{left_out}",
            *(["", f"Caution: {caution}."] if (caution := too_few_to_tell(first.patients)) else []),
            "",
            *_grid(chosen, _score),
            "",
            f"Minus {first.model} (95 % interval, p):",
            "",
            *_grid([entry for entry in chosen if entry.difference], _change),
            "",
        ]
    for task in dict.fromkeys(entry.task for entry in entries):
        lines += _published(task)
    return "\n".join(lines).rstrip() + "\n"


def _published(task: str) -> list[str]:
    """Return a table of what others report of a task, if they do."""
    if task not in published.TABLES:
        return []
    note, rows = published.TABLES[task]
    return [
        f"## Published: {task}",
        "",
        f"{published.SOURCE}{note}.",
        "",
        "| model | pre-training | frozen | fine-tuned |",
        "|---|---|---|---|",
        *(
            f"| {row.model} | {row.pretraining} | {_three(row.frozen)} | {_three(row.finetuned)} |"
            for row in rows
        ),
        "",
    ]


def entries_as_json(entries: list[TableRow]) -> list[dict[str, Any]]:
    """Return the entries as JSON content."""
    return [as_json(entry._asdict()) for entry in entries]


def published_as_json(tasks: Sequence[str]) -> dict[str, Any]:
    """Return the published numbers of some tasks as JSON content."""
    known = {task: published.TABLES[task] for task in tasks if task in published.TABLES}
    rows = [{"task": task, **row._asdict()} for task, (_, found) in known.items() for row in found]
    notes = {task: note.removeprefix("; ") for task, (note, _) in known.items() if note}
    return {"source": published.SOURCE, "notes": notes, "rows": rows}


def _grid(entries: list[TableRow], write: Callable[[TableRow], str]) -> list[str]:
    """Return one row per arm and one column per protocol and share of the labels."""
    models = list(dict.fromkeys(entry.model for entry in entries))
    columns = list(dict.fromkeys(entry.column for entry in entries))
    cells = {(entry.model, entry.column): write(entry) for entry in entries}
    return [
        f"| model | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
        *(
            f"| {model} | {' | '.join(cells.get((model, column), '-') for column in columns)} |"
            for model in models
        ),
    ]


def _score(entry: TableRow) -> str:
    spread = f" ± {np.std(entry.runs, ddof=1):.3f}" if len(entry.runs) > 1 else ""
    return _with_bounds(entry.macro_auroc, ".3f") + spread


def _change(entry: TableRow) -> str:
    assert entry.difference is not None
    return f"{_with_bounds(entry.difference, '+.3f')}, {entry.p_value:.3f}"


def _with_bounds(found: Interval, form: str) -> str:
    return f"{found.value:{form}} ({found.low:{form}} to {found.high:{form}})"


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
