"""MIMIC-IV-ECG: 800,035 ten-second ECGs of about 160,000 patients, with machine statements.

WFDB records at 500 Hz and 200 per mV, below ``files``; ``record_list.csv`` names them. The leads
lie in the order I, II, III, aVR, aVF, aVL, V1 to V6; like every record, they are put in order by
name. There are no folds, and age and sex are in MIMIC-IV itself. Licence and citation: see
`catalogue`.
"""

import json
from pathlib import Path

import pandas as pd

from ecgjepa.databases.listing import Entry, Listing, Skip, size_notices
from ecgjepa.databases.tables import (
    headers_present,
    read_table,
    refuse_outside_paths,
    require_columns,
)
from ecgjepa.errors import DatabaseError

NAME = "mimic-iv-ecg"
TABLE_FILE = "record_list.csv"
MEASUREMENTS_FILE = "machine_measurements.csv"
NUM_RECORDS = 800_035

_COLUMNS = ("subject_id", "study_id", "path")


def list_records(root: Path) -> Listing:
    """List a copy of MIMIC-IV-ECG, whole or partial.

    A record's labels are the sentences of the cart's automatic report.

    Raises:
        DatabaseError: If a file or column is missing or wrong, or no record is present.
    """
    rows = _read_rows(root)
    present = headers_present(root, rows["path"])
    if not present.any():
        raise DatabaseError(
            f"{NAME}: {root / TABLE_FILE} lists {len(rows):,} records, but none is present; "
            f"expected files such as {root / rows['path'].iloc[0]}.hea"
        )
    missing = rows[~present]
    absent = tuple(
        Skip(study, "absent_from_copy", f"{path}.hea is not in this copy")
        for study, path in zip(missing["study_id"], missing["path"], strict=True)
    )
    rows = rows[present]
    statements, notices = _statements(root)
    table = pd.DataFrame(
        {
            "record_id": rows["study_id"],
            "path": rows["path"] + ".hea",
            "patient_id": rows["subject_id"],
            "fold": None,
            "age": None,
            "sex": None,
            "labels": [statements.get(study, "{}") for study in rows["study_id"]],
        },
        columns=list(Entry._fields),
    )
    return Listing(
        database=NAME,
        root=root,
        table=table.reset_index(drop=True),
        absent=absent,
        notices=(*size_notices(root, found=len(rows), published=NUM_RECORDS), *notices),
    )


def _read_rows(root: Path) -> pd.DataFrame:
    path = root / TABLE_FILE
    if not path.is_file():
        raise DatabaseError(
            f"{NAME}: {path} is missing; expected the folder that holds {TABLE_FILE} and files/"
        )
    rows = read_table(path, dtype=str)
    require_columns(path, rows, _COLUMNS)
    if rows.empty:
        raise DatabaseError(f"{path}: has no rows")
    for column in ("subject_id", "study_id"):
        if empty := int(rows[column].isna().sum()):
            raise DatabaseError(f"{path}: {column} is empty in {empty} rows")
    if rows["study_id"].duplicated().any():
        twice = rows.loc[rows["study_id"].duplicated(), "study_id"].iloc[0]
        raise DatabaseError(f"{path}: study_id {twice} appears twice")
    refuse_outside_paths(path, rows["path"])
    return rows.sort_values("study_id", ignore_index=True)


def _statements(root: Path) -> tuple[dict[str, str], list[str]]:
    """Return each study's sentences as labels, and notices."""
    path = root / MEASUREMENTS_FILE
    if not path.is_file():
        return {}, [f"{MEASUREMENTS_FILE} is missing; the records have no labels"]
    head = read_table(path, nrows=0)
    require_columns(path, head, ("study_id",))
    reports = [name for name in head.columns if str(name).startswith("report_")]
    # Its other columns are wide and not needed.
    table = read_table(path, dtype=str, usecols=["study_id", *reports], keep_default_na=False)
    labels = {}
    for study, *sentences in zip(*(table[name] for name in ["study_id", *reports]), strict=True):
        said = sorted({sentence.strip().rstrip(".") for sentence in sentences} - {""})
        labels[study] = json.dumps(dict.fromkeys(said, 100.0))
    return labels, []
