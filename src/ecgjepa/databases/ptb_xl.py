"""PTB-XL: 10-second ECGs with SCP-ECG statements, patients and ten folds.

Three versions differ by withdrawn records; each stores every signal at 100 and at 500 Hz. Licence
and citation: see `catalogue`.
"""

import ast
import json
import math
from pathlib import Path

import pandas as pd

from ecgjepa.databases.listing import (
    DEVICE_COLUMN,
    Entry,
    Listing,
    Skip,
    is_simulated,
    simulated_notice,
)
from ecgjepa.databases.tables import (
    headers_present,
    identifiers,
    numbers,
    patients,
    read_table,
    refuse_outside_paths,
    require_columns,
)
from ecgjepa.errors import DatabaseError

NAME = "ptb-xl"
TABLE_FILE = "ptbxl_database.csv"
STATEMENTS_FILE = "scp_statements.csv"
TRAINING_FOLDS = tuple(range(1, 9))
HELD_OUT_FOLDS = (9, 10)

# Rows of ptbxl_database.csv by version, from the change log of the database.
RECORDS_BY_VERSION = {"1.0.1": 21_837, "1.0.2": 21_801, "1.0.3": 21_799}
EXPECTED_VERSION = "1.0.3"

# What Python's parser raises for a number or a nesting beyond its means.
_TOO_MUCH = (OverflowError, MemoryError, RecursionError)

_COLUMNS = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold")
_FILE_COLUMNS = {500: "filename_hr", 100: "filename_lr"}
_STATEMENT_COLUMNS = ("diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass")


def list_records(root: Path, source_rate: int | None = None) -> Listing:
    """List a copy of PTB-XL, whole or partial, of version 1.0.1 to 1.0.3.

    Args:
        root: Folder with ``ptbxl_database.csv`` and ``records500`` or ``records100``.
        source_rate: Read the 500 Hz or the 100 Hz files; by default 500 Hz where any is present.
            The official 100 Hz files are not a plain resampling of the others (r = 0.988).

    Raises:
        DatabaseError: If a file, column or fold is missing or wrong, or no record is present.
    """
    path = root / TABLE_FILE
    rows = _read_table(root)
    rate = source_rate or (500 if (root / "records500").is_dir() else 100)
    if rate not in _FILE_COLUMNS:
        raise DatabaseError(f"{NAME}: has files at 100 and 500 Hz, not at {rate} Hz")
    column = _FILE_COLUMNS[rate]
    if column not in rows:
        raise DatabaseError(f"{path}: no column {column!r}, which names the files")

    refuse_outside_paths(path, rows[column])
    names = rows[column].astype(str)
    present = headers_present(root, names)
    if not present.any():
        raise DatabaseError(
            f"{NAME}: {path} lists {len(rows)} records, but none of their {rate} Hz "
            f"files is present; expected files such as {root / names.iloc[0]}.hea"
        )
    absent = tuple(
        Skip(str(ecg_id), "absent_from_copy", f"{name}.hea is not in this copy")
        for ecg_id, name in zip(rows.loc[~present, "ecg_id"], names[~present], strict=True)
    )
    table = pd.DataFrame(
        {
            "record_id": rows["ecg_id"].astype(str),
            "path": names + ".hea",
            "patient_id": patients(path, rows["patient_id"]),
            "fold": rows["strat_fold"].astype(int),
            "age": numbers(path, rows["age"]),
            "sex": numbers(path, rows["sex"]).map({0: "male", 1: "female"}),
            "labels": _labels_as_json(root, rows),
        },
        columns=list(Entry._fields),
    )
    if "device" in rows:
        table[DEVICE_COLUMN] = rows["device"].astype("string").str.strip()
    table = table[present]
    return Listing(
        database=NAME,
        root=root,
        table=table.reset_index(drop=True),
        absent=absent,
        notices=_notices(root, len(rows), int(present.sum()), rate),
        training_folds=TRAINING_FOLDS,
        held_out_folds=HELD_OUT_FOLDS,
    )


def read_recorders(root: Path) -> pd.DataFrame:
    """Return ``site`` and ``device``, where the table has them, indexed by record id.

    Raises:
        DatabaseError: If the table is missing or unreadable.
    """
    rows = _read_table(root)
    known = [name for name in ("site", "device") if name in rows]
    return rows[known].set_axis(rows["ecg_id"].astype(str), axis=0)


def read_statements(root: Path) -> pd.DataFrame:
    """Return ``scp_statements.csv``, indexed by statement code.

    Raises:
        DatabaseError: If the file or a column is missing.
    """
    path = root / STATEMENTS_FILE
    if not path.is_file():
        raise DatabaseError(f"{NAME}: {path} is missing; it defines the label groups")
    statements = read_table(path, index_col=0)
    require_columns(path, statements, _STATEMENT_COLUMNS)
    statements.index = statements.index.astype(str)
    return statements


def _read_table(root: Path) -> pd.DataFrame:
    path = root / TABLE_FILE
    if not path.is_file():
        raise DatabaseError(
            f"{NAME}: {path} is missing; expected the folder that holds {TABLE_FILE}, "
            f"{STATEMENTS_FILE} and records500"
        )
    rows = read_table(path)
    require_columns(path, rows, _COLUMNS)
    if rows.empty:
        raise DatabaseError(f"{path}: has no rows")
    rows = rows.assign(ecg_id=identifiers(path, rows["ecg_id"]))
    folds = pd.to_numeric(rows["strat_fold"], errors="coerce")
    wrong = ~folds.isin(range(1, 11))
    if wrong.any():
        row = rows[wrong].iloc[0]
        raise DatabaseError(
            f"{path}: strat_fold of ecg_id {row['ecg_id']} is {row['strat_fold']!r} "
            f"({int(wrong.sum())} such rows); expected a whole number from 1 to 10"
        )
    return rows.assign(strat_fold=folds).sort_values("ecg_id", ignore_index=True)


def _labels_as_json(root: Path, rows: pd.DataFrame) -> list[str]:
    labels = []
    for ecg_id, text in zip(rows["ecg_id"], rows["scp_codes"], strict=True):
        try:
            codes = {str(code): float(value) for code, value in ast.literal_eval(text).items()}
            if not all(map(math.isfinite, codes.values())):
                raise ValueError("JSON holds no infinities")
        except (ValueError, SyntaxError, AttributeError, TypeError, *_TOO_MUCH):
            raise DatabaseError(
                f"{root / TABLE_FILE}: scp_codes of ecg_id {ecg_id} is {text!r}; expected a "
                "dictionary such as {'NORM': 100.0}"
            ) from None
        labels.append(json.dumps(codes, sort_keys=True))
    return labels


def _notices(root: Path, num_rows: int, num_present: int, rate: int) -> tuple[str, ...]:
    notices = []
    by_count = {count: version for version, count in RECORDS_BY_VERSION.items()}
    version = by_count.get(num_rows)
    expected = RECORDS_BY_VERSION[EXPECTED_VERSION]
    if is_simulated(root):
        notices.append(simulated_notice(num_rows))
    elif version is None:
        notices.append(
            f"partial copy: its table has {num_rows:,} records; version {EXPECTED_VERSION} has "
            f"{expected:,}"
        )
    elif version != EXPECTED_VERSION:
        notices.append(
            f"version {version} ({num_rows:,} records); results are usually reported on "
            f"{EXPECTED_VERSION} ({expected:,})"
        )
    if num_present < num_rows:
        notices.append(
            f"{num_rows - num_present:,} of {num_rows:,} records of the table have no {rate} Hz "
            "file in this copy"
        )
    if rate != 500:
        notices.append("only the 100 Hz files are present; they hold nothing above 50 Hz")
    return tuple(notices)
