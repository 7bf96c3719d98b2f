"""How a listing tells simulated ECGs and partial copies from a whole database."""

from pathlib import Path

# `ecgjepa.simulation` puts this file beside what it writes.
SIMULATED_FILE = "SIMULATED.txt"


def is_simulated(*folders: Path) -> bool:
    """Return whether one of the folders holds what `ecgjepa.simulation` wrote."""
    return any((folder / SIMULATED_FILE).is_file() for folder in folders)


def simulated_notice(count: int) -> str:
    """Return what a user should know about ``count`` simulated records."""
    return f"{count:,} simulated ECGs; results on them say nothing about patients"


def size_notices(
    *folders: Path, found: int, published: int, things: str = "records"
) -> tuple[str, ...]:
    """Return what to say about a copy's size: simulated, partial, or nothing if it is whole.

    Args:
        *folders: Where the mark of a simulation may lie.
        found: Records in this copy.
        published: Records of the whole database.
        things: What the database calls its records.
    """
    if is_simulated(*folders):
        return (simulated_notice(found),)
    if found != published:
        return (f"partial copy: {found:,} of {published:,} {things}",)
    return ()
