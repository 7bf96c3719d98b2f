"""Open a recording of one file in pieces, if it is long and its format allows it."""

from pathlib import Path

from ecgjepa.io.content import named_errors
from ecgjepa.io.long.arrays import open_long_array
from ecgjepa.io.long.devices import open_long_ishne
from ecgjepa.io.long.edf import open_long_edf
from ecgjepa.io.opening import GZIP
from ecgjepa.io.pieces import LONG_VALUES, read_start
from ecgjepa.io.wfdb import Damaged
from ecgjepa.signals.record import LongRecord


def open_long(kind: str, path: Path, damaged: Damaged, place: Path | None) -> LongRecord | None:
    """Return a long recording, or None if it is not long or must be read whole.

    Args:
        kind: Its format.
        path: The file.
        damaged: See `ecgjepa.io.read_record`.
        place: Its description; None for the one beside it.

    Raises:
        RecordError: As its format's reader.
    """
    if path.stat().st_size <= LONG_VALUES:  # No format takes less than a byte a sample.
        return None
    if read_start(path, 2)[0] == GZIP:
        return None
    with named_errors(path, kind):
        match kind:
            case "EDF":
                return open_long_edf(path, place)
            case "ISHNE":
                return open_long_ishne(path, damaged)
            case "NumPy array":
                return open_long_array(path, place)
            case _:
                return None
