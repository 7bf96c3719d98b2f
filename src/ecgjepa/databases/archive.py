"""Your own archive: a folder of ECG files, with or without a CSV that describes them.

Formats may be mixed (`ecgjepa.io.catalogue` lists them). Files are listed by name, and what they
hold is seen when they are read. A record is named by its path without ending, or with it where two
files share the rest.

The CSV names each record in a column ``record`` (its name, or its path without ending) or ``file``
(its path), relative to the folder. ``patient``, ``fold`` (whole numbers), ``age`` (years), ``sex``
and ``labels`` (codes separated by semicolons) are read where they are. Any other column is taken as
labels too if it can be: of 0 and 1, it gives its own name; of a few words, ``column=word``.
"""

import difflib
import json
import os
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from ecgjepa.databases.listing import Entry, Listing, Skip
from ecgjepa.databases.simulated import SIMULATED_FILE, is_simulated, simulated_notice
from ecgjepa.databases.tables import read_table
from ecgjepa.errors import DatabaseError, RecordError
from ecgjepa.io import EXPECTED, PACKAGES, is_described, is_fhir
from ecgjepa.io.description import FOLDER_DESCRIPTION
from ecgjepa.io.wfdb_header import read_header

_KNOWN = ("record", "file", "patient", "fold", "age", "sex", "labels")
_ALIASES = {"record_id": "record", "path": "file", "filename": "file", "patient_id": "patient"}
_ALIASES |= {"label": "labels", "strat_fold": "fold"}
_SEX = {"male": "male", "m": "male", "female": "female", "f": "female"}
_NO, _YES = {"", "0", "0.0", "false", "no"}, {"1", "1.0", "true", "yes"}
# Beside a header they are its signals and annotations.
_WFDB_ENDINGS = {".dat", ".mat", ".atr", ".xws"}
# Most tables are no ECG, unless a description says so.
_TABLES = {".csv", ".parquet"}
# Endings of recorders' files that WFDB's annotations have too.
_ANNOTATIONS = {".ecg"}
# A column with more different words is no label but a comment, a date or an identifier.
_MOST_WORDS = 50
# The largest fold number that the store's index can hold.
_LAST_FOLD = 32_767


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
    if not files:
        raise DatabaseError(
            f"{database}: no ECG file anywhere below {root}; expected {EXPECTED}{_kinds(others)}"
        )
    _require_packages(database, files)
    paths = _named(files)
    sheets = sorted(path for path in others if path.endswith(".csv") and "/" not in path)
    notices = _other_files([path for path in others if table is not None or path not in sheets])
    absent: tuple[Skip, ...] = ()
    rows = [_undescribed(name, path) for name, path in paths]
    if table is not None:
        rows, absent, found = _described(Path(table), paths)
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
        ending = _ending(name)
        if name.endswith(".hea") or _is_ecg(folder, name, ending, headers):
            ecgs.append(name)
        elif not (has_header and ending in _WFDB_ENDINGS) and not _is_ours(name):
            others.append(name)
    return ecgs, others


def _is_ecg(folder: Path, name: str, ending: str, headers: set[str]) -> bool:
    """Return whether a file of a single-file format is an ECG by its name."""
    if ending not in PACKAGES or _is_ours(name):
        return False
    if ending in _TABLES:
        return is_described(folder / name)
    if ending == ".json":
        return is_fhir(folder / name)
    # Annotations of WFDB records may have any ending: some databases chose .ecg.
    return ending not in _ANNOTATIONS or f"{name.rpartition('.')[0]}.hea" not in headers


def _segments(root: Path, headers: list[str]) -> set[str]:
    """Return the headers of segments, which belong to longer records."""
    segments: set[Path] = set()
    for path in headers:
        try:
            segments |= {segment.path for segment in read_header(root / path).segments}
        except RecordError:
            continue  # Reading the record will tell what is wrong.
    return {path.relative_to(root).as_posix() for path in segments}


def _ending(name: str) -> str:
    return f".{name.rpartition('.')[2].lower()}"


def _is_ours(name: str) -> bool:
    """Return whether a file is one that this package writes or reads beside ECGs."""
    return name in (FOLDER_DESCRIPTION, SIMULATED_FILE) or (
        name.endswith(".json") and _ending(name.removesuffix(".json")) in PACKAGES
    )


def _named(files: list[str]) -> list[tuple[str, str]]:
    """Return name and path of every record; no two names are the same."""
    stems = [path.rpartition(".")[0] for path in files]
    # A stem may be another file's path: x.dcm is of x.dcm.xml.
    taken = Counter(stems) + Counter(files)
    pairs = zip(files, stems, strict=True)
    return [(path if taken[stem] > 1 else stem, path) for path, stem in pairs]


def _require_packages(database: str, files: list[str]) -> None:
    """Say at once which package is missing, not for each record."""
    needed = {PACKAGES.get(ending) for ending in {_ending(path) for path in files}}
    missing = sorted(name for name in needed if name and find_spec(name) is None)
    if missing:
        raise DatabaseError(
            f"{database}: its files need {', '.join(missing)}, not installed; run "
            "pip install 'ecgjepa[formats]'"
        )


def _other_files(others: list[str]) -> tuple[str, ...]:
    if not others:
        return ()
    return (f"{len(others):,} files are no ECG by their names and not used{_kinds(others)}",)


def _kinds(others: list[str]) -> str:
    """Return the commonest endings of files that are not read, as a remark."""
    endings = Counter(Path(path).suffix or Path(path).name for path in others)
    common = ", ".join(ending for ending, _ in endings.most_common(3))
    return f" (found {common})" if common else ""


def _described(
    table: Path, paths: list[tuple[str, str]]
) -> tuple[list[Entry], tuple[Skip, ...], tuple[str, ...]]:
    """Join the records found with the rows of the table."""
    sheet = _read_sheet(table)
    found = dict(paths)
    by_stem = _by_stem(found)
    labels, notices = _labels(sheet)
    entries: dict[str, Entry] = {}
    absent: list[Skip] = []
    for row, codes in zip(_rows(sheet), labels, strict=True):
        name = _resolve(table, row, found, by_stem)
        if name is None:
            wanted = row.get("file") or row["record"]
            absent.append(Skip(wanted, "absent_from_copy", f"{wanted}: not found in the folder"))
            continue
        if name in entries:
            raise DatabaseError(f"{table}: record {name} appears twice; expected one row each")
        entries[name] = _entry(table, name, found[name], row, codes)
    without = [other for other in found if other not in entries]
    entries |= {other: _undescribed(other, found[other]) for other in without}
    if absent:
        notices.append(f"{len(absent):,} rows of {table.name} have no file in the folder")
    if without:
        notices.append(
            f"{len(without):,} records have no row in {table.name}, such as {without[0]}"
        )
    return [entries[name] for name in found], tuple(absent), tuple(notices)


def _by_stem(found: dict[str, str]) -> dict[str, list[str]]:
    """Map each path and its last part, with and without ending, to names."""
    by_stem: dict[str, list[str]] = {}
    for name, path in found.items():
        stem = path.rpartition(".")[0]
        for part in {path, stem, path.rpartition("/")[2], stem.rpartition("/")[2]}:
            by_stem.setdefault(part, []).append(name)
    return by_stem


def _undescribed(name: str, path: str) -> Entry:
    return Entry(name, path, None, None, None, None, "{}")


def _rows(sheet: pd.DataFrame) -> list[dict[str, str]]:
    columns = [sheet[name].tolist() for name in sheet.columns]
    return [dict(zip(sheet.columns, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _read_sheet(table: Path) -> pd.DataFrame:
    if not table.is_file():
        raise DatabaseError(f"{table}: no such file")
    # All as text: a record named 00012 must not become 12.
    sheet = read_table(table, dtype=str, keep_default_na=False)
    names = [str(column).strip().lower() for column in sheet.columns]
    sheet.columns = pd.Index([_ALIASES.get(name, name) for name in names])
    if sheet.columns.has_duplicates:
        twice = sheet.columns[sheet.columns.duplicated()][0]
        raise DatabaseError(f"{table}: column {twice} appears twice (or by two names)")
    if "record" not in sheet and "file" not in sheet:
        raise DatabaseError(
            f"{table}: column record or file is missing; found {', '.join(sheet.columns)}"
        )
    return sheet.apply(lambda column: column.str.strip())


def _resolve(
    table: Path, row: dict[str, str], found: dict[str, str], by_stem: dict[str, list[str]]
) -> str | None:
    """Return the name of the record that a row describes, or None if it is not in the folder."""
    text = row.get("file") or row.get("record", "")
    if not text:
        raise DatabaseError(f"{table}: a row names no record")
    name = text.removeprefix("./")
    for ending in ("", ".dat", ".mat"):
        if name.endswith(ending) and name.removesuffix(ending) in found:
            return name.removesuffix(ending)
    same = by_stem.get(name, [])
    if len(same) > 1:
        raise DatabaseError(
            f"{table}: record {name!r} could be {' or '.join(same[:3])}; give the path"
        )
    return same[0] if same else None


def _entry(table: Path, name: str, path: str, row: dict[str, str], codes: list[str]) -> Entry:
    fold = _number(table, name, "fold", row.get("fold", ""))
    if fold is not None and not (fold == int(fold) and 0 <= fold <= _LAST_FOLD):
        raise DatabaseError(f"{table}: fold of {name} is {row['fold']!r}; expected a whole number")
    return Entry(
        record_id=name,
        path=path,
        patient_id=row.get("patient") or None,
        fold=None if fold is None else int(fold),
        age=_number(table, name, "age", row.get("age", "")),
        sex=_SEX.get(row.get("sex", "").lower()),
        labels=json.dumps(dict.fromkeys(sorted(codes), 100.0)),
    )


def _number(table: Path, name: str, column: str, text: str) -> float | None:
    if text.lower() in ("", "nan", "na", "unknown"):
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise DatabaseError(
            f"{table}: {column} of {name} is {text!r}; expected a number, 0 or more"
        )
    return value


def _labels(sheet: pd.DataFrame) -> tuple[list[list[str]], list[str]]:
    """Return the codes of every row, and notices on the columns they come from."""
    labels: list[list[str]] = [[] for _ in range(len(sheet))]
    used: list[str] = []
    ignored: list[str] = []
    for column in sheet.columns:
        if column in _KNOWN and column != "labels":
            continue
        codes = list(_codes_of(column, sheet[column]) or [])
        (used if codes else ignored).append(column)
        for own, new in zip(labels, codes, strict=False):
            own.extend(code for code in new if code not in own)
    notices = [f"labels come from column {', '.join(used)}"] if used else []
    if ignored:
        notices.append(f"column {', '.join(ignored)} is neither known nor a label; not used")
    return labels, notices


def _codes_of(column: str, cells: pd.Series) -> Iterator[list[str]] | None:
    """Return every row's codes from one column, or None if it holds no labels."""
    if column == "labels":
        return ([code.strip() for code in cell.split(";") if code.strip()] for cell in cells)
    words = {cell.lower() for cell in cells}
    if words <= _NO | _YES:
        return ([column] if cell.lower() in _YES else [] for cell in cells)
    if len(words) > _MOST_WORDS or pd.to_numeric(cells, errors="coerce").notna().any():
        return None
    return ([f"{column}={cell}"] if cell else [] for cell in cells)
