"""``.npy`` and ``.npz`` files, which are never unpickled."""

import math
import zipfile
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.arrays.description import read_description
from ecgjepa.io.arrays.layout import choose_variable, one_record, record_of_array
from ecgjepa.io.content import MAX_VALUES
from ecgjepa.io.opening import read_bytes
from ecgjepa.signals.record import Record

_HEADER_BYTES = 10_000
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class _Header(NamedTuple):
    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype
    start: int


def read_array(path: Path, place: Path | None = None) -> Record:
    """Read a ``.npy`` file, or an ``.npz`` file with one array, one named signal, or as described.

    Args:
        path: The file.
        place: Its description; None for the one beside it.

    Returns:
        The leads in mV; what is not a finite number is invalid.

    Raises:
        RecordFormatError: If it is not described, or its array is not as described.
        UnitError: If the unit is not a voltage.
    """
    described = read_description(path, place)
    content = read_bytes(path)
    if content.startswith(b"PK"):
        with zipfile.ZipFile(BytesIO(content)) as archive:
            headers = _headers(archive)
            shapes = {name: header.shape for name, header in headers.items()}
            chosen = choose_variable(path, shapes, described)
            one_record(path, shapes[chosen], described)  # before anything is unpacked
            header, content = headers[chosen], _member(path, archive, chosen, headers[chosen])
    else:
        header = _header(content)
    return record_of_array(path, _values(path, content, header), described)


def _headers(archive: zipfile.ZipFile) -> dict[str, _Header]:
    """Return the heads of all arrays of numbers in an archive; other members are not looked at."""
    headers = {}
    for info in archive.infolist():
        if info.filename.endswith(".npy"):
            with archive.open(info) as member:
                header = _header(member.read(_HEADER_BYTES))
            if header.dtype.kind in "iuf":
                headers[info.filename.removesuffix(".npy")] = header
    return headers


def _member(path: Path, archive: zipfile.ZipFile, name: str, header: _Header) -> bytes:
    """Return the content of an array of an archive, bounded by what its head announces."""
    size = header.start + _num_bytes(path, header)
    with archive.open(f"{name}.npy") as member:
        return member.read(size + 1)


def _header(content: bytes) -> _Header:
    stream = BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version not in _READERS:
        raise ValueError(f"version {version} of the NumPy format is not read")
    shape, is_fortran, dtype = _READERS[version](stream)
    return _Header(shape, is_fortran, dtype, stream.tell())


def _num_bytes(path: Path, header: _Header) -> int:
    num_values = math.prod(header.shape)
    if num_values > MAX_VALUES:
        raise RecordFormatError(
            f"{path}: an array of shape {header.shape} is too large; expected at most "
            f"{MAX_VALUES:,} values"
        )
    return num_values * header.dtype.itemsize


def _values(path: Path, content: bytes, header: _Header) -> np.ndarray:
    """Return the array of a ``.npy`` file's content, which must be as long as announced."""
    if header.dtype.kind not in "iuf":
        raise RecordFormatError(f"{path}: holds {header.dtype} values; expected numbers")
    if len(content) - header.start != _num_bytes(path, header):
        raise RecordFormatError(
            f"{path}: holds {len(content) - header.start:,} bytes of numbers, but announces shape "
            f"{header.shape} of {header.dtype}",
            reason="truncated",
        )
    values = np.frombuffer(content, header.dtype, offset=header.start)
    if header.is_fortran:
        return values.reshape(header.shape[::-1]).T
    return values.reshape(header.shape)
