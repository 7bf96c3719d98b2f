"""One table of a comparison: means over runs, intervals over patients, paired differences."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from ecgjepa.comparing import published
from ecgjepa.comparing.cells import Cell, list_cells
from ecgjepa.comparing.plan import ComparisonPlan
from ecgjepa.evaluation.bootstrap import Interval, PatientBootstrap, interval
from ecgjepa.evaluation.metrics import as_json, macro_auroc, patient_ids
from ecgjepa.evaluation.results import PREDICTIONS_FILE


class Entry(NamedTuple):
    """One model in one protocol of one task.

    Attributes:
        model: Arm, residual network, ``untrained`` or ``from scratch``.
        task: Labels.
        protocol: How it was evaluated.
        runs: Macro AUROC of each run on the test records.
        macro_auroc: Their mean, with its interval over patients.
        difference: To the first arm in the same protocol (in ``supervised``: None), paired.
        p_value: Two-sided, from the same resamples.
        validation: Macro AUROC of each run on the validation records, to select by.
    """

    model: str
    task: str
    protocol: str
    runs: tuple[float, ...]
    macro_auroc: Interval
    difference: Interval | None
    p_value: float | None
    validation: tuple[float, ...]


class _Runs(NamedTuple):
    targets: Bool[np.ndarray, "records labels"]
    patients: np.ndarray
    scores: list[Float[np.ndarray, "records labels"]]
    validation: list[float]


def tabulate(plan: ComparisonPlan, out: Path) -> list[Entry]:
    """Return an entry for every model of a finished comparison."""
    runs, reference = _collect(plan, out), next(iter(plan.arms))
    resampled = {key: _resample(found) for key, found in runs.items()}
    entries = []
    for key, found in runs.items():
        task, protocol, model = key
        values = tuple(macro_auroc(found.targets, scores) for scores in found.scores)
        value, other = float(np.mean(values)), runs.get((task, protocol, reference))
        difference, p_value = None, None
        if other is not None and model != reference:
            theirs = np.mean([macro_auroc(other.targets, scores) for scores in other.scores])
            change = resampled[key] - resampled[task, protocol, reference]
            difference = interval(value - float(theirs), change)
            p_value = bootstrap_p_value(change)
        entries.append(
            Entry(
                model,
                task,
                protocol,
                values,
                interval(value, resampled[key]),
                difference,
                p_value,
                tuple(found.validation),
            )
        )
    return entries


def bootstrap_p_value(differences: Float[np.ndarray, " resamples"]) -> float:
    """Return twice the share of resamples on the rarer side of 0, at least 1 in their number."""
    known = differences[np.isfinite(differences)]
    if not known.size:
        return float("nan")
    rarer = min((known <= 0).mean(), (known >= 0).mean())
    return float(min(1.0, max(2 * rarer, 1 / len(known))))


def as_markdown(entries: list[Entry], notes: list[str]) -> str:
    """Return a table per task, and the published numbers."""
    lines = ["# Comparison", "", *(f"- {note}" for note in notes), ""]
    for task in dict.fromkeys(entry.task for entry in entries):
        lines += [
            f"## {task}",
            "",
            "| protocol | model | macro AUROC (95 % interval) | sd of runs | minus first arm | p |",
            "|---|---|---|---|---|---|",
        ]
        for entry in entries:
            if entry.task == task:
                lines.append(_row(entry))
        lines.append("")
    lines += [
        f"## Published: {published.TASK}, 71 labels",
        "",
        f"{published.SOURCE}.",
        "",
        "| model | pre-training | frozen | fine-tuned |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row.model} | {row.pretraining} | {_three(row.frozen)} | {_three(row.finetuned)} |"
        for row in published.ROWS
    ]
    return "\n".join(lines) + "\n"


def entries_as_json(entries: list[Entry]) -> list[dict[str, Any]]:
    """Return the entries as JSON content."""
    return [as_json(entry._asdict()) for entry in entries]


def _row(entry: Entry) -> str:
    spread = f"{np.std(entry.runs, ddof=1):.3f}" if len(entry.runs) > 1 else "one run"
    change = "" if entry.difference is None else _with_bounds(entry.difference, "+.3f")
    p_value = "" if entry.p_value is None else f"{entry.p_value:.3f}"
    return (
        f"| {entry.protocol} | {entry.model} | {_with_bounds(entry.macro_auroc, '.3f')} "
        f"| {spread} | {change} | {p_value} |"
    )


def _with_bounds(found: Interval, form: str) -> str:
    return f"{found.value:{form}} ({found.low:{form}} to {found.high:{form}})"


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _collect(plan: ComparisonPlan, out: Path) -> dict[tuple[str, str, str], _Runs]:
    """Read every cell's predictions, by task, protocol and model."""
    runs: dict[tuple[str, str, str], _Runs] = {}
    for cell in list_cells(plan):
        table = pd.read_parquet(out / cell.folder / PREDICTIONS_FILE)
        for name, rows in table.groupby("model", sort=False):
            model = _model_name(plan, cell, str(name))
            if model is None:
                continue
            test, validation = (_part(rows, part) for part in ("test", "validation"))
            key = (cell.task, cell.protocol, model)
            found = runs.setdefault(
                key, _Runs(test[0], patient_ids(rows["patient_id"][rows["part"] == "test"]), [], [])
            )
            found.scores.append(test[1])
            found.validation.append(macro_auroc(*validation))
    return runs


def _model_name(plan: ComparisonPlan, cell: Cell, name: str) -> str | None:
    """Return the model's name in the table, or None for what another arm has already."""
    if cell.protocol == "supervised" or name == "pre-trained":
        return cell.arm
    if plan.first_alike(cell.arm) != cell.arm:
        return None
    return name if cell.arm == next(iter(plan.arms)) else f"{name} ({cell.arm})"


def _part(rows: pd.DataFrame, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and probabilities of one part's records."""
    chosen = rows[rows["part"] == part]
    columns = [name for name in rows.columns if name.startswith("target:")]
    labels = [name.removeprefix("target:") for name in columns]
    scores = chosen[[f"probability:{label}" for label in labels]].to_numpy(dtype=float)
    return chosen[columns].to_numpy(dtype=bool), scores


def _resample(runs: _Runs) -> Float[np.ndarray, " resamples"]:
    """Return the mean over runs of the macro AUROC, in every resample of the patients.

    Runs are not patients: each resample is the same for all runs and models of a task.
    """
    bootstrap = PatientBootstrap(runs.patients)
    drawn = [bootstrap.macro_auroc(runs.targets, scores) for scores in runs.scores]
    return np.mean(drawn, axis=0)
