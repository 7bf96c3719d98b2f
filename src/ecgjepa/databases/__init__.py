"""Public ECG databases, each read from the layout in which it is published."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ecgjepa.databases import challenge_2021, ptb_xl
from ecgjepa.databases.listing import Listing
from ecgjepa.errors import DatabaseError
from ecgjepa.signals.record import Record

_LISTERS: dict[str, Callable[[Path], Listing]] = {
    ptb_xl.NAME: ptb_xl.list_records,
    **{name: partial(challenge_2021.list_records, name) for name in challenge_2021.PARTS},
}


def database_names() -> list[str]:
    """Return the names `list_records` knows."""
    return sorted(_LISTERS)


def list_records(database: str, root: str | Path) -> Listing:
    """Return what a database's folder holds, without reading a signal.

    Raises:
        DatabaseError: If the name is unknown or the folder is not laid out as that database.
    """
    if database not in _LISTERS:
        raise DatabaseError(
            f"unknown database {database!r}: expected one of {', '.join(database_names())}"
        )
    root = Path(root)
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise DatabaseError(f"{database}: folder {root} {found}")
    if not any(root.iterdir()):
        raise DatabaseError(f"{database}: folder {root} is empty")
    return _LISTERS[database](root)


def iterate_records(database: str, root: str | Path) -> Iterator[Record]:
    """Yield every record of a database's folder, in order of its listing.

    Raises:
        DatabaseError: As `list_records`.
        RecordError: At the first record that cannot be read.
    """
    listing = list_records(database, root)
    for entry in listing.entries():
        yield listing.read(entry)
