"""Public ECG databases, each read from the layout in which it is published, and your own."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ecgjepa.databases import (
    archive,
    challenge_2021,
    challenge_ptb_xl,
    code_15,
    mimic_iv_ecg,
    ptb_xl,
)
from ecgjepa.databases.listing import Listing
from ecgjepa.databases.pseudonyms import count_personal
from ecgjepa.databases.sheets.columns import AS_FOUND, SheetOptions
from ecgjepa.errors import DatabaseError

_LISTERS: dict[str, Callable[[Path], Listing]] = {
    challenge_ptb_xl.NAME: challenge_ptb_xl.list_records,
    code_15.NAME: code_15.list_records,
    mimic_iv_ecg.NAME: mimic_iv_ecg.list_records,
    ptb_xl.NAME: ptb_xl.list_records,
    **{name: partial(challenge_2021.list_records, name) for name in challenge_2021.PARTS},
}

# Copies of another database's records, under other names.
_COPIES = {challenge_ptb_xl.NAME: ptb_xl.NAME}


def original(database: str) -> str:
    """Return the database whose patients and folds a database has: of most, that is itself.

    A fold or a patient of one is the same in all databases of one original, where folds are known.
    """
    return _COPIES.get(database, database)


def highpass_of(database: str) -> float | None:
    """Return the cut-off in Hz of the high-pass that a database's records need, or None.

    It is `Listing.highpass_hz`, known before the database's folder is read.
    """
    if database == code_15.NAME:
        return code_15.HIGHPASS_HZ
    part = challenge_2021.PARTS.get(database)
    return None if part is None else part.highpass_hz


def own_archives(names: Iterable[str]) -> list[str]:
    """Return which names are not those of published databases, and so of archives of your own."""
    return [name for name in names if name not in _LISTERS]


def database_names() -> list[str]:
    """Return the names `list_records` knows."""
    return sorted(_LISTERS)


def list_records(
    database: str,
    root: str | Path,
    table: str | Path | None = None,
    labels: Sequence[str] = (),
    description: str | Path | None = None,
    options: SheetOptions = AS_FOUND,
) -> Listing:
    """Return what a database's folder holds, without reading a signal.

    Args:
        database: One of `database_names`, or any other name for an archive of your own.
        root: Folder of the database.
        table: Table that describes the records of an archive of your own; for the Challenge's copy
            of PTB-XL, PTB-XL's own table.
        labels: Columns of an archive's table that are labels; none: those that look like labels.
        description: File that describes the arrays and tables of an archive of your own, in place
            of those beside them.
        options: How an archive's table is read.

    Raises:
        DatabaseError: If the name looks misspelt or the folder is not laid out as that database.
        RecordFormatError: If the description is missing or not as expected.
    """
    root = Path(root)
    if database not in _LISTERS:
        _refuse_odd_name(database)
        archive.refuse_misspelling(database, root, database_names())
    elif description is not None:
        raise DatabaseError(
            f"{database}: tells what its files hold; {description} is for your own archive"
        )
    elif table is not None and database != challenge_ptb_xl.NAME:
        raise DatabaseError(f"{database}: has tables of its own; {table} is for your own archive")
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise DatabaseError(f"{database}: folder {root} {found}")
    if not any(root.iterdir()):
        raise DatabaseError(f"{database}: folder {root} is empty")
    if database not in _LISTERS:
        own = archive.list_records(database, root, table, labels, description, options)
        return _warn_of_names(own)
    if database == challenge_ptb_xl.NAME:
        return challenge_ptb_xl.list_records(root, None if table is None else Path(table))
    return _LISTERS[database](root)


def _refuse_odd_name(database: str) -> None:
    """Refuse a name that folders, lists of names or a page could not hold.

    Raises:
        DatabaseError: If it is one.
    """
    if not re.fullmatch(r"[^\W_][\w.-]{0,63}", database):
        raise DatabaseError(
            f"database name {database[:80]!r}: expected a letter or digit, and up to 63 letters, "
            "digits, '-', '_' and '.' after it"
        )


def _warn_of_names(listing: Listing) -> Listing:
    """Return an archive's listing with a notice if its ids look like names or dates of birth."""
    ids = listing.table["record_id"].tolist() + listing.table["patient_id"].dropna().tolist()
    if not (count := count_personal(map(str, ids))):
        return listing
    notice = (
        f"{count:,} of {len(ids):,} record and patient ids look like names or dates. A store, its "
        "results and reports keep ids; --pseudonymise KEYFILE replaces them"
    )
    return replace(listing, notices=(*listing.notices, notice))


def list_all(
    databases: Mapping[str, str | Path],
    tables: Mapping[str, str | Path] | None = None,
    labels: Sequence[str] = (),
    descriptions: Mapping[str, str | Path] | None = None,
    options: SheetOptions = AS_FOUND,
) -> list[Listing]:
    """List several databases, in order of their names; arguments by name, as `list_records`.

    Raises:
        DatabaseError: As `list_records`; or if a table or description is given for a database that
            is not, or columns of labels without an archive's table.
        RecordFormatError: As `list_records`.
    """
    tables, descriptions = dict(tables or {}), dict(descriptions or {})
    for what, given in (("table", tables), ("description", descriptions)):
        if strangers := sorted(set(given) - set(databases)):
            raise DatabaseError(f"a {what} is given for {', '.join(strangers)}, but no folder")
    if labels and not set(tables) - set(_LISTERS):
        raise DatabaseError(
            f"{', '.join(labels)} is to be a label, but no archive's table is given with --table"
        )
    if options != AS_FOUND and not set(tables) - set(_LISTERS):
        raise DatabaseError(
            "divide, patient and file are of an archive's table, but none is given with --table"
        )
    if {ptb_xl.NAME, challenge_ptb_xl.NAME} <= set(databases):
        # The Challenge keeps neither folds nor patients; here PTB-XL itself tells them.
        tables.setdefault(challenge_ptb_xl.NAME, Path(databases[ptb_xl.NAME]) / ptb_xl.TABLE_FILE)
    return [
        list_records(name, root, tables.get(name), labels, descriptions.get(name), options)
        for name, root in sorted(databases.items())
    ]
