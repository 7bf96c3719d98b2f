"""Your own archive: a folder of ECG files, with or without a table that describes them.

Formats may be mixed (`ecgjepa.io.catalogue` lists them). Files are listed by name, and what they
hold is seen when they are read. A record is named by its path without ending, or with it where two
files share the rest. The records of a file of several are named ``exams#0``, ``exams#1``, as
`ecgjepa.io.records_in` tells them.

The table is read by `sheets`.
"""

import difflib
from collections import Counter
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from ecgjepa.databases.folds import HELD_OUT_FOLDS
from ecgjepa.databases.listing import (
    Entry,
    Listing,
    Skip,
    is_simulated,
    read_described,
    read_file,
    simulated_notice,
)
from ecgjepa.databases.sheets.columns import AS_FOUND, SheetOptions
from ecgjepa.databases.sheets.joining import join, named_files, undescribed
from ecgjepa.databases.sheets.reading import ENDINGS
from ecgjepa.databases.sheets.table import read_label_table
from ecgjepa.errors import DatabaseError
from ecgjepa.io import (
    DESCRIBABLE,
    DESCRIBED_ONLY,
    EXPECTED,
    PACKAGES,
    is_described,
    keys_in,
)
from ecgjepa.io.arrays.description import find_description
from ecgjepa.io.content import counted
from ecgjepa.io.folders import find_files, how_to_describe, kinds_of, written_out
from ecgjepa.io.opening import ending, without_ending

# A table of these endings beside the records may be one that describes them.
_TABLES = set(ENDINGS) - {".txt"}


def list_records(
    database: str,
    root: Path,
    table: str | Path | None = None,
    labels: Sequence[str] = (),
    description: str | Path | None = None,
    options: SheetOptions = AS_FOUND,
) -> Listing:
    """List the ECG files anywhere below a folder.

    Args:
        database: The name you give it.
        root: The folder.
        table: Table that describes the records, or None.
        labels: Columns of it that are labels; none: those that look like labels.
        description: File that describes the arrays and tables; None for those beside them.
        options: How the table is read.

    Raises:
        DatabaseError: If there is no record, a package that reads them is missing, or the table is
            not readable, names no record of the folder or contradicts itself.
        RecordFormatError: If the description is missing or not as expected.
    """
    place = None if description is None else Path(description)
    if place is not None:
        find_description(root, place)  # What is wrong with it is not the fault of each file.
    found = find_files(root, is_described_apart=place is not None)
    files, others = (_without(root, paths, table, place) for paths in found)
    read = None if table is None else read_label_table(table, labels, options)
    if read is not None:
        # Reading them will tell what describes a table or array as an ECG.
        unlike = named_files(read, [path for path in others if ending(path) in DESCRIBED_ONLY])
        files = sorted([*files, *unlike], key=lambda path: path.split("/"))
        others = [path for path in others if path not in set(unlike)]
    files, refused = _refuse_odd_names(files)
    if not files:
        if refused:
            raise DatabaseError(f"{database}: {refused[0].detail}; no other ECG file is there")
        raise DatabaseError(
            f"{database}: no ECG file anywhere below {root}; expected {EXPECTED}{kinds_of(others)}"
            f"{how_to_describe(others)}"
        )
    _require_packages(database, files)
    paths = [record for one in _named(files) for record in _records_of(root, *one, place)]
    sheets = sorted(path for path in others if ending(path) in _TABLES and "/" not in path)
    notices = _other_files([path for path in others if read is not None or path not in sheets])
    absent: tuple[Skip, ...] = ()
    rows = [undescribed(name, path) for name, path in paths]
    columns: dict[str, tuple[str, ...]] = {}
    told: set[int] = set()
    if read is not None:
        joined = join(
            database, read, paths, [path for path in others if ending(path) in DESCRIBABLE]
        )
        rows, absent, columns = joined.entries, joined.absent, joined.label_columns
        told = {row.fold for row in rows if row.fold is not None}
        notices = (*joined.notices, *notices)
    elif sheets:
        notices = (
            f"{sheets[0]} was not read; to use it, give --table {database}=FILE",
            *notices,
        )
    if place is not None:
        notices = (*_described_twice(root, files), *notices)
    if is_simulated(root):
        notices = (simulated_notice(len(rows)), *notices)
    return Listing(
        database=database,
        root=root,
        table=pd.DataFrame(rows, columns=list(Entry._fields)),
        absent=absent,
        refused=refused,
        notices=notices,
        training_folds=tuple(sorted(told - set(HELD_OUT_FOLDS))) if told else None,
        held_out_folds=HELD_OUT_FOLDS if told else (),
        label_columns=columns,
        reader=read_file if place is None else partial(read_described, place),
        description=place,
    )


def refuse_misspelling(name: str, root: Path, known: list[str]) -> None:
    """Refuse an archive that is likely a database under a wrong name.

    Read as an archive, its folds and its records for testing would not be known.

    Raises:
        DatabaseError: If name or folder look like a database's.
    """
    if meant := difflib.get_close_matches(name.lower().replace("_", "-"), known, n=1, cutoff=0.75):
        raise DatabaseError(
            f"unknown database {name!r}; did you mean {meant[0]!r}? Databases are "
            f"{', '.join(known)}; name an archive of your own otherwise"
        )
    if (root / "ptbxl_database.csv").is_file():
        raise DatabaseError(f"{name}: {root} holds PTB-XL; give it as ptb-xl={root}")


def _refuse_odd_names(files: list[str]) -> tuple[list[str], tuple[Skip, ...]]:
    """Tell apart the files whose names are not UTF-8, as on old shares, which no index can hold."""
    kept, refused = [], []
    for path in files:
        try:
            path.encode()
        except UnicodeEncodeError:
            shown = written_out(path)
            words = f"{shown}: the file's name is not UTF-8; rename it"
            refused.append(Skip(shown, "unreadable_name", words))
        else:
            kept.append(path)
    return kept, tuple(refused)


def _without(root: Path, paths: list[str], *files: str | Path | None) -> list[str]:
    """Leave out table and description, which might lie among the files they describe."""
    for file in files:
        if file is not None:
            name, place = Path(file).name, Path(file).resolve()
            paths = [
                path
                for path in paths
                if not (path.endswith(name) and (root / path).resolve() == place)
            ]
    return paths


def _records_of(root: Path, name: str, path: str, place: Path | None) -> list[tuple[str, str]]:
    """Return name and path of each record of a file, of which an array may have many."""
    keys = keys_in(root / path, place)
    return [(f"{name}#{key}", f"{path}#{key}") for key in keys] or [(name, path)]


def _described_twice(root: Path, files: list[str]) -> tuple[str, ...]:
    """Say that a description takes the place of those that lie beside files."""
    found = [path for path in files if ending(path) in DESCRIBABLE and is_described(root / path)]
    if not found:
        return ()
    words = f"{counted(len(found), 'file has', 'files have')} a description beside them"
    return (f"{words}, such as {found[0]}; the one that was given counts",)


def _named(files: list[str]) -> list[tuple[str, str]]:
    """Return name and path of every record; no two names are the same."""
    stems = [without_ending(path) for path in files]
    # A stem may be another file's path: x.dcm is of x.dcm.xml.
    taken = Counter(stems) + Counter(files)
    pairs = zip(files, stems, strict=True)
    return [(path if taken[stem] > 1 else stem, path) for path, stem in pairs]


def _require_packages(database: str, files: list[str]) -> None:
    """Say at once which package is missing, not for each record."""
    needed = {PACKAGES.get(own) for own in {ending(path) for path in files}}
    missing = sorted(name for name in needed if name and find_spec(name) is None)
    if missing:
        raise DatabaseError(
            f"{database}: its files need {', '.join(missing)}, not installed; run "
            "pip install 'ecgjepa[formats]'"
        )


def _other_files(others: list[str]) -> tuple[str, ...]:
    if not others:
        return ()
    one = "1 file is not an ECG by its name"
    words = one if len(others) == 1 else f"{len(others):,} files are not ECGs by their names"
    words += f" and not used{kinds_of(others)}"
    return (words + how_to_describe(others),)
