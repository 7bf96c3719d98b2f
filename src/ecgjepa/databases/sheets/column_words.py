"""What is reported of a column of labels or numbers, in words."""

import re

from ecgjepa.databases.sheets.words import UNKNOWN, LabelColumn, is_number

_EXAMPLES = 12
# A number with a decimal sign; codes of many digits, such as 164889003,59118001, are none.
_FRACTION = re.compile(r"-?\d{1,6}[.,]\d{1,5}")


def labels_in(column: LabelColumn) -> str:
    """Return a column's name with its labels, and at what its cells were divided."""
    if column.is_flag:
        return column.name
    words = column.vocabulary
    more = len(words) - _EXAMPLES
    some = ", ".join(words[:_EXAMPLES]) + (f" and {more:,} more" if more > 0 else "")
    text = f"{column.name} ({len(words):,}: {some}"
    if column.num_divided:
        signs = " ".join("line ends" if sign == "\n" else f"'{sign}'" for sign in column.separators)
        number = column.num_divided
        cells = (
            "1 cell with several labels is"
            if number == 1
            else f"{number:,} cells with several labels are"
        )
        text += f"; {cells} divided at {signs}"
        text += f", such as {column.example!r}"
    if whole := [word for word in words if "," in word]:
        text += f"; not divided at the comma: {whole[0]!r}, whose parts do not all occur alone"
    return f"{text})"


def range_of(column: LabelColumn) -> str:
    """Return the name of a column of numbers with its least and its greatest.

    They show a decimal sign that was taken for something else.
    """
    cells = _known(column)
    if not cells or not all(map(is_number, cells)):
        return column.name  # A cell that holds no number is refused by name, elsewhere.
    values = [float(cell.replace(",", ".", 1)) for cell in cells]
    return f"{column.name} ({min(values):g} to {max(values):g})"


def measured(column: LabelColumn) -> str:
    """Return a hint if the labels of a column are numbers with a decimal sign, else no words."""
    cells = _known(column)
    example = next((cell for cell in cells if _FRACTION.fullmatch(cell)), None)
    if example is None or column.is_flag or not all(map(is_number, cells)):
        return ""
    return (
        f"column {column.name} holds numbers such as {example!r}, each taken for a label here; "
        "probe --kind regression predicts numbers"
    )


def _known(column: LabelColumn) -> list[str]:
    return [cell for cell in column.cells if cell.lower() not in UNKNOWN]
