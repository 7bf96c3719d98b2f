"""``.npy`` and ``.npz`` files, which are never unpickled."""

import math
import os
import zipfile
from functools import lru_cache
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.arrays.description import Description, read_description
from ecgjepa.io.arrays.layout import choose_array, one_record, record_of_array
from ecgjepa.io.content import CUT_IT, MAX_VALUES
from ecgjepa.io.opening import open_file
from ecgjepa.signals.record import Record

HEADER_BYTES = 10_000
# Of a file of many records, of which one is read at a time.
_MOST_BYTES = 2**40
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class ArrayHeader(NamedTuple):
    """What the head of a ``.npy`` file tells, and where the numbers begin."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype
    start: int


def read_array(path: Path, place: Path | None = None, key: str | None = None) -> Record:
    """Read a ``.npy`` file, or an ``.npz`` file with one array, one named signal, or as described.

    Args:
        path: The file.
        place: Its description; None for the one beside it.
        key: Which of its records is meant, see `ecgjepa.io.arrays.layout.keys_of`.

    Returns:
        The leads in mV; what is not a finite number is invalid.

    Raises:
        RecordFormatError: If it is not described, or its array is not as described.
        UnitError: If the unit is not a voltage.
    """
    described = read_description(path, place, key)
    with open_file(path, _MOST_BYTES) as stream:
        if stream.read(2) == b"PK":
            stream.seek(0)
            return _read_member(path, stream, described)
        stream.seek(0)
        header = array_header(stream.read(HEADER_BYTES))
        index, axis, _ = one_record(path, header.shape, described)
        if index is not None and axis == 0 and not header.is_fortran:
            values = _read_part(path, stream, header, index)
            return record_of_array(path, values, described._replace(record=None, key=None))
        stream.seek(0)
        content = stream.read(header.start + _num_bytes(path, header) + 1)
    return record_of_array(path, _values(path, content, header), described)


def shapes_in_array(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays of numbers in a file, by name; a ``.npy`` has one.

    Raises:
        RecordFormatError: If it is damaged.
    """
    with open_file(path, _MOST_BYTES) as stream:
        head = stream.read(HEADER_BYTES)
        if not head.startswith(b"PK"):
            return {"": array_header(head).shape}
        with zipfile.ZipFile(stream) as archive:
            return {name: header.shape for name, header in _headers(archive).items()}


def _read_member(path: Path, stream: BufferedIOBase, described: Description) -> Record:
    """Read the record that is meant from the arrays of an archive."""
    with zipfile.ZipFile(stream) as archive:
        headers = _headers(archive)
        shapes = {name: header.shape for name, header in headers.items()}
        chosen, described = choose_array(path, shapes, described)
        one_record(path, shapes[chosen], described)  # before anything is unpacked
        header = headers[chosen]
        if described.key is None:
            content = _member(path, archive, chosen, header)
        else:
            found = path.stat()
            content = _member_again(path, found.st_size, found.st_mtime_ns, chosen, header)
    return record_of_array(path, _values(path, content, header), described)


def _read_part(path: Path, stream: BufferedIOBase, header: ArrayHeader, index: int) -> np.ndarray:
    """Return one record of an array of many, of which the first axis is that of records."""
    check_size(path, stream.seek(0, os.SEEK_END) - header.start, header)
    one = header._replace(shape=(1, *header.shape[1:]))
    num_bytes = _num_bytes(path, one)
    stream.seek(header.start + index * num_bytes)
    return _values(path, stream.read(num_bytes), one._replace(start=0))


def check_size(path: Path, held: int, header: ArrayHeader) -> None:
    """Refuse a file that does not hold as many bytes of numbers as its head announces.

    Raises:
        RecordFormatError: Of the reason ``truncated``.
    """
    if held != math.prod(header.shape) * header.dtype.itemsize:
        raise _wrong_size(path, held, header)


def _wrong_size(path: Path, held: int, header: ArrayHeader) -> RecordFormatError:
    return RecordFormatError(
        f"{path}: holds {held:,} bytes of numbers, but announces shape {header.shape} of "
        f"{header.dtype}",
        reason="truncated",
    )


def _headers(archive: zipfile.ZipFile) -> dict[str, ArrayHeader]:
    """Return the heads of all arrays of numbers in an archive; other members are not looked at."""
    headers = {}
    for info in archive.infolist():
        if info.filename.endswith(".npy"):
            with archive.open(info) as member:
                header = array_header(member.read(HEADER_BYTES))
            if header.dtype.kind in "iuf":
                headers[info.filename.removesuffix(".npy")] = header
    return headers


def _member(path: Path, archive: zipfile.ZipFile, name: str, header: ArrayHeader) -> bytes:
    """Return the content of an array of an archive, bounded by what its head announces."""
    size = header.start + _num_bytes(path, header)
    with archive.open(f"{name}.npy") as member:
        return member.read(size + 1)


@lru_cache(maxsize=1)
def _member_again(path: Path, size: int, time_ns: int, name: str, header: ArrayHeader) -> bytes:
    """Keep one array, for its records are asked for one after another."""
    del size, time_ns
    with open_file(path, _MOST_BYTES) as stream, zipfile.ZipFile(stream) as archive:
        return _member(path, archive, name, header)


def array_header(content: bytes) -> ArrayHeader:
    """Return what the head of a ``.npy`` file tells."""
    stream = BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version not in _READERS:
        raise ValueError(f"version {version} of the NumPy format is not read")
    shape, is_fortran, dtype = _READERS[version](stream)
    return ArrayHeader(shape, is_fortran, dtype, stream.tell())


def _num_bytes(path: Path, header: ArrayHeader) -> int:
    num_values = math.prod(header.shape)
    if num_values > MAX_VALUES:
        raise RecordFormatError(
            f"{path}: an array of shape {header.shape} is too large; expected at most "
            f"{MAX_VALUES:,} values. {CUT_IT}"
        )
    return num_values * header.dtype.itemsize


def _values(path: Path, content: bytes, header: ArrayHeader) -> np.ndarray:
    """Return the array of a ``.npy`` file's content, which must be as long as announced."""
    if header.dtype.kind not in "iuf":
        raise RecordFormatError(f"{path}: holds {header.dtype} values; expected numbers")
    if len(content) - header.start != _num_bytes(path, header):
        raise _wrong_size(path, len(content) - header.start, header)
    values = np.frombuffer(content, header.dtype, offset=header.start)
    if header.is_fortran:
        return values.reshape(header.shape[::-1]).T
    return values.reshape(header.shape)
