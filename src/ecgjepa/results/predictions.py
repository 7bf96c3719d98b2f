"""Read the predictions of evaluations; a record is a pair of database and record id."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from ecgjepa.errors import ScoreError
from ecgjepa.metrics.bootstrap import patient_ids
from ecgjepa.metrics.classification import Scores
from ecgjepa.results.layout import (
    PRE_TRAINED,
    PREDICTIONS_FILE,
    PREDICTIONS_VERSION,
    RESULTS_FILE,
    SPLIT_FILE,
)
from ecgjepa.results.reading import read_results

# Columns of the true labels or values, and of what a model outputs: a probability or a value.
TARGET, PROBABILITY, VALUE = "target", "probability", "value"
_NEEDED = ("model", "part", "record_id", "patient_id")
# Where a table of predictions says of which format version it is.
_VERSION_KEY = "ecgjepa_format_version"
# Database of a record of which no file tells it.
UNKNOWN_DATABASE = ""


class Predictions(NamedTuple):
    """What one model predicts of the test records, as an evaluation wrote it.

    Attributes:
        databases: Database of each record; ``UNKNOWN_DATABASE`` in old files that do not tell it.
        record_ids: Name of each record within its database.
        patients: Patient of each record; a record of no known patient is its own.
        labels: Names of the labels, or of a regression's values.
        targets: True labels, as truth values; of a regression, true values.
        outputs: Probabilities; of a regression, predicted values in the same unit.
    """

    databases: np.ndarray
    record_ids: np.ndarray
    patients: np.ndarray
    labels: tuple[str, ...]
    targets: Shaped[np.ndarray, "records labels"]
    outputs: Scores

    @property
    def is_regression(self) -> bool:
        """Whether values are predicted, not labels."""
        return self.targets.dtype != np.bool_

    @property
    def names_databases(self) -> bool:
        """Whether the database of every record is known."""
        return bool((self.databases != UNKNOWN_DATABASE).all())


def write_table(table: pd.DataFrame, stream: object) -> None:
    """Write predictions as Parquet, with their format version.

    Args:
        table: Columns ``model``, ``part``, ``database``, ``record_id``, ``patient_id``, ``fold``,
            and per label ``target:LABEL`` with ``probability:LABEL`` or ``value:LABEL``.
        stream: Open for writing.
    """
    table = table.copy()
    table.attrs[_VERSION_KEY] = PREDICTIONS_VERSION
    table.to_parquet(stream, index=False)  # type: ignore[call-overload]


def read_table(path: str | Path) -> tuple[Path, pd.DataFrame]:
    """Return the file of an evaluation's predictions and its table, with a column ``database``.

    Files of version 1 name no databases: they are taken from ``split.csv`` beside them or, of a
    single tested database, from ``results.json``; where neither tells, they are unknown.

    Args:
        path: Folder of a probe or fine-tuning, or its ``predictions.parquet``.

    Raises:
        ScoreError: If the file or a column is missing, it is not readable or of a later version,
            or an older file does not fit the ``split.csv`` beside it.
    """
    file = Path(path)
    file = file / PREDICTIONS_FILE if file.is_dir() else file
    try:
        table = pd.read_parquet(file)
    except FileNotFoundError:
        raise ScoreError(
            f"{file}: no such file; give the folder of a probe or fine-tuning"
        ) from None
    except (OSError, ValueError) as error:
        raise ScoreError(f"{file}: no readable Parquet file: {error}") from None
    version = table.attrs.get(_VERSION_KEY, 1)
    if version not in (1, PREDICTIONS_VERSION):
        raise ScoreError(
            f"{file}: format version {str(version)[:40]}; this ecgjepa reads version 1 and "
            f"{PREDICTIONS_VERSION}"
        )
    needed = (*_NEEDED, "database") if version > 1 else _NEEDED
    if missing := set(needed) - set(table):
        raise ScoreError(f"{file}: columns {', '.join(sorted(missing))} are missing")
    if "database" not in table:
        table.insert(2, "database", _old_databases(file.parent, table))
    return file, table


def _old_databases(folder: Path, table: pd.DataFrame) -> np.ndarray:
    """Return the database of every row of a file of version 1.

    Its rows are in the order of ``split.csv``, for each model the validation and the test records.
    """
    found = np.full(len(table), UNKNOWN_DATABASE, dtype=object)
    split = folder / SPLIT_FILE
    if split.is_file():
        parts = pd.read_csv(split, dtype=str, keep_default_na=False)
        for _, rows in table.groupby(["model", "part"], sort=False):
            part = parts[parts["part"] == rows["part"].iloc[0]]
            if part["record_id"].tolist() != rows["record_id"].astype(str).tolist():
                raise ScoreError(
                    f"{folder / PREDICTIONS_FILE}: its {rows['part'].iloc[0]} records are not "
                    f"those of {split}, which tells their databases; evaluate anew"
                )
            found[table.index.get_indexer(rows.index)] = part["database"].to_numpy()
    elif (folder / RESULTS_FILE).is_file():
        facts = read_results(folder).get("data", {})
        names = set(facts.get("tested_on", ["ptb-xl"])) | set(facts.get("trained_on", []))
        if len(names) == 1:
            found[:] = names.pop()
    return found


def read_predictions(path: str | Path, model: str = PRE_TRAINED) -> Predictions:
    """Read one model's test predictions from an evaluation.

    Args:
        path: Folder of a probe or fine-tuning, or its ``predictions.parquet``.
        model: Which of its models.

    Raises:
        ScoreError: If the file, the model or a column is missing, a record comes twice, a true
            label is neither 0 nor 1, or a true value or prediction is not finite.
    """
    file, table = read_table(path)
    rows = table[(table["model"] == model) & (table["part"] == "test")].reset_index(drop=True)
    if rows.empty:
        found = ", ".join(map(str, table["model"].unique()))
        raise ScoreError(f"{file}: no test predictions of model {model!r}; it has those of {found}")
    if twice := int(rows[["database", "record_id"]].duplicated().sum()):
        raise ScoreError(f"{file}: {twice} records come twice")
    labels, output = _columns(file, list(map(str, rows)))
    targets = _numbers(file, rows, TARGET, labels)
    return Predictions(
        databases=rows["database"].to_numpy(dtype=str),
        record_ids=rows["record_id"].to_numpy(dtype=str),
        patients=patient_ids(rows["patient_id"]),
        labels=labels,
        targets=targets if output == VALUE else _as_labels(file, targets, labels),
        outputs=_numbers(file, rows, output, labels),
    )


def columns(frame: pd.DataFrame, kind: str, labels: Sequence[str]) -> np.ndarray:
    """Return the columns ``kind:LABEL`` of predictions, one row per record."""
    return frame[[f"{kind}:{label}" for label in labels]].to_numpy()


def _columns(file: Path, names: list[str]) -> tuple[tuple[str, ...], str]:
    """Return the labels and the kind of output that the columns are of.

    Raises:
        ScoreError: If there are none, of both kinds, or of other labels than the truth.
    """
    labels = {
        kind: [name.removeprefix(f"{kind}:") for name in names if name.startswith(f"{kind}:")]
        for kind in (TARGET, PROBABILITY, VALUE)
    }
    found = [kind for kind in (PROBABILITY, VALUE) if labels[kind]]
    if not labels[TARGET] or len(found) != 1:
        raise ScoreError(
            f"{file}: expected columns target:LABEL with probability:LABEL or, of a regression, "
            f"value:LABEL; found {', '.join(names)}"
        )
    (output,) = found
    for kind, other in ((output, TARGET), (TARGET, output)):
        if lacking := sorted(set(labels[other]) - set(labels[kind])):
            named = ", ".join(f"{kind}:{label}" for label in lacking[:3])
            raise ScoreError(
                f"{file}: {len(lacking)} columns are missing: {named}; the file has {other}:"
                f"{lacking[0]}"
            )
    return tuple(labels[TARGET]), output


def _numbers(
    file: Path, rows: pd.DataFrame, kind: str, labels: tuple[str, ...]
) -> Float[np.ndarray, "records labels"]:
    """Return the columns of a kind, all of whose values have to be finite numbers."""
    columns = rows[[f"{kind}:{label}" for label in labels]]
    try:
        values = columns.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ScoreError(f"{file}: not all columns {kind}:LABEL are numbers: {error}") from None
    wrong = ~np.isfinite(values)
    if wrong.any():
        what = "true values" if kind == TARGET else "scores"
        raise ScoreError(
            f"{file}: the {what} of {int(wrong.any(axis=1).sum())} of {len(values)} records are "
            f"not finite, first in label {labels[int(wrong.any(axis=0).argmax())]!r}"
        )
    return values


def _as_labels(
    file: Path, targets: Float[np.ndarray, "records labels"], labels: tuple[str, ...]
) -> Bool[np.ndarray, "records labels"]:
    wrong = (targets != 0) & (targets != 1)
    if wrong.any():
        label = labels[int(wrong.any(axis=0).argmax())]
        raise ScoreError(
            f"{file}: target:{label} is {targets[wrong][0]:g} in a record; expected 0 or 1 beside "
            "probabilities"
        )
    return targets.astype(np.bool_)
