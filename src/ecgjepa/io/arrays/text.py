"""How a table of text is written: delimiter, decimal sign, titles, names and units.

Found from the first lines, so that tables of spreadsheets, of programs for statistics and of
devices are read alike.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ecgjepa.errors import RecordFormatError

# Delimiter and decimal sign, in the order of preference among equals. A blank is any number of
# them; commas are both only where cells are quoted.
_WAYS = (
    ("\t", "."), (";", "."), (",", "."), ("\t", ","), (";", ","), (" ", "."), (" ", ","),
    (",", ","),
)  # fmt: skip
# A comma after which three digits follow may stand between thousands.
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+")
_COMMENTS = ("#", "%", "//", '"#')
_SAMPLED_LINES = 40
# More columns than any table of leads has; each costs memory before it can be judged.
MOST_COLUMNS = 1_000
_MOST_LINE = 100_000
# The beginning of a line that tells whether it is a row of values.
_BEGINNING = 200
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_PLAIN = re.compile(r"[-+.eE0-9]*")
_BEGINS_AS_ROW = re.compile(r"\s*[-+]?[\d.,]+\s*[;,\t ]\s*[-+]?[\d.]")
# What programs write where there is no value.
MISSING = (
    "",
    "nan",
    "na",
    "n/a",
    "null",
    "none",
    "-",
    "--",
    "?",
    "inf",
    "-inf",
    "+inf",
    "infinity",
)
_MISSING = frozenset(MISSING)
_UNITS = re.compile(r"[\[({]?(?:[mµμun]?V|[mµμun]?s|sec|)[\])}]?", re.IGNORECASE)


class Layout(NamedTuple):
    """How a table of text is written.

    Attributes:
        delimiter: One character; a blank stands for any number of blanks.
        decimal: ``.`` or ``,``.
        names: Names of the columns, or None if there are none.
        num_columns: Number of columns.
        first: Number of lines before the first row of values.
    """

    delimiter: str
    decimal: str
    names: list[str] | None
    num_columns: int
    first: int


def decode(path: Path, content: bytes) -> str:
    """Return the text of a table: UTF-8 or UTF-16 with or without mark, else Latin-1.

    Raises:
        RecordFormatError: If it is not text.
    """
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"", "utf-8-sig")):
        if content.startswith(mark):
            try:
                text = content.decode(encoding)
                break
            except UnicodeDecodeError:
                continue
    else:
        text = content.decode("latin-1")
    if "\0" in text[:4096]:
        raise RecordFormatError(f"{path}: is no table of text: it holds the character NUL")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def find_layout(path: Path, text: str) -> Layout:
    """Return how a table is written.

    Raises:
        RecordFormatError: If no line looks like a row of numbers, or there are too many columns.
    """
    lines = _first_lines(path, text)
    counted = [(index, line) for index, line in enumerate(lines) if line.strip()]
    counted = [(index, line) for index, line in counted if not _is_comment(line)]
    best: tuple[float, int, Layout] | None = None
    together = "\n".join(line for _, line in counted)
    for delimiter, decimal in _WAYS:
        # A table of one column has no delimiter, and is tried as one of commas.
        if (delimiter not in together and delimiter != ",") or (
            decimal == "," and "," not in together
        ):
            continue
        if delimiter == decimal and '","' not in together:
            continue
        fitting = _try(counted, delimiter, decimal)
        if fitting is not None and (best is None or fitting[:2] > best[:2]):
            best = fitting
    if best is None:
        raise RecordFormatError(
            f"{path}: no row of numbers in its first {len(lines)} lines; expected a line of names "
            "and rows of numbers, separated by commas, semicolons, tabs or blanks"
        )
    if best[2].num_columns > MOST_COLUMNS:
        raise RecordFormatError(
            f"{path}: {best[2].num_columns:,} columns; expected a column for each lead and a row "
            "for each sample, not the other way round"
        )
    return best[2]


def split(line: str, delimiter: str) -> list[str]:
    """Return the cells of a line, without quotes and blanks around them."""
    if '"' not in line:
        return line.split() if delimiter == " " else [*map(str.strip, line.split(delimiter))]
    # A quoted cell may hold the delimiter.
    quoted = csv.reader([line], delimiter=delimiter)
    cells = line.split() if delimiter == " " else next(quoted, [])
    return [cell.strip().strip('"').strip() for cell in cells]


def _first_lines(path: Path, text: str) -> list[str]:
    """Return the first lines; what begins a very long one is enough to refuse it."""
    lines: list[str] = []
    at = 0
    while at < len(text) and len(lines) < _SAMPLED_LINES:
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        if end - at > _MOST_LINE:
            raise RecordFormatError(
                f"{path}: line {len(lines) + 1} has {end - at:,} characters; expected a column for "
                "each lead and a row for each sample, not the other way round"
            )
        lines.append(text[at:end])
        at = end + 1
    return lines


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith(_COMMENTS)


def _try(
    lines: list[tuple[int, str]], delimiter: str, decimal: str
) -> tuple[float, int, Layout] | None:
    """Return how well a way of writing fits, its number of columns, and the layout."""
    rows = [(index, split(line, delimiter)) for index, line in lines]
    if decimal == "," and _may_be_thousands(cell for _, cells in rows for cell in cells):
        return None
    numeric = [_are_numbers(cells, decimal) for _, cells in rows]
    # Rows of values have one length, and most of their cells are numbers; lines above may be any.
    counts = Counter(len(kinds) for kinds in numeric if 2 * sum(kinds) > len(kinds))
    if not counts:
        return None
    width = counts.most_common(1)[0][0]
    begins = (
        place
        for place, kinds in enumerate(numeric)
        if len(kinds) == width and 2 * sum(kinds) > width and _has_digit(rows[place][1])
    )
    first = next(begins, None)
    if first is None:
        return None
    body = numeric[first:]
    share = sum(sum(kinds) for kinds in body if len(kinds) == width) / sum(map(len, body))
    names = _names([cells for _, cells in rows[:first]], width)
    if names is None and any(cells for _, cells in rows[:first]):
        share -= 0.01  # a way in which the line of names fits as well is better
    if width == 1 and names and any(sign in names[0] for sign in ",;\t"):
        share -= 0.5  # "I,II" names two columns, not one of decimal commas
    # Rows of values that a way does not take for any are a sign that it is wrong.
    share -= 0.2 * sum(
        _BEGINS_AS_ROW.match(line[:_BEGINNING]) is not None for _, line in lines[:first]
    )
    return share, width, Layout(delimiter, decimal, names, width, rows[first][0])


def _may_be_thousands(cells: Iterable[str]) -> bool:
    """Return whether every comma in numbers could stand between thousands, as in 1,234 µV."""
    numbers = [each for each in cells if "," in each and each.strip("+-,.eE0123456789") == ""]
    return bool(numbers) and all(map(_THOUSANDS.fullmatch, numbers))


def _has_digit(cells: list[str]) -> bool:
    return any(character.isdigit() for cell in cells for character in cell)


def _are_numbers(cells: list[str], decimal: str) -> list[bool]:
    together = "".join(cells)
    if decimal == "." and _PLAIN.fullmatch(together):
        try:
            for cell in cells:
                float(cell)
        except ValueError:
            pass
        else:  # as most rows are: much faster than to look at each cell
            return [True] * len(cells)
    return [_is_number(cell, decimal) for cell in cells]


def _is_number(cell: str, decimal: str) -> bool:
    if decimal == ",":
        number = None if "." in cell else _NUMBER.fullmatch(cell.replace(",", ".", 1))
    else:
        number = _NUMBER.fullmatch(cell)
    return number is not None or cell.lower() in _MISSING


def _names(above: list[list[str]], width: int) -> list[str] | None:
    """Return the names of the columns from the lines above the values, the nearest first.

    A line of units below the names is joined with them. A line that is one cell shorter lacks the
    name of an index, as programs for statistics write it.
    """
    units: list[str] | None = None
    for cells in reversed(above):
        if len(cells) == width - 1 and width > 2:
            cells = ["", *cells]
        if len(cells) != width:
            continue
        if units is None and all(_UNITS.fullmatch(cell) for cell in cells) and any(cells):
            units = [cell.strip("[](){} ") for cell in cells]
            continue
        if units is not None:
            return [
                f"{cell} [{unit}]" if unit else cell
                for cell, unit in zip(cells, units, strict=True)
            ]
        return cells
    return units
