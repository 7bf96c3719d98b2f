"""Your own archive: a folder of ECG files, with or without a CSV that describes them.

Formats may be mixed (`ecgjepa.io.catalogue` lists them). Files are listed by name, and what they
hold is seen when they are read. A record is named by its path without ending, or with it where two
files share the rest.

The CSV is read by `archive_table`.
"""

import difflib
import os
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from ecgjepa.databases.archive_table import described, undescribed
from ecgjepa.databases.listing import (
    SIMULATED_FILE,
    Entry,
    Listing,
    Skip,
    is_simulated,
    simulated_notice,
)
from ecgjepa.errors import DatabaseError, RecordError
from ecgjepa.io import DESCRIBED_ONLY, EXPECTED, PACKAGES, is_described, is_fhir
from ecgjepa.io.arrays.description import EXAMPLE, FOLDER_DESCRIPTIONS
from ecgjepa.io.opening import ending, without_ending
from ecgjepa.io.wfdb.header import read_header

# Beside a header they are its signals and annotations.
_WFDB_ENDINGS = {".dat", ".mat", ".atr", ".xws"}
_DESCRIPTION_ENDINGS = (".json", ".yaml", ".yml")
# Endings of recorders' files that WFDB's annotations have too.
_ANNOTATIONS = {".ecg"}


def list_records(database: str, root: Path, table: str | Path | None = None) -> Listing:
    """List the ECG files anywhere below a folder.

    Args:
        database: The name you give it.
        root: The folder.
        table: CSV that describes the records, or None.

    Raises:
        DatabaseError: If there is no record, a package that reads them is missing, or the CSV is
            not readable or contradicts itself.
    """
    files, others = (_without(root, paths, table) for paths in _find(root))
    files, refused = _refuse_odd_names(files)
    if not files:
        if refused:
            raise DatabaseError(f"{database}: {refused[0].detail}; no other ECG file is there")
        raise DatabaseError(
            f"{database}: no ECG file anywhere below {root}; expected {EXPECTED}{_kinds(others)}"
            f"{_how_to_describe(others)}"
        )
    _require_packages(database, files)
    paths = _named(files)
    sheets = sorted(path for path in others if path.endswith(".csv") and "/" not in path)
    notices = _other_files([path for path in others if table is not None or path not in sheets])
    absent: tuple[Skip, ...] = ()
    rows = [undescribed(name, path) for name, path in paths]
    if table is not None:
        rows, absent, found = described(Path(table), paths)
        notices = (*found, *notices)
    elif sheets:
        notices = (
            f"{sheets[0]} was not read; to use it, give --table {database}=FILE",
            *notices,
        )
    if is_simulated(root):
        notices = (simulated_notice(len(rows)), *notices)
    return Listing(
        database=database,
        root=root,
        table=pd.DataFrame(rows, columns=list(Entry._fields)),
        absent=absent,
        refused=refused,
        notices=notices,
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


def _find(root: Path) -> tuple[list[str], list[str]]:
    """Return the ECG files and all others, relative; no file but WFDB headers is opened."""
    files: list[str] = []
    others: list[str] = []
    for folder, _, names in os.walk(root):
        # As text: a million paths as objects would take minutes.
        here = Path(folder).relative_to(root).as_posix()
        prefix = "" if here == "." else f"{here}/"
        ecgs, rest = _sort_out(Path(folder), names)
        files += [prefix + name for name in ecgs]
        others += [prefix + name for name in rest]
    segments = _segments(root, [path for path in files if path.endswith(".hea")])
    kept = [path for path in files if path not in segments]
    return sorted(kept, key=lambda path: path.split("/")), others


def _refuse_odd_names(files: list[str]) -> tuple[list[str], tuple[Skip, ...]]:
    """Tell apart the files whose names are not UTF-8, as on old shares, which no index can hold."""
    kept, refused = [], []
    for path in files:
        try:
            path.encode()
        except UnicodeEncodeError:
            shown = _written_out(path)
            words = f"{shown}: the file's name is not UTF-8; rename it"
            refused.append(Skip(shown, "unreadable_name", words))
        else:
            kept.append(path)
    return kept, tuple(refused)


def _written_out(name: str) -> str:
    """Return a name with the bytes written out that are not UTF-8 and came as surrogates."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _without(root: Path, paths: list[str], table: str | Path | None) -> list[str]:
    """Leave out the table, which might lie among the files it describes."""
    if table is None:
        return paths
    name, place = Path(table).name, Path(table).resolve()
    return [
        path for path in paths if not (path.endswith(name) and (root / path).resolve() == place)
    ]


def _sort_out(folder: Path, names: list[str]) -> tuple[list[str], list[str]]:
    """Return which files of one folder are ECGs, and which are neither that nor belong to one."""
    shown = [name for name in names if not name.startswith(".")]
    headers = {name for name in shown if name.endswith(".hea")}
    has_header = bool(headers)
    ecgs: list[str] = []
    others = [name for name in names if name.startswith(".")]
    for name in shown:
        own = ending(name)
        if name.endswith(".hea") or _is_ecg(folder, name, own, headers):
            ecgs.append(name)
        elif not (has_header and own in _WFDB_ENDINGS) and not _is_ours(name):
            others.append(name)
    return ecgs, others


def _is_ecg(folder: Path, name: str, own: str, headers: set[str]) -> bool:
    """Return whether a file of a single-file format is an ECG by its name."""
    if own not in PACKAGES or _is_ours(name):
        return False
    if own in _WFDB_ENDINGS and f"{without_ending(name)}.hea" in headers:
        return False
    if own in DESCRIBED_ONLY:
        return is_described(folder / name)
    if own == ".json":
        return is_fhir(folder / name)
    # Annotations of WFDB records may have any ending: some databases chose .ecg.
    return own not in _ANNOTATIONS or f"{name.rpartition('.')[0]}.hea" not in headers


def _segments(root: Path, headers: list[str]) -> set[str]:
    """Return the headers of segments, which belong to longer records."""
    segments: set[Path] = set()
    for path in headers:
        try:
            segments |= {segment.path for segment in read_header(root / path).segments}
        except RecordError:
            continue  # Reading the record will tell what is wrong.
    return {path.relative_to(root).as_posix() for path in segments}


def _is_ours(name: str) -> bool:
    """Return whether a file is one that this package writes or reads beside ECGs."""
    return name in (*FOLDER_DESCRIPTIONS, SIMULATED_FILE) or (
        name.endswith(_DESCRIPTION_ENDINGS) and ending(name.rpartition(".")[0]) in PACKAGES
    )


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
    words = f"{len(others):,} files are not ECGs by their names and not used{_kinds(others)}"
    return (words + _how_to_describe(others),)


def _how_to_describe(others: list[str]) -> str:
    """Return how arrays and tables that nothing describes become ECGs, or no words."""
    found = [path for path in others if ending(path) in DESCRIBED_ONLY]
    if not found:
        return ""
    return (
        f"; {_written_out(found[0])} and its like are ECGs only if a file beside them, such as "
        f"{FOLDER_DESCRIPTIONS[0]}, tells {EXAMPLE}"
    )


def _kinds(others: list[str]) -> str:
    """Return the commonest endings of files that are not read, as a remark."""
    endings = Counter(Path(path).suffix or Path(path).name for path in others)
    common = ", ".join(each for each, _ in endings.most_common(3))
    return f" (found {_written_out(common)})" if common else ""
