"""MATLAB files of version 4 and 5 (``save -v6``, ``-v7``); version 7.3 is HDF5.

Own reader, which takes no more memory than the file can hold: it looks for arrays of numbers, also
within structures (named as in ``ECG.data``), and passes over all else.

Format: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf.
"""

import math
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.arrays.description import read_description
from ecgjepa.io.arrays.layout import choose_array, record_of_array
from ecgjepa.io.content import MAX_VALUES
from ecgjepa.io.opening import MAX_BYTES, read_bytes
from ecgjepa.signals.record import Record

# Storage of numbers: miINT8 to miUINT64.
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8"}
_TYPES |= {13: "u8"}
_MATRIX, _COMPRESSED, _STRUCTURE = 14, 15, 2
_NUMERIC = range(6, 16)  # mxDOUBLE to mxUINT64
_COMPLEX = 0x08
# Version 4: type of the numbers by the tens of the first field.
_OLD_TYPES = {0: "f8", 1: "f4", 2: "i4", 3: "i2", 4: "u2", 5: "u1"}
_DEEPEST = 8
_MOST_ARRAYS = 10_000


class _Array(NamedTuple):
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    content: memoryview

    def values(self, path: Path) -> np.ndarray:
        """Return the numbers; MATLAB writes columns one after another."""
        count = math.prod(self.shape)
        if count > MAX_VALUES or len(self.content) != count * self.dtype.itemsize:
            raise RecordFormatError(
                f"{path}: variable {self.name} holds {len(self.content):,} bytes of an array of "
                f"shape {self.shape}",
                reason="truncated",
            )
        return np.frombuffer(self.content, self.dtype).reshape(self.shape[::-1]).T


def read_matlab(path: Path, place: Path | None = None, key: str | None = None) -> Record:
    """Read a ``.mat`` file that a description explains.

    Args:
        path: The file.
        place: Its description; None for the one beside it.
        key: Which of its records is meant, see `ecgjepa.io.arrays.layout.keys_of`.

    Returns:
        The leads in mV; what is not a finite number is invalid.

    Raises:
        RecordFormatError: If it is not described, damaged, or no array is as described.
        UnitError: If the unit is not a voltage.
    """
    described = read_description(path, place, key)
    arrays = _arrays(path) if key is None else _arrays_again(path, *_state(path))
    shapes = {name: array.shape for name, array in arrays.items()}
    name, described = choose_array(path, shapes, described)
    return record_of_array(path, arrays[name].values(path), described)


def shapes_in_matlab(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays of numbers in a file, by name.

    Raises:
        RecordFormatError: If it is damaged.
    """
    return {name: array.shape for name, array in _arrays_again(path, *_state(path)).items()}


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=1)
def _arrays_again(path: Path, size: int, time_ns: int) -> dict[str, _Array]:
    """Keep the arrays of one file, for its records are asked for one after another."""
    del size, time_ns
    return _arrays(path)


def _arrays(path: Path) -> dict[str, _Array]:
    content = memoryview(read_bytes(path))
    is_new = bytes(content[:10]) == b"MATLAB 5.0"
    found = _arrays_5(path, content) if is_new else _arrays_4(path, content)
    arrays: dict[str, _Array] = {}
    for array in found:
        arrays[array.name] = array
        if len(arrays) > _MOST_ARRAYS:
            raise RecordFormatError(f"{path}: holds more than {_MOST_ARRAYS:,} arrays")
    return arrays


def _arrays_4(path: Path, content: memoryview) -> Iterator[_Array]:
    """Yield the arrays of a version 4 file: a head of five numbers, a name, and the values."""
    at = 0
    while at + 20 <= len(content):
        order = "<" if np.frombuffer(content, "<u4", 1, at)[0] < 10_000 else ">"
        kind, rows, columns, is_complex, length = np.frombuffer(
            content, f"{order}u4", 5, at
        ).tolist()
        if kind % 1000 // 100 or kind // 1000 > 1 or kind // 10 % 10 not in _OLD_TYPES:
            raise RecordFormatError(f"{path}: damaged, or not a MATLAB file of version 4")
        dtype = np.dtype(order + _OLD_TYPES[kind // 10 % 10])
        start = at + 20 + length
        at = start + rows * columns * dtype.itemsize * (2 if is_complex else 1)
        if at > len(content):
            raise RecordFormatError(
                f"{path}: truncated: holds {len(content):,} of {at:,} bytes", reason="truncated"
            )
        if kind % 10 == 0 and not is_complex:
            name = bytes(content[start - length : start]).rstrip(b"\0").decode("latin-1")
            stop = start + rows * columns * dtype.itemsize
            yield _Array(name, (rows, columns), dtype, content[start:stop])


def _arrays_5(path: Path, content: memoryview) -> Iterator[_Array]:
    """Yield the arrays of a version 5 file: a head of 128 bytes, and elements."""
    order = {b"IM": "<", b"MI": ">"}.get(bytes(content[126:128]))
    if order is None:
        raise RecordFormatError(f"{path}: damaged: no byte order in the head of a MATLAB file")
    left = MAX_BYTES
    for kind, part in _elements(path, content[128:], order, aligned=False):
        if kind == _COMPRESSED:
            unpacked = _unpack(path, part, left)
            left -= len(unpacked)
            inner = list(_elements(path, unpacked, order))
        else:
            inner = [(kind, part)]
        for inner_kind, matrix in inner:
            if inner_kind == _MATRIX:
                yield from _arrays_of(path, matrix, order, "", 0)


def _unpack(path: Path, part: memoryview, most: int) -> memoryview:
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(part, most + 1)
    if len(unpacked) > most:
        raise RecordFormatError(f"{path}: unpacks to more than {MAX_BYTES:,} bytes")
    return memoryview(unpacked)


def _elements(
    path: Path, content: memoryview, order: str, *, aligned: bool = True
) -> Iterator[tuple[int, memoryview]]:
    """Yield type and content of each element; those of up to 4 bytes lie within their head."""
    at = 0
    while at + 8 <= len(content):
        kind, size = np.frombuffer(content, f"{order}u4", 2, at).tolist()
        if kind >> 16:
            kind, size, start, step = kind & 0xFFFF, kind >> 16, at + 4, 8
        else:
            start = at + 8
            # Packed elements are not filled up to whole eights.
            step = 8 + (size if kind == _COMPRESSED and not aligned else -(-size // 8) * 8)
        if start + size > len(content):
            raise RecordFormatError(
                f"{path}: truncated: an element of {size:,} bytes begins where "
                f"{len(content) - start:,} are left",
                reason="truncated",
            )
        yield kind, content[start : start + size]
        at += step


def _arrays_of(
    path: Path, matrix: memoryview, order: str, prefix: str, depth: int
) -> Iterator[_Array]:
    """Yield what one matrix holds: itself, or the fields of a structure."""
    parts = list(_elements(path, matrix, order))
    if len(parts) < 4:
        return
    flags = int(np.frombuffer(parts[0][1], f"{order}u4", 1)[0])
    kind, is_complex = flags & 0xFF, flags >> 8 & _COMPLEX
    shape = tuple(np.frombuffer(parts[1][1], f"{order}i4").tolist())
    name = prefix + bytes(parts[2][1]).decode("latin-1")
    if kind == _STRUCTURE and math.prod(shape) == 1 and depth < _DEEPEST:
        width = int(np.frombuffer(parts[3][1], f"{order}i4", 1)[0])
        names = bytes(parts[4][1])
        fields = [names[at : at + width] for at in range(0, len(names), max(width, 1))]
        for field, (_, part) in zip(fields, parts[5:], strict=False):
            inner = f"{name}.{field.split(bytes(1))[0].decode('latin-1')}"
            yield from _arrays_of(path, part, order, inner, depth + 1)
    elif kind in _NUMERIC and not is_complex and parts[3][0] in _TYPES and min(shape) >= 0:
        yield _Array(name, shape, np.dtype(order + _TYPES[parts[3][0]]), parts[3][1])
