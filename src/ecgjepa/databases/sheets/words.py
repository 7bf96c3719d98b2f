"""Labels in the cells of a column: yes and no, a word, or several words."""

import re
from collections import Counter
from collections.abc import Sequence
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
# A part that is an abbreviation or a code, such as MI, LBBB or 164889003.
_CODE = re.compile(r"[A-Z0-9][A-Z0-9_/+-]{0,15}")


class LabelColumn(NamedTuple):
    """The labels of one column.

    Attributes:
        name: Of the column.
        cells: As they are written.
        words: Labels of each row, none for "no"; None for an empty cell, which is unknown.
        is_flag: Whether the cells are yes and no; the label is then the column's name.
        separators: At which cells with several labels were divided.
        num_divided: Cells that were divided.
    """

    name: str
    cells: tuple[str, ...]
    words: tuple[tuple[str, ...] | None, ...]
    is_flag: bool
    separators: str = ""
    num_divided: int = 0

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


def read_column(name: str, cells: Sequence[str]) -> LabelColumn:
    """Return the labels of a column, whatever it holds."""
    known = {cell.lower() for cell in cells} - UNKNOWN
    if known <= NO | YES:
        flags = tuple(_flag(name, cell) for cell in cells)
        return LabelColumn(name, tuple(cells), flags, is_flag=True)
    separators = _separators(cells)
    divided = [_divide(cell, separators) for cell in cells]
    words = tuple(
        None if cell.lower() in UNKNOWN else tuple(dict.fromkeys(parts))
        for cell, parts in zip(cells, divided, strict=True)
    )
    several = [cell for cell, parts in zip(cells, divided, strict=True) if len(parts) > 1]
    used = "".join(one for one in separators if any(one in cell for cell in several))
    return LabelColumn(name, tuple(cells), words, False, used, len(several))


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


def _separators(cells: Sequence[str]) -> str:
    """Return at which signs cells are divided: at a comma only if that gives labels.

    A comma divides a list of labels, and also a phrase such as "infarction, old". It is a list if
    all parts are abbreviations or codes, or if half of the parts are found in other cells too.
    """
    whole = [_divide(cell, _ALWAYS) for cell in cells]
    pieces = [piece for parts in whole for piece in parts]
    divided = [_divide(piece, _COMMA) for piece in pieces]
    parts = [part for several in divided if len(several) > 1 for part in several]
    if not parts:
        return _ALWAYS
    count = Counter(part for several in divided for part in set(several))
    again = sum(count[part] > 1 for part in parts)
    is_list = all(map(_CODE.fullmatch, parts)) or 2 * again >= len(parts)
    return _ALWAYS + _COMMA if is_list and max(map(len, parts)) <= _MOST_LETTERS else _ALWAYS


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
