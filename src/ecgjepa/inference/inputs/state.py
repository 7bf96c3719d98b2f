"""What the files of inputs look like, so that an output notices that one was changed."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from ecgjepa.inference.inputs.records import Inputs
from ecgjepa.inference.inputs.stored import STORE_FILES, StoredRecords
from ecgjepa.io.opening import file_and_key
from ecgjepa.store.source_files import files_of

_NO_FILE = (-1, -1)


def hash_of_state(inputs: Inputs) -> str:
    """Return a hash of name, size and time of change of every file that the inputs lie in.

    Those of a WFDB record are its header and what the header names, those of an array or table the
    file and the descriptions beside it. Contents are not read.
    """
    digest = hashlib.sha256()
    for place, size, time in _look_at(inputs):
        digest.update(place.encode(errors="surrogateescape") + f"\0{size} {time}\0".encode())
    return digest.hexdigest()


def changed_after(inputs: Inputs, time_ns: int) -> list[str]:
    """Return the files of inputs that were written after a time, in ns since 1970."""
    return [place for place, _, time in _look_at(inputs) if time > time_ns]


def _look_at(inputs: Inputs) -> Iterator[tuple[str, int, int]]:
    for section in inputs.sections:
        if isinstance(section, StoredRecords):
            for name in STORE_FILES:
                place = str(section.path / name)
                yield (place, *_look(place))
            continue
        before = ""
        for name in section.names:
            file = str(file_and_key(Path(name))[0]) if "#" in name else name
            if file == before:  # another record of the same file
                continue
            before = file
            folder, own = os.path.split(file)
            for other in files_of(Path(folder), own):
                place = os.path.join(folder, other)  # noqa: PTH118, of each of a million
                yield (place, *_look(place))


def _look(place: str) -> tuple[int, int]:
    """Return size and time of change of a file; both are -1 where there is none."""
    try:
        found = os.stat(place)  # noqa: PTH116
    except (OSError, ValueError):
        return _NO_FILE
    return found.st_size, found.st_mtime_ns
