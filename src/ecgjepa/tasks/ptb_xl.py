"""The seven tasks of PTB-XL, built from its ``scp_statements.csv``."""

import json

import numpy as np
import pandas as pd

from ecgjepa.errors import TaskError
from ecgjepa.tasks.task import Task, check_task

# Numbers of labels on the full database.
NUM_LABELS = {
    "all": 71,
    "diagnostic": 44,
    "subdiagnostic": 23,
    "superdiagnostic": 5,
    "form": 19,
    "rhythm": 12,
    "st-mem": 5,
}
SUPERCLASS_DESCRIPTIONS = {
    "NORM": "normal ECG",
    "MI": "myocardial infarction",
    "STTC": "ST/T change",
    "CD": "conduction disturbance",
    "HYP": "hypertrophy",
}


def build_task(name: str, labels_json: pd.Series, statements: pd.DataFrame) -> Task:
    """Build a task from the statement codes of a store's records.

    Args:
        name: One of `TASKS`.
        labels_json: Per record, a JSON object whose keys are statement codes.
        statements: ``scp_statements.csv``, indexed by code.

    Raises:
        TaskError: If the task is unknown, a code is not in the table, or no record has a label.
    """
    check_task(name)
    groups = _label_of_code(name, statements)
    labels = sorted(set(groups.values()))
    if not labels:
        raise TaskError(f"task {name!r}: scp_statements.csv marks no statement for it")
    column = {label: number for number, label in enumerate(labels)}
    targets = np.zeros((len(labels_json), len(labels)), np.bool_)
    unknown: set[str] = set()
    for row, text in enumerate(labels_json):
        codes = json.loads(text)
        unknown |= set(codes) - set(statements.index)
        for code in codes:
            if code in groups:
                targets[row, column[groups[code]]] = True
    if unknown:
        raise TaskError(
            f"statement codes {', '.join(sorted(unknown))} are in the records but not in "
            "scp_statements.csv; is it of the same version?"
        )
    single = name == "st-mem"
    counts = targets.sum(axis=1)
    rows = np.flatnonzero(counts == 1 if single else counts > 0)
    if not rows.size:
        raise TaskError(f"task {name!r}: none of the {len(labels_json)} records has a label of it")
    found, whole = len(labels), NUM_LABELS[name]
    return Task(
        name=name,
        kind="single-label" if single else "multi-label",
        labels=tuple(labels),
        descriptions=tuple(_describe(label, statements) for label in labels),
        rows=rows,
        targets=targets[rows],
        num_unlabelled=len(labels_json) - len(rows),
        notices=()
        if found == whole
        else (f"scp_statements.csv gives {found} labels; the published task has {whole}",),
    )


def _label_of_code(name: str, statements: pd.DataFrame) -> dict[str, str]:
    """Map each statement code that counts for the task to its label."""
    if name == "all":
        return {code: code for code in statements.index}
    if name in ("diagnostic", "form", "rhythm"):
        return {code: code for code in statements.index[statements[name] == 1]}
    column = "diagnostic_subclass" if name == "subdiagnostic" else "diagnostic_class"
    diagnostic = statements[(statements["diagnostic"] == 1) & statements[column].notna()]
    return {str(code): str(label) for code, label in diagnostic[column].items()}


def _describe(label: str, statements: pd.DataFrame) -> str:
    if label in SUPERCLASS_DESCRIPTIONS:
        return SUPERCLASS_DESCRIPTIONS[label]
    if label in statements.index and "description" in statements:
        return str(statements.loc[label, "description"])
    return label
