"""HDF5 files, among them MATLAB's of version 7.3; reading needs h5py.

A file may hold any number of data sets; the one with the signal is found by its shape or told.
"""

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.arrays.description import read_description
from ecgjepa.io.arrays.layout import choose_array, one_record, record_of_array
from ecgjepa.io.content import MAX_VALUES, require
from ecgjepa.io.opening import open_file
from ecgjepa.signals.record import Record

_MOST_SETS = 20_000
# Of a file of many records, of which one is read at a time.
_MOST_BYTES = 2**40
# A chunk is read whole, for whatever small part of it.
_MOST_CHUNK_BYTES = 2**28
# No data are packed into less.
_MOST_PER_BYTE = 1_032


def read_hdf5(path: Path, place: Path | None = None, key: str | None = None) -> Record:
    """Read one record of an HDF5 file that a description explains.

    Args:
        path: The file.
        place: Its description; None for the one beside it.
        key: Which of its records is meant, see `ecgjepa.io.arrays.layout.keys_of`.

    Returns:
        The leads in mV; what is not a finite number is invalid.

    Raises:
        RecordFormatError: If it is not described, damaged, needs h5py that is missing, or no data
            set is as described.
        UnitError: If the unit is not a voltage.
    """
    described = read_description(path, place, key)
    h5py = require(path, "h5py")
    with open_file(path, _MOST_BYTES) as stream, h5py.File(stream, "r") as file:
        sets: dict[str, Any] = {}
        # Of thousands, only the one that is asked for is looked at.
        if not (described.is_pattern and key and _find_one(h5py, file, key, sets)):
            _find(path, h5py, file, "", sets)
        shapes = {name: _shape(each) for name, each in sets.items()}
        name, described = choose_array(path, shapes, described)
        index, axis, _ = one_record(path, shapes[name], described)
        values = _read(path, sets[name], None if index is None else (index, axis))
    return record_of_array(path, values, described._replace(record=None, key=None))


def shapes_in_hdf5(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the data sets of numbers in a file, by name.

    Raises:
        RecordFormatError: If there are too many, or h5py is missing.
    """
    h5py = require(path, "h5py")
    with open_file(path, _MOST_BYTES) as stream, h5py.File(stream, "r") as file:
        sets: dict[str, Any] = {}
        _find(path, h5py, file, "", sets)
        return {name: _shape(each) for name, each in sets.items()}


def _shape(item: Any) -> tuple[int, ...]:  # noqa: ANN401
    """Return the shape of a data set; MATLAB's axes are stored in reverse order."""
    return item.shape[::-1] if "MATLAB_class" in item.attrs else item.shape


def _read(path: Path, item: Any, chosen: tuple[int, int] | None) -> np.ndarray:  # noqa: ANN401
    """Return a data set or the part at an index of an axis, which stays an axis, of length 1."""
    shape = list(_shape(item))
    if chosen is not None:
        shape[chosen[1]] = 1
    num_bytes = math.prod(item.shape) * item.dtype.itemsize
    if math.prod(shape) > MAX_VALUES or num_bytes > _MOST_PER_BYTE * item.id.get_storage_size():
        raise RecordFormatError(
            f"{path}: {item.name} of shape {item.shape} is too large, or was never written"
        )
    if chosen is None:
        values = item[()]
    else:
        index, axis = chosen
        axis = item.ndim - 1 - axis if "MATLAB_class" in item.attrs else axis
        at = tuple(index if each == axis else slice(None) for each in range(item.ndim))
        values = np.expand_dims(item[at], axis)
    return values.T if "MATLAB_class" in item.attrs else values


def _find(path: Path, h5py: ModuleType, group: Any, prefix: str, sets: dict[str, Any]) -> None:  # noqa: ANN401
    """Collect the data sets of numbers that lie in the file itself, by name."""
    for key in group:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            continue  # it could point to any file of the system
        item, name = group[key], f"{prefix}{key}"
        if isinstance(item, h5py.Group) and prefix.count("/") < 4 and key != "#refs#":
            _find(path, h5py, item, f"{name}/", sets)
        elif isinstance(item, h5py.Dataset):
            _keep(name, item, sets)
        if len(sets) > _MOST_SETS:
            raise RecordFormatError(f"{path}: holds more than {_MOST_SETS:,} data sets")


def _find_one(h5py: ModuleType, group: Any, key: str, sets: dict[str, Any]) -> bool:  # noqa: ANN401
    """Find the data set that a key names, or begins with, as `_find` would; return whether."""
    names = key.split("/")
    for place, name in enumerate(names):
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            return False
        group = group[name]
        if isinstance(group, h5py.Dataset):
            _keep("/".join(names[: place + 1]), group, sets)
            return bool(sets)
    return False


def _keep(name: str, item: Any, sets: dict[str, Any]) -> None:  # noqa: ANN401
    """Keep a data set if it holds numbers, in the file itself."""
    if item.dtype.kind in "iuf" and _is_here(item):
        sets[name] = item


def _is_here(item: Any) -> bool:  # noqa: ANN401
    """Return whether a data set lies in the file, in chunks that can be read."""
    if item.external or item.is_virtual:
        return False
    return not item.chunks or math.prod(item.chunks) * item.dtype.itemsize <= _MOST_CHUNK_BYTES
