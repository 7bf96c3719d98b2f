"""The table of CODE-15%: exams, patients, abnormalities."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from ecgjepa.databases.tables import identifiers, numbers, read_table, require_columns
from ecgjepa.errors import DatabaseError

TABLE_FILE = "exams.csv"
_ABNORMALITIES = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")
_FLAGS = {name: name for name in _ABNORMALITIES} | {"normal_ecg": "NORM"}
_COLUMNS = ("exam_id", "age", "is_male", *_FLAGS, "patient_id", "trace_file")
_YES, _NO = ("true", "1", "1.0"), ("false", "0", "0.0")


def read_exams(path: Path) -> pd.DataFrame:
    """Return ``exams.csv`` with the columns of `Entry` that it gives, exam_id and trace_file."""
    if not path.is_file():
        raise DatabaseError(
            f"code-15: {path} is missing; expected the folder that holds {TABLE_FILE} and "
            "exams_part0.hdf5"
        )
    cells = read_table(path, dtype=str)
    require_columns(path, cells, _COLUMNS)
    return pd.DataFrame(
        {
            "exam_id": identifiers(path, cells["exam_id"]),
            "patient_id": cells["patient_id"],
            "age": numbers(path, cells["age"]),
            "sex": _flags(path, cells["is_male"]).map({1.0: "male", 0.0: "female"}),
            "labels": _labels_as_json(path, cells),
            "trace_file": cells["trace_file"],
        }
    )


def _flags(path: Path, cells: pd.Series) -> pd.Series:
    """Return the cells as 1.0 or 0.0, empty ones as NaN."""
    flags = cells.str.lower().map(dict.fromkeys(_YES, 1.0) | dict.fromkeys(_NO, 0.0))
    wrong = flags.isna() & cells.notna()
    if wrong.any():
        raise DatabaseError(
            f"{path}: {cells.name} is {cells[wrong].iloc[0]!r}; expected True or False"
        )
    return flags


def _labels_as_json(path: Path, cells: pd.DataFrame) -> list[str]:
    """Few of the combinations of flags occur, so each is written once."""
    held = np.column_stack([_flags(path, cells[column]) == 1.0 for column in _FLAGS])
    combinations, which = np.unique(held, axis=0, return_inverse=True)
    texts = [
        json.dumps(
            {code: 100.0 for code, yes in zip(_FLAGS.values(), row, strict=True) if yes},
            sort_keys=True,
        )
        for row in combinations
    ]
    return [texts[index] for index in which]
