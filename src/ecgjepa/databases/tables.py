"""CSV files that come with a database, read with suspicion."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from ecgjepa.errors import DatabaseError

# Larger whole numbers are not told apart as floating-point numbers.
_LARGEST_ID = 2**53


def read_table(path: Path, **options: Any) -> pd.DataFrame:  # noqa: ANN401
    """Read a CSV file; ``options`` go to `pandas.read_csv`.

    Raises:
        DatabaseError: If it is not a CSV file.
    """
    try:
        return pd.read_csv(path, **options)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DatabaseError(f"{path}: not readable as CSV: {error}") from None


def require_columns(path: Path, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    """Raise `DatabaseError` if a column is missing."""
    missing = [name for name in columns if name not in table]
    if missing:
        raise DatabaseError(
            f"{path}: column {', '.join(missing)} is missing; found "
            f"{', '.join(map(str, table.columns))}"
        )


def refuse_outside_paths(path: Path, names: pd.Series) -> None:
    """Raise `DatabaseError` if a column names a file outside the table's own folder."""
    # An empty cell counts as outside, like an absolute path: both begin with an empty part.
    parts = names.astype(object).where(names.notna(), "").astype(str).str.split("/")
    outside = parts.map(lambda part: ".." in part or part[0] == "")
    if outside.any():
        raise DatabaseError(
            f"{path}: {names.name} holds {names[outside].iloc[0]!r}; expected a path inside the "
            "folder"
        )


def numbers(path: Path, cells: pd.Series) -> pd.Series:
    """Return the cells of a column as numbers, empty ones as NaN.

    Raises:
        DatabaseError: If one is not finite.
    """
    try:
        found = pd.to_numeric(cells, errors="coerce").astype(float)
    except OverflowError:  # a whole number of hundreds of digits
        found = cells.map(_as_number).astype(float)
    wrong = (found.isna() & cells.notna()) | np.isinf(found)
    if wrong.any():
        raise DatabaseError(f"{path}: {cells.name} is {cells[wrong].iloc[0]!r}; expected a number")
    return found


def _as_number(cell: object) -> float:
    try:
        return float(str(cell))
    except ValueError:
        return math.nan


def identifiers(path: Path, cells: pd.Series) -> pd.Series:
    """Return a column of whole numbers; some versions write 15709 as 15709.0.

    Raises:
        DatabaseError: If one is missing, no whole number of up to 15 digits, or in the column
            twice.
    """
    found = numbers(path, cells)
    if wrong := int((found.isna() | (found % 1 != 0) | (found.abs() > _LARGEST_ID)).sum()):
        raise DatabaseError(f"{path}: {cells.name} is no whole number in {wrong:,} rows")
    found = found.astype(np.int64)
    if found.duplicated().any():
        twice = found[found.duplicated()].iloc[0]
        raise DatabaseError(f"{path}: {cells.name} {twice} appears twice; expected one row each")
    return found


def patients(path: Path, cells: pd.Series) -> pd.Series:
    """Return patients as text, None where there is none; version 1.0.1 of PTB-XL writes 15709.0.

    Raises:
        DatabaseError: If one is not a number.
    """
    found = numbers(path, cells)
    return found.map(lambda number: None if np.isnan(number) else f"{number:.0f}").astype(object)


def headers_present(root: Path, names: Iterable[str]) -> Bool[np.ndarray, " records"]:
    """Return which of the named WFDB records have a header below ``root``."""
    return np.array([_is_file(root / f"{name}.hea") for name in names], np.bool_)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than the system allows
        return False
