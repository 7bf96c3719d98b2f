"""Folds of every record that is evaluated: told, or ten by a hash of the patient.

`ecgjepa.databases.folds` makes them, for a store and here alike.
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from ecgjepa.databases.folds import hashed_fold, hashed_folds

__all__ = [
    "described",
    "hash_of",
    "hashed_fold",
    "is_published",
    "other_name",
    "tell_the_same",
    "with_folds",
]


def is_published(origin: str) -> bool:
    """Return whether the folds that `with_folds` describes so are the database's own."""
    return origin.startswith("published")


def hash_of(origin: str) -> str:
    """Return of what the folds that `with_folds` describes so are a hash; nothing if of nothing."""
    if is_published(origin):
        return ""
    if counts := re.search(r"\(([\d,]+) of ([\d,]+) known\)", origin):
        known, of = counts.groups()
        return "patient" if known == of else "record" if known == "0" else "patient or record"
    return origin.partition("SHA-256 of the ")[2].partition(" as the store")[0]


def tell_the_same(there: str, origin: str, *, is_same: bool) -> bool:
    """Return whether folds seen elsewhere tell which records were seen here.

    Args:
        there: Of what the folds there are a hash; nothing if they were told.
        origin: Where the folds here are from, as `with_folds` describes it.
        is_same: Whether both are of the database of the same name, not of one and its copy.
    """
    here = hash_of(origin)
    return there == here and (is_same or not here)


def described(of_what: str) -> str:
    """Return in words where folds are from: told, or a hash of something."""
    return f"made by a hash of the {of_what}" if of_what else "told by a table"


def with_folds(
    table: pd.DataFrame, hashed: Mapping[str, str] | None = None
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return a store's index with a fold for every record, and where each database's are from.

    A database in which any record has a fold keeps those, and a record without one is in no part.
    Elsewhere a patient gets a fold by hash; a record of no known patient counts as one.

    Args:
        table: The index.
        hashed: Databases whose folds in the index are by hash already, and of what.
    """
    fold = table["fold"].copy()
    origin = {}
    for database, rows in table.groupby("database", sort=True):
        name = str(database)
        if rows["fold"].notna().any():
            missing = int(rows["fold"].isna().sum())
            of_what = (hashed or {}).get(name)
            words = f"ten, by SHA-256 of the {of_what} as the store has them"
            origin[name] = words if of_what else "published"
            origin[name] += f"; {missing:,} records without one are not used" if missing else ""
            continue
        fold.loc[rows.index] = hashed_folds(name, rows)
        known = int(rows["patient_id"].notna().sum())
        origin[name] = f"ten, by SHA-256 of the patient ({known:,} of {len(rows):,} known)"
        if known < len(rows):
            origin[name] += "; a record without a known patient counts as one patient"
    whole = fold.notna().all()
    return table.assign(fold=fold.astype(np.int64) if whole else fold), origin


def other_name(here: Iterable[str], known: Iterable[str], copied: Iterable[str]) -> str:
    """Return advice if an archive seems to be one that the encoder knows by another name.

    Args:
        here: Names of the databases that are evaluated.
        known: Names of those that the encoder was pre-trained on.
        copied: Which of these hold the same records.
    """
    now, then = set(here), set(copied)
    if len(now) != 1 or len(then) != 1 or now & set(known):
        return ""
    name = then.pop()
    return (
        f". If {now.pop()} is the archive that was called {name} there, give --data {name}=DIR: "
        "folds made by hash depend on the name"
    )
