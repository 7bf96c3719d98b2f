"""What the page says of repeats and of comparisons: tables of many evaluations."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev
from typing import Any, NamedTuple

from ecgjepa.model.outputs import MEASURES
from ecgjepa.reporting.figures import as_data_uri
from ecgjepa.reporting.score_figures import draw_label_efficiency
from ecgjepa.results.layout import COMPARISON_FIGURE, COMPARISON_FILE
from ecgjepa.results.reading import read_summary
from ecgjepa.results.words import column_heading


@dataclass(frozen=True)
class RepeatsSection:
    """The same evaluation for several seeds, shares of the labels or databases.

    Attributes:
        path: Its folder.
        summary: Content of ``summary.json``.
        measure: What the scores are, for people.
        figures: Scores over the share of the labels, by tested database, where there are several
            shares.
    """

    path: Path
    summary: dict[str, Any]
    measure: str
    figures: dict[str, str]


class Grid(NamedTuple):
    """A table of one task: a row per model, a column per protocol and share of the labels.

    Attributes:
        task: Its name.
        first: The model that the others are compared with.
        labels: How many are in the mean.
        left_out: Labels with too few positive or negative test records.
        columns: Heads of the columns.
        rows: By model, an entry of ``comparison.json`` for each column, or None.
    """

    task: str
    first: str
    labels: int
    left_out: list[str]
    columns: list[str]
    rows: dict[str, list[dict[str, Any] | None]]


@dataclass(frozen=True)
class ComparisonSection:
    """A finished comparison: its plan, tables and figure.

    Attributes:
        path: Its folder.
        content: Content of ``comparison.json``.
        grids: A table per task.
        figure: As the comparison drew it; None where that file is gone.
    """

    path: Path
    content: dict[str, Any]
    grids: list[Grid]
    figure: str | None


def describe_repeats(path: Path) -> RepeatsSection:
    """Read the folder of repeats."""
    summary = read_summary(path)
    measure = MEASURES[summary["measure"]]
    by_database: dict[str, list[dict[str, Any]]] = {}
    for row in summary["means"]:
        by_database.setdefault(", ".join(row["test_on"]), []).append(row)
    return RepeatsSection(
        path,
        summary,
        measure,
        {
            name: as_data_uri(draw_label_efficiency(means, measure))
            for name, means in by_database.items()
            if len({row["label_fraction"] for row in means}) > 1
        },
    )


def describe_comparison(path: Path) -> ComparisonSection:
    """Read the folder of a finished comparison."""
    content = json.loads((path / COMPARISON_FILE).read_text(encoding="utf-8"))
    tasks = dict.fromkeys(entry["task"] for entry in content["entries"])
    figure = path / COMPARISON_FIGURE
    return ComparisonSection(
        path,
        content,
        [_grid([one for one in content["entries"] if one["task"] == task]) for task in tasks],
        "data:image/svg+xml;base64," + base64.b64encode(figure.read_bytes()).decode()
        if figure.is_file()
        else None,
    )


def _grid(entries: list[dict[str, Any]]) -> Grid:
    first = entries[0]
    cells = {}
    for entry in entries:
        # Older comparisons tell neither the column nor the reading.
        protocol, reading = (
            entry.get("shown_with", entry["protocol"]),
            entry.get("reading", "paper"),
        )
        column = column_heading(protocol, reading, entry["label_fraction"])
        spread = stdev(entry["runs"]) if len(entry["runs"]) > 1 else None
        cells[entry["model"], column] = {**entry, "spread": spread}
    columns = list(dict.fromkeys(column for _, column in cells))
    models = dict.fromkeys(model for model, _ in cells)
    return Grid(
        first["task"],
        first["model"],
        first["labels"],
        first["left_out"],
        columns,
        {model: [cells.get((model, column)) for column in columns] for model in models},
    )
