"""CSV files that come with a database, read with suspicion."""

from pathlib import Path
from typing import Any

import pandas as pd

from ecgjepa.errors import DatabaseError


def read_table(path: Path, **options: Any) -> pd.DataFrame:  # noqa: ANN401
    """Read a CSV file; ``options`` go to `pandas.read_csv`.

    Raises:
        DatabaseError: If it is no CSV file.
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
    parts = names.fillna("").astype(str).str.split("/")
    outside = parts.map(lambda part: ".." in part or part[0] == "")
    if outside.any():
        raise DatabaseError(
            f"{path}: {names.name} holds {names[outside].iloc[0]!r}; expected a path inside the "
            "folder"
        )
