"""Read the files that a model is used on: an error is that of one file."""

from pathlib import Path

from ecgjepa.errors import RecordError
from ecgjepa.io import DESCRIBABLE, PACKAGES, Damaged, header_of, open_record
from ecgjepa.io.folders import begins_as_recording
from ecgjepa.io.opening import ending, file_and_key
from ecgjepa.signals.acceptance import OnBad, Source, one_record


def read_source(
    file: str | Path, on_bad: OnBad, description: str | Path | None = None
) -> Source | RecordError:
    """Return a file's record, or why it cannot be used; ``mask`` marks what is damaged.

    A long recording is read in pieces, as it is used.

    A description is of arrays, tables and EDF; files of other formats are read without it.
    """
    damaged: Damaged = "mask" if on_bad == "mask" else "raise"
    place = description if description is not None and _is_describable(Path(file)) else None
    try:
        with one_record(str(file)):
            return open_record(file, damaged=damaged, description=place)
    except RecordError as error:
        return error


def _is_describable(file: Path) -> bool:
    path, key = file_and_key(file)
    if key is None and header_of(path) is not None:
        return False
    if (own := ending(path.name)) in PACKAGES:
        return own in DESCRIBABLE
    return not begins_as_recording(path)  # a table may have any ending
