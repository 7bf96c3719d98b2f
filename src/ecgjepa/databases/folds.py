"""Folds: which records train, which select and which test, in a store as in an evaluation.

Folds mean the same everywhere: 1 to 8 train, 9 selects, 10 tests. Where nothing tells them, there
are ten by a hash of the patient. The hash depends on the names alone, so more records, or another
order, move nobody.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pandas as pd

from ecgjepa.databases.listing import Listing
from ecgjepa.errors import DatabaseError

NUM_FOLDS = 10
TRAINING_FOLDS, HELD_OUT_FOLDS = tuple(range(1, 9)), (9, 10)
Folds = Literal["train", "all"] | Sequence[int]


def hashed_fold(database: str, name: str) -> int:
    """Return the fold, 1 to 10, of a patient: SHA-256 of ``database/name`` modulo ten, plus one."""
    digest = hashlib.sha256(f"{database}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % NUM_FOLDS + 1


def hashed_folds(database: str, table: pd.DataFrame) -> list[int]:
    """Return the fold of every record of a database; one of no known patient counts as a patient.

    Args:
        database: Name of the database.
        table: With columns ``record_id`` and ``patient_id``.
    """
    names = table["patient_id"].where(table["patient_id"].notna(), table["record_id"])
    return [hashed_fold(database, str(name)) for name in names]


def hashed_from(table: pd.DataFrame) -> str:
    """Return of what the folds of `hashed_folds` are a hash: of patients, records, or both."""
    known = table["patient_id"].notna()
    return "patient" if known.all() else "patient or record" if known.any() else "record"


def choose(
    listing: Listing, folds: Folds, *, is_own: bool, beside_folds: bool
) -> tuple[Listing, Listing]:
    """Choose the records of a database that are stored.

    Args:
        listing: All its records.
        folds: ``train``, ``all`` or a list.
        is_own: Whether it is an archive of one's own.
        beside_folds: Whether a list of folds is of other databases, given together with this one.

    Returns:
        All records, with folds by hash if it needs them, and those that are chosen.

    Raises:
        DatabaseError: If a patient is both among the chosen records and those for selection or
            test.
    """
    has_folds = listing.training_folds is not None or bool(listing.table["fold"].notna().any())
    is_labelled = bool(listing.label_columns)
    if folds == "all":
        return (whole := _with_notice(listing, _words_of_all(listing, has_folds))), whole
    if not has_folds and (not is_own if folds == "train" else not is_own and beside_folds):
        words = "" if folds == "train" else _words_of_no_choice(listing, folds)
        return (whole := _with_notice(listing, words)), whole
    if not has_folds and folds == "train" and not is_labelled:
        words = (
            "no table labels these records, so all of them are stored; an encoder that is "
            "pre-trained on them can be evaluated on them with --allow-seen only"
        )
        return (whole := _with_notice(listing, words)), whole
    if not has_folds:
        listing = _hashed(listing)
    if folds != "train":
        chosen = listing.of_folds(tuple(sorted(int(fold) for fold in folds)))
    elif is_own:
        chosen = _for_training(listing)
    else:
        return listing, listing.of_folds(listing.training_folds or ())
    if is_own or listing.hashed_folds:
        _refuse_divided_patients(listing, chosen)
        chosen = _with_notice(chosen, _words_of_choice(listing, chosen, folds))
    return listing, chosen


def _hashed(listing: Listing) -> Listing:
    """Return a listing with folds by hash."""
    folds = hashed_folds(listing.database, listing.table)
    of_what = hashed_from(listing.table)
    return replace(
        listing,
        table=listing.table.assign(fold=pd.Series(folds, listing.table.index, dtype=object)),
        training_folds=TRAINING_FOLDS,
        held_out_folds=HELD_OUT_FOLDS,
        # A pseudonym gives another hash than the name that it stands for.
        hashed_folds=of_what if listing.hide_file is None else f"{of_what}, pseudonymised",
    )


def _for_training(listing: Listing) -> Listing:
    """Return an archive without folds 9 and 10, and without other records of their patients.

    A record of no fold is used by no evaluation, so it may train.
    """
    table = listing.table
    reserved = table["fold"].isin(listing.held_out_folds)
    patients = set(table.loc[reserved, "patient_id"].dropna())
    shared = table["fold"].isna() & table["patient_id"].isin(patients)
    return replace(listing, table=table[~(reserved | shared)])


def _refuse_divided_patients(listing: Listing, chosen: Listing) -> None:
    """Refuse patients of whom some records are stored and others select or test.

    Raises:
        DatabaseError: If there is one.
    """
    left_out = listing.table[~listing.table.index.isin(chosen.table.index)]
    reserved = left_out[left_out["fold"].isin(listing.held_out_folds)]
    stored = chosen.table.dropna(subset=["patient_id"])
    divided = stored[stored["patient_id"].isin(set(reserved["patient_id"].dropna()))]
    if divided.empty:
        return
    one = divided.iloc[0]
    other = reserved[reserved["patient_id"] == one["patient_id"]].iloc[0]
    raise DatabaseError(
        f"{listing.database}: {divided['patient_id'].nunique():,} patients have records both in "
        f"training and in held-out folds, such as {one['record_id']} in fold {_shown(one)} "
        f"and {other['record_id']} in fold {_shown(other)}; scores would be inflated. Give "
        "all records of a patient the same fold, or leave the column of folds out: folds by hash "
        "keep patients together"
    )


def _words_of_choice(whole: Listing, chosen: Listing, folds: Folds) -> str:
    """Return where an archive's folds are from, and who is not stored because of them."""
    table, rows = whole.table, chosen.table
    if whole.hashed_folds:
        known = int(table["patient_id"].notna().sum())
        words = (
            f"nothing tells the folds: they are ten, by a hash of the patient ({known:,} of "
            f"{len(table):,} known), the same as evaluation makes"
        )
    else:
        words = "folds come from the table"
    out = table[~table.index.isin(rows.index)]
    counts = [
        f"{int((out['fold'] == fold).sum()):,} records of fold {fold:g}"
        for fold in sorted(out["fold"].dropna().unique())
    ]
    if shared := int(out["fold"].isna().sum()):
        counts.append(f"{shared:,} of no fold" + (" but of their patients" * (folds == "train")))
    words += f"; {' and '.join(counts) or 'no records'} are left out"
    if kept := int(rows["fold"].isna().sum()):
        words += f"; {kept:,} records of no fold are stored, for no evaluation uses them"
    absent = [fold for fold in whole.held_out_folds if not (table["fold"] == fold).any()]
    if absent:
        numbers = " and ".join(map(str, absent))
        words += (
            f"; no record is in fold {numbers}, on which models are selected (9) or tested (10)"
        )
    return words


def _words_of_all(listing: Listing, has_folds: bool) -> str:
    """Return what storing everything means for an archive that could be evaluated."""
    if not listing.label_columns:
        return ""
    what = "all folds are stored" if has_folds else "all records are stored, without folds"
    return (
        f"{what}: this store is for evaluation; for pre-training prepare another one with --folds "
        "train, or the encoder will have seen what selects and tests"
    )


def _words_of_no_choice(listing: Listing, folds: Folds) -> str:
    numbers = ",".join(map(str, folds))
    return (
        f"{listing.database} has no folds of its own, so all of its records are stored: --folds "
        f"{numbers} chooses in the other databases"
    )


def _with_notice(listing: Listing, words: str) -> Listing:
    return replace(listing, notices=(*listing.notices, words)) if words else listing


def _shown(row: pd.Series) -> str:
    return "none" if pd.isna(row["fold"]) else f"{row['fold']:g}"
