"""Labels in the cells of a column: yes and no, a word, or several words."""

import re
from collections.abc import Sequence, Set
from typing import NamedTuple

NO = {"0", "0.0", "false", "no", "nein"}
YES = {"1", "1.0", "true", "yes", "ja"}
# How programs write that nothing is known.
UNKNOWN = {"", "nan", "na", "n/a", "#n/a", "null"}
# Names of a column whose words stand for themselves, however many there are.
ANONYMOUS = ("labels", "label")
# Beyond these, cells are text for people: many different words, long ones, hardly ever the same.
_MOST_WORDS, _MOST_LETTERS, _MOST_SHARE, _ROWS_ENOUGH = 50, 60, 0.5, 20
_ALWAYS, _COMMA = ";|\n", ","
# A part that is an abbreviation or a code, such as MI, LBBB or 164889003, and no word in capitals.
_CODE = re.compile(r"[A-Z0-9][A-Z0-9_/+-]{0,5}|(?=.*\d)[A-Z0-9][A-Z0-9_/+-]{0,15}")


class LabelColumn(NamedTuple):
    """The labels of one column.

    Attributes:
        name: Of the column.
        cells: As they are written.
        words: Labels of each row, none for "no"; None for an empty cell, which is unknown.
        is_flag: Whether the cells are yes and no; the label is then the column's name.
        separators: At which cells with several labels were divided.
        num_divided: Cells that were divided.
        example: The first cell that was divided; empty if none was.
    """

    name: str
    cells: tuple[str, ...]
    words: tuple[tuple[str, ...] | None, ...]
    is_flag: bool
    separators: str = ""
    num_divided: int = 0
    example: str = ""

    @property
    def is_anonymous(self) -> bool:
        """Whether the words stand for themselves, as those of a column ``labels``."""
        return self.is_flag or self.name.lower() in ANONYMOUS

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All labels of the column, sorted."""
        if self.is_flag:
            return (self.name,)
        return tuple(sorted({word for words in self.words for word in words or ()}))

    @property
    def num_unknown(self) -> int:
        """Number of empty cells."""
        return sum(words is None for words in self.words)

    def code(self, word: str) -> str:
        """Return what stands in a store for a label of this column."""
        return word if self.is_anonymous else f"{self.name}={word}"


def no_code(column: str) -> str:
    """Return what stands in a store for the "no" of a column of yes and no."""
    return f"{column}=no"


def read_column(name: str, cells: Sequence[str], divide: str = "auto") -> LabelColumn:
    """Return the labels of a column, whatever it holds.

    Args:
        name: Of the column.
        cells: As they are written.
        divide: ``auto``, ``none``, or the signs at which cells with several labels are divided.
    """
    known = {cell.lower() for cell in cells} - UNKNOWN
    if known <= NO | YES:
        flags = tuple(_flag(name, cell) for cell in cells)
        return LabelColumn(name, tuple(cells), flags, is_flag=True)
    divided = _divide_all(cells) if divide == "auto" else _divide_at(cells, divide)
    words = tuple(
        None if cell.lower() in UNKNOWN else tuple(dict.fromkeys(parts))
        for cell, parts in zip(cells, divided, strict=True)
    )
    several = [cell for cell, parts in zip(cells, divided, strict=True) if len(parts) > 1]
    signs = _ALWAYS + _COMMA if divide == "auto" else divide
    used = "".join(
        sign
        for sign in signs
        if any(_is_at(sign, *one) for one in zip(cells, divided, strict=True))
    )
    example = several[0] if several else ""
    return LabelColumn(name, tuple(cells), words, False, used, len(several), example)


def not_labels(column: LabelColumn) -> str | None:
    """Return what the cells of a column are, if they do not look like labels; otherwise None."""
    known = [cell for cell in column.cells if cell.lower() not in UNKNOWN]
    if not known:
        return "empty"
    if column.is_flag or column.name.lower() in ANONYMOUS:
        return None
    if any(map(is_number, known)):
        return "numbers"
    words = column.vocabulary
    different = len({cell.lower() for cell in known})
    if (
        len(words) > _MOST_WORDS
        or max(map(len, words)) > _MOST_LETTERS
        or (len(known) >= _ROWS_ENOUGH and different > _MOST_SHARE * len(known))
    ):
        return f"free text, {different:,} different cells in {len(known):,} rows"
    return None


def is_number(text: str) -> bool:
    """Return whether a cell is a number, with a point or a comma."""
    try:
        float(text.replace(",", ".", 1))
    except ValueError:
        return False
    return True


def _flag(name: str, cell: str) -> tuple[str, ...] | None:
    word = cell.lower()
    return None if word in UNKNOWN else (name,) if word in YES else ()


def _is_at(sign: str, cell: str, parts: list[str]) -> bool:
    """Return whether a cell that is no written list was divided at a sign."""
    if len(parts) < 2 or cell[:1] == "[":
        return False
    return len(_divide(cell, sign)) > 1 and cell.count(sign) > sum(p.count(sign) for p in parts)


def _divide_at(cells: Sequence[str], divide: str) -> list[list[str]]:
    """Divide cells at the signs that a user chose, or at none."""
    if divide == "none":
        return [[_bare(cell)] if _bare(cell) else [] for cell in cells]
    return [_divide(cell, divide) for cell in cells]


def _divide_all(cells: Sequence[str]) -> list[list[str]]:
    """Divide cells at semicolons, bars and line ends, and at a comma only if that gives labels.

    A comma divides a list of labels, and also a phrase such as "infarction, old". It is a list if
    all parts are abbreviations or codes, or if each part is found alone in other cells.
    """
    whole = [_divide(cell, _ALWAYS) for cell in cells]
    alone = {piece for pieces in whole for piece in pieces if _COMMA not in piece}
    return [[part for piece in pieces for part in _listed(piece, alone)] for pieces in whole]


def _listed(piece: str, alone: Set[str]) -> list[str]:
    """Return the labels of a piece of a cell that may be a list with commas."""
    parts = _divide(piece, _COMMA)
    if all(map(_CODE.fullmatch, parts)) or set(parts) <= alone:
        return parts
    return [piece]


def _divide(cell: str, separators: str) -> list[str]:
    """Divide a cell at the separators that are in no quotes and no brackets."""
    if cell[:1] == "[" and cell[-1:] == "]":  # As Python writes a list.
        cell, separators = cell[1:-1], separators + _COMMA
    if not any(sign in cell for sign in separators):
        return [_bare(cell)] if _bare(cell) else []
    parts, quote, depth = [""], "", 0
    for sign in cell:
        is_between = not quote and depth == 0
        if sign == quote:
            quote = ""
        elif is_between and sign in "\"'" and not parts[-1].strip():
            quote = sign
        elif not quote and sign in "([{":
            depth += 1
        elif not quote and sign in ")]}":
            depth = max(0, depth - 1)
        elif is_between and sign in separators:
            parts.append("")
            continue
        parts[-1] += sign
    if quote or depth:  # Never closed, so it was none.
        return [
            part for piece in re.split(f"[{re.escape(separators)}]", cell) if (part := _bare(piece))
        ]
    return [part for piece in parts if (part := _bare(piece))]


def _bare(part: str) -> str:
    part = part.strip()
    if len(part) > 1 and part[0] in "\"'" and part[-1] == part[0]:
        return part[1:-1].strip()
    return part
