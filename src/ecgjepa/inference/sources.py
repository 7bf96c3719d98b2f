"""Read the files that a model is used on: an error is that of one file."""

from pathlib import Path

from ecgjepa.errors import RecordError
from ecgjepa.io import Damaged, read_exact
from ecgjepa.signals.acceptance import OnBad, Source, one_record


def read_source(
    file: str | Path, on_bad: OnBad, description: str | Path | None = None
) -> Source | RecordError:
    """Return a file's record, or why it cannot be used; ``mask`` marks what is damaged."""
    damaged: Damaged = "mask" if on_bad == "mask" else "raise"
    try:
        with one_record(str(file)):
            return read_exact(file, damaged=damaged, description=description)
    except RecordError as error:
        return error
