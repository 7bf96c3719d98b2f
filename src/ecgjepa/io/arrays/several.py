"""Files of many records: arrays with an axis of records, or with an array for each."""

from pathlib import Path

from ecgjepa.errors import EcgjepaError
from ecgjepa.io.arrays.description import find_description
from ecgjepa.io.arrays.hdf5 import shapes_in_hdf5
from ecgjepa.io.arrays.layout import keys_of
from ecgjepa.io.arrays.matlab import shapes_in_matlab
from ecgjepa.io.arrays.numpy_files import shapes_in_array
from ecgjepa.io.content import named_errors
from ecgjepa.io.opening import ending, read_head

# Endings of files that may hold many records.
BATCHES = {".npy", ".npz", ".mat", ".h5", ".hdf5"}
_HDF5 = b"\x89HDF\r\n\x1a\n"


def keys_in(path: Path, place: Path | None = None) -> tuple[str, ...]:
    """Return what tells the records of a file apart; nothing if it holds one, or is not read.

    ``x.npy#3`` is the record of key 3 in ``x.npy``. Only the heads of arrays are read, but for
    ``.mat`` files and packed ones, which are looked into if their description tells ``axes`` with
    ``records``, or a pattern as ``variable``.

    Args:
        path: The file.
        place: Its description; None for the one beside it.
    """
    if ending(path.name) not in BATCHES:
        return ()
    try:
        described = find_description(path, place)
        if described is None or described.record is not None or described.leads is None:
            return ()
        if not described.is_pattern:
            if described.axes is None and path.suffix.lower() in (".gz", ".mat"):
                return ()
            if described.axes is not None and "records" not in described.axes:
                return ()
        with named_errors(path, "an array"):
            keys = keys_of(path, _shapes(path), described)
        return keys if all(map(is_text, keys)) else ()
    except (EcgjepaError, OSError):
        return ()  # reading it will tell what is wrong


def is_text(name: str) -> bool:
    """Return whether a name can be written as UTF-8, as files and indices need it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    head = read_head(path)
    if head.startswith((b"\x93NUMPY", b"PK\x03\x04")):
        return shapes_in_array(path)
    if _HDF5 in (head[:8], head[512:520]):  # MATLAB puts 512 bytes before it
        return shapes_in_hdf5(path)
    return shapes_in_matlab(path)
