"""Read a table as spreadsheets write it: text with any usual separator and encoding, or Parquet."""

import csv
import io
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ecgjepa.errors import DatabaseError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# Endings of files that may be tables of labels.
ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".xlsx", ".xlsm", ".xls", ".ods")
_ZIP, _OLD_OFFICE, _PARQUET = b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"PAR1"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_LINES_LOOKED_AT = 50
_MAX_BYTES = 2_000_000_000


class Sheet(NamedTuple):
    """The cells of a table, as text without spaces around it.

    Attributes:
        path: The file.
        columns: Name of each column, as it is written, to its cells.
        notices: How the file was read, in sentences, where that was not a matter of course.
    """

    path: Path
    columns: dict[str, list[str]]
    notices: tuple[str, ...]

    @property
    def num_rows(self) -> int:
        """Number of rows below the header."""
        return len(next(iter(self.columns.values())))


def read_sheet(path: Path) -> Sheet:
    """Read a table: text in UTF-8, UTF-16 or cp1252, Parquet, or Excel where openpyxl is there.

    Raises:
        DatabaseError: If there is no such file, it is not a table, or a column appears twice.
    """
    if not path.is_file():
        raise DatabaseError(f"{path}: no such file")
    if path.stat().st_size > _MAX_BYTES:
        raise DatabaseError(f"{path}: is larger than {_MAX_BYTES:,} bytes; is it a table?")
    content = path.read_bytes()
    notices: list[str] = []
    if content.startswith(_PARQUET):
        rows = _parquet_rows(path, content)
    elif content.startswith((_ZIP, _OLD_OFFICE)):
        rows = _excel_rows(path)
    else:
        rows, notices = _text_rows(path, content)
    return Sheet(path, _as_columns(path, rows), tuple(notices))


def _text_rows(path: Path, content: bytes) -> tuple[Iterator[tuple[int, list[str]]], list[str]]:
    text, notices = _decode(path, content)
    told = text[:8].lower()
    first, _, rest = text.partition("\n")
    if told.startswith("sep=") and len(first.strip()) == len("sep=;"):
        separator, text = first.strip()[-1], rest  # Excel's own way to name the separator.
    else:
        separator = _sniff(text)
    if separator != ",":
        between = SEPARATORS.get(separator, repr(separator))
        notices.append(f"{path.name} is read with {between} between cells")
    return _parse(path, text, separator), notices


def _decode(path: Path, content: bytes) -> tuple[str, list[str]]:
    if content.startswith(_UTF_16):
        try:
            return content.decode("utf-16"), [f"{path.name} is read as UTF-16"]
        except UnicodeDecodeError as error:
            raise DatabaseError(f"{path}: not readable as UTF-16: {error}") from None
    if b"\0" in content:
        raise DatabaseError(f"{path}: not readable as CSV: it holds zero bytes, so it is not text")
    try:
        return content.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        where = content.count(b"\n", 0, error.start) + 1
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        raise DatabaseError(
            f"{path}: not readable as CSV: line {where} is neither UTF-8 nor cp1252 (Western "
            "European); save the table as UTF-8"
        ) from None
    words = (
        f"{path.name} is read as cp1252 (Western European), for line {where} is not UTF-8: check "
        "that accents and umlauts are right"
    )
    return text, [words]


def _sniff(text: str) -> str:
    """Return the separator that divides the first lines into most columns, equally many in each."""
    lines = text[:200_000].splitlines()[:_LINES_LOOKED_AT]
    best, most = ",", (0.0, 1)
    for separator in SEPARATORS:
        try:
            rows = [row for row in csv.reader(lines, delimiter=separator) if any(row)]
        except csv.Error:
            continue
        width = len(rows[0]) if rows else 1
        if width > 1:
            agreeing = sum(len(row) == width for row in rows) / len(rows)
            if (agreeing, width) > most:
                best, most = separator, (agreeing, width)
    return best


def _parse(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise DatabaseError(
            f"{path}: not readable as CSV: line {reader.line_num}: {error}"
        ) from None


def _parquet_rows(path: Path, content: bytes) -> Iterator[tuple[int, list[str]]]:
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise DatabaseError(f"{path}: not readable as Parquet: {error}") from None
    names = [name for name in table.column_names if not name.startswith("__index_level_")]
    yield 0, names
    columns = [table[name].to_pylist() for name in names]
    for number, row in enumerate(zip(*columns, strict=True), start=1):
        yield number, [_as_text(value) for value in row]


def _excel_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    if path.suffix.lower() not in (".xlsx", ".xlsm") or find_spec("openpyxl") is None:
        raise DatabaseError(
            f"{path}: is a file of Excel or another spreadsheet; save it as CSV there (File, Save "
            "As, 'CSV UTF-8 (comma delimited)') and give that file"
            + ("" if path.suffix.lower() == ".xls" else ", or run pip install openpyxl")
        )
    try:
        book = import_module("openpyxl").load_workbook(path, read_only=True, data_only=True)
        rows = [[_as_text(cell) for cell in row] for row in book.worksheets[0].values]
    except Exception as error:  # a stranger's parser of a stranger's file
        raise DatabaseError(f"{path}: not readable as Excel: {error}") from None
    yield from enumerate(rows, start=1)


def _as_text(value: Any) -> str:  # noqa: ANN401
    """Return a typed cell as the text that a CSV would hold."""
    if value is None or value != value:  # not a number
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return ";".join(map(_as_text, value))
    return str(value)


def _as_columns(path: Path, rows: Iterable[tuple[int, list[str]]]) -> dict[str, list[str]]:
    filled = ((line, [cell.strip() for cell in row]) for line, row in rows)
    filled = ((line, row) for line, row in filled if any(row))
    _, header = next(filled, (0, []))
    if not header:
        raise DatabaseError(f"{path}: not readable as CSV: it is empty")
    while header and not header[-1]:  # A separator at the end of every line.
        header.pop()
    header = [name or f"column {number}" for number, name in enumerate(header, start=1)]
    seen: set[str] = set()
    for name in header:
        if name.lower() in seen:
            raise DatabaseError(f"{path}: column {name} appears twice")
        seen.add(name.lower())
    width, body = len(header), []
    for line, row in filled:
        if any(row[width:]):
            raise DatabaseError(
                f"{path}: line {line}: rows have more cells than the header ({len(row)} and "
                f"{width}); put quotes around a cell that holds the separator"
            )
        body.append(row[:width] + [""] * (width - len(row)))
    cells = zip(*body, strict=True) if body else ([] for _ in header)
    return {name: list(column) for name, column in zip(header, cells, strict=True)}
