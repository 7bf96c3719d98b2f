"""Folds of every record: the published ones, or ten by a hash of the patient.

The hash is that of PTB-XL's ten folds in size and use: training 1 to 8, selection 9, test 10. It
depends on the patient's name alone, so more records, or another order, move nobody.
"""

import hashlib

import numpy as np
import pandas as pd

NUM_FOLDS = 10


def hashed_fold(database: str, name: str) -> int:
    """Return the fold, 1 to 10, of a patient: SHA-256 of ``database/name`` modulo ten, plus one."""
    digest = hashlib.sha256(f"{database}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % NUM_FOLDS + 1


def is_published(origin: str) -> bool:
    """Return whether the folds that `with_folds` describes so are the database's own."""
    return origin.startswith("published")


def with_folds(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return a store's index with a fold for every record, and where each database's are from.

    A database in which any record has a published fold keeps those, and a record without one is in
    no part. Elsewhere a patient gets a fold by hash; a record of no known patient counts as one.
    """
    fold = table["fold"].copy()
    origin = {}
    for database, rows in table.groupby("database", sort=True):
        if rows["fold"].notna().any():
            missing = int(rows["fold"].isna().sum())
            origin[str(database)] = "published" + (
                f"; {missing:,} records without one are not used" if missing else ""
            )
            continue
        names = rows["patient_id"].where(rows["patient_id"].notna(), rows["record_id"])
        fold.loc[rows.index] = [hashed_fold(str(database), str(name)) for name in names]
        known = int(rows["patient_id"].notna().sum())
        origin[str(database)] = f"ten, by SHA-256 of the patient ({known:,} of {len(rows):,} known)"
        if known < len(rows):
            origin[str(database)] += "; a record without a known patient counts as one patient"
    whole = fold.notna().all()
    return table.assign(fold=fold.astype(np.int64) if whole else fold), origin
