"""Lists of files: one name a line, or the column ``file`` of a table."""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ecgjepa.errors import InputError
from ecgjepa.io import header_of, is_described
from ecgjepa.io.opening import ending

# Columns that name a record's file, in the order in which they are preferred.
COLUMNS = ("file", "path", "filename", "record", "record_id")
_TABLES = (".csv", ".tsv", ".parquet")
_DELIMITERS = ";\t,"


def is_table_of_files(path: Path) -> bool:
    """Return whether a table is not an ECG but names files: it has a column for that."""
    if ending(path.name) not in _TABLES or not path.is_file() or is_described(path):
        return False
    try:
        return _column(_column_names(path)) is not None
    except (InputError, OSError):
        return False  # Reading it as an ECG will tell what is wrong.


def read_list(path: Path) -> list[str]:
    """Return the names in a list or a table, each as it can be opened from here.

    A relative name is that of a file in the working folder or, if there is none, beside the list.

    Raises:
        InputError: If the file is missing, empty, or a table without a column of files; or if a
            name is that of two files.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such list; expected a text file with a name a line")
    is_table = ending(path.name) in _TABLES
    names = [name for name in (_cells(path) if is_table else _lines(path)) if name]
    if not names:
        raise InputError(f"{path}: names no file")
    return [_place(path, name) for name in names]


def read_lines(stream: Iterable[str]) -> list[str]:
    """Return the names of a stream, one a line, without empty lines."""
    return [name for line in stream if (name := line.rstrip("\r\n"))]


def _place(path: Path, name: str) -> str:
    """Return a name in a list as it leads to a file from the working folder."""
    beside = os.path.join(path.parent, name)  # noqa: PTH118, a million names as text
    if os.path.isabs(name) or os.path.abspath(name) == os.path.abspath(beside):  # noqa: PTH117, PTH100
        return name
    is_here, is_beside = _leads_somewhere(name), _leads_somewhere(beside)
    if is_here and is_beside:
        raise InputError(
            f"{path}: {name} is a file in the working folder and another one beside the list; "
            "expected one of them: write absolute paths"
        )
    return beside if is_beside else name


def _leads_somewhere(name: str) -> bool:
    return os.path.lexists(name) or header_of(Path(name)) is not None


def _lines(path: Path) -> Iterator[str]:
    # Names of files are bytes: what is not UTF-8 may be one all the same.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline=None) as stream:
        yield from read_lines(stream)


def _cells(path: Path) -> list[str]:
    column = _column(names := _column_names(path))
    if column is None:
        raise InputError(
            f"{path}: no column names files; found {', '.join(names)[:200]}; expected one of "
            f"{', '.join(COLUMNS)}"
        )
    if ending(path.name) == ".parquet":
        import pyarrow.parquet as pq  # takes longer to import than a list takes

        values = pq.read_table(path, columns=[names[column]]).column(0).to_pylist()
        return [str(value or "").strip() for value in values]
    text = _text(path)
    rows = csv.reader(io.StringIO(text), delimiter=_delimiter(text))
    next(rows)
    try:
        return [row[column].strip() if len(row) > column else "" for row in rows]
    except csv.Error as error:
        raise InputError(f"{path}: not readable as a table: {error}") from None


def _column(names: list[str]) -> int | None:
    known = [name.strip().lower() for name in names]
    return next((known.index(name) for name in COLUMNS if name in known), None)


def _column_names(path: Path) -> list[str]:
    if ending(path.name) == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return list(pq.read_schema(path).names)
        except pa.ArrowException as error:
            raise InputError(f"{path}: not readable as Parquet: {error}") from None
    text = _text(path)
    return next(csv.reader(io.StringIO(text), delimiter=_delimiter(text)), [])


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _delimiter(text: str) -> str:
    """Return what separates cells: of the usual marks, the commonest of the first line."""
    first = text.partition("\n")[0]
    return max(_DELIMITERS, key=first.count) if first else ","
