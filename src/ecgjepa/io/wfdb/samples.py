"""The samples of one WFDB record: read directly where they are 16-bit, else by the wfdb package."""

import os
import stat
from collections.abc import Collection
from io import FileIO
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Int16

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.content import CUT_IT, MAX_VALUES, accept_size
from ecgjepa.io.opening import note_whole, open_regular
from ecgjepa.io.pieces import Rows, rows_of
from ecgjepa.io.wfdb.header import Header, SignalSpec
from ecgjepa.signals.record import Issue

Damaged = Literal["raise", "flag", "mask"]
DAMAGED = get_args(Damaged)
# Storage formats that are packed with FLAC.
_FLAC = ("508", "516", "524")
# Storage formats of whole 16-bit samples, lowest byte first and highest byte first.
_WHOLE_16 = {"16": "<i2", "61": ">i2"}
_INVALID_16 = -32768
# Of a signal file; what lies before the samples of a MATLAB file has 24 bytes.
_LONGEST_HEAD = 4096
# A frame of FLAC has a head and an end of 8 bytes, and a head and a value for each channel.
_FLAC_FRAME_BYTES, _FLAC_CHANNEL_BYTES = 8, 2


def has_fast_path(header: Header) -> bool:
    """Return whether the signals lie interleaved in one file of 16-bit samples."""
    return _is_interleaved(header, _WHOLE_16)


def is_packed_212(header: Header) -> bool:
    """Return whether the signals lie interleaved in one file of 12-bit samples."""
    return _is_interleaved(header, ("212",))


def _is_interleaved(header: Header, storages: Collection[str]) -> bool:
    first = header.signals[0] if header.signals else None
    if first is None or first.storage not in storages:
        return False
    return all(
        spec.storage == first.storage
        and spec.samples_per_frame == 1
        and spec.skew == 0
        and spec.file_name == first.file_name
        and spec.byte_offset == first.byte_offset
        for spec in header.signals
    )


def read_interleaved_16(
    header: Header, *, damaged: Damaged
) -> tuple[Int16[np.ndarray, "samples leads"], list[Issue]]:
    """Read one file of interleaved 16-bit samples, bounded by what the file really holds."""
    spec, num_signals = header.signals[0], len(header.signals)
    path = header.path.with_name(spec.file_name)
    with _open_signals(header.path, path) as stream:
        available = os.fstat(stream.fileno()).st_size - spec.byte_offset
        num_samples, issues = _usable_samples(path, header, available, damaged)
        accept_size(path, num_samples, num_signals)
        digital = np.empty((num_samples, num_signals), _WHOLE_16[spec.storage])
        head = b""
        if spec.byte_offset > _LONGEST_HEAD:
            stream.seek(spec.byte_offset)
        elif spec.byte_offset:
            head = stream.read(spec.byte_offset) or b""
        content = digital.data.cast("B")
        if stream.readinto(content) != digital.nbytes:
            raise RecordFormatError(f"{path}: became shorter while it was read", reason="truncated")
        note_whole(path, stream, head, content)
    return digital.astype(np.int16, copy=False), issues


def rows_of_16(header: Header, *, damaged: Damaged) -> tuple[Rows, list[Issue]]:
    """Return what `read_interleaved_16` reads as rows of its file, which are read in pieces."""
    spec, num_signals = header.signals[0], len(header.signals)
    path = header.path.with_name(spec.file_name)
    with _open_signals(header.path, path) as stream:
        available = os.fstat(stream.fileno()).st_size - spec.byte_offset
    num_samples, issues = _usable_samples(path, header, available, damaged)
    dtype = _WHOLE_16[spec.storage]
    return rows_of(path, spec.byte_offset, dtype, num_signals, num_samples), issues


class Rows212(NamedTuple):
    """Samples of 12 bits, two in three bytes, as rows of a file that is read in pieces.

    Attributes:
        content: The bytes, one a row.
        num_columns: Signals.
        num_rows: Samples of each.
    """

    content: Rows
    num_columns: int
    num_rows: int

    def read(self, start: int, stop: int) -> Int16[np.ndarray, "samples leads"]:
        """Return rows from one to before another; what is invalid is -2048.

        Raises:
            RecordFormatError: If the file was changed since it was opened first.
        """
        first, last = start * self.num_columns, stop * self.num_columns
        begin, end = first // 2 * 3, min(-(-last // 2) * 3, self.content.num_rows)
        packed = np.zeros(-(-last // 2) * 3 - begin, np.uint8)
        packed[: end - begin] = self.content.read(begin, end)[:, 0]
        groups = packed.reshape(-1, 3).astype(np.int16)
        pairs = np.empty((len(groups), 2), np.int16)
        # To the left end and back, which repeats the sign.
        pairs[:, 0] = (groups[:, 0] << 4 | (groups[:, 1] & 0x0F) << 12) >> 4
        pairs[:, 1] = (groups[:, 2] << 4 | (groups[:, 1] & 0xF0) << 8) >> 4
        samples = pairs.reshape(-1)[first % 2 :][: last - first]
        return samples.reshape(stop - start, self.num_columns)


def rows_of_212(header: Header) -> Rows212 | None:
    """Return the samples of a file of format 212, which are read in pieces.

    Returns:
        None if the file is shorter than the header tells.
    """
    spec, num_signals = header.signals[0], len(header.signals)
    path = header.path.with_name(spec.file_name)
    with _open_signals(header.path, path) as stream:
        available = os.fstat(stream.fileno()).st_size - spec.byte_offset
    # Of two samples, the first is whole in two of the three bytes.
    held = (max(available, 0) * 2 // 3) // num_signals
    num_samples = held if header.num_samples is None else header.num_samples
    if not 0 < num_samples <= held:
        return None
    needed = -(-num_samples * num_signals * 3 // 2)
    return Rows212(rows_of(path, spec.byte_offset, "u1", 1, needed), num_signals, num_samples)


def _open_signals(header: Path, path: Path) -> FileIO:
    try:
        return open_regular(path)
    except FileNotFoundError:
        raise _missing_file(header, path) from None


def _usable_samples(
    path: Path, header: Header, available: int, damaged: Damaged
) -> tuple[int, list[Issue]]:
    """Return how many of the announced samples there are, and what is odd about that."""
    frame_bytes = 2 * len(header.signals)
    held = max(available, 0) // frame_bytes
    num_samples = held if header.num_samples is None else header.num_samples
    if held < num_samples or num_samples == 0:
        words = (
            f"holds {held} of {num_samples} samples of {len(header.signals)} leads "
            f"({available + header.signals[0].byte_offset:,} bytes)"
        )
        if damaged != "mask" or not held:
            raise RecordFormatError(f"{path}: truncated: {words}", reason="truncated")
        return held, [Issue("truncated", f"{path.name} {words}")]
    if (more := available - num_samples * frame_bytes) > 0:
        words = f"{path.name} holds {more:,} bytes more than the header announces"
        return num_samples, [Issue("file_longer_than_header", words)]
    return num_samples, []


def _missing_file(header: Path, path: Path) -> RecordFormatError:
    return RecordFormatError(
        f"{header}: its signal file {path.name} is missing", reason="missing_file"
    )


def read_with_package(header: Header) -> tuple[list[np.ndarray] | None, list[np.ndarray]]:
    """Read anything unusual with the wfdb package, after bounding what it may allocate.

    Returns:
        Digital samples of each signal (None where signals are shifted, so that there is nothing to
        verify), and amplitudes in the signals' units, NaN where invalid; each at its own rate.
    """
    import wfdb

    _bound_by_file_sizes(header)
    name = str(header.path.with_suffix(""))
    is_shifted = any(spec.skew for spec in header.signals)
    try:
        record = wfdb.rdrecord(name, smooth_frames=False)
        digital = None
        if any(spec.storage == "61" for spec in header.signals) and not is_shifted:
            digital = _digital_again(header, record.e_p_signal)
        elif not is_shifted:
            digital = wfdb.rdrecord(name, physical=False, smooth_frames=False).e_d_signal
    except Exception as error:  # the package raises whatever its parsing runs into
        raise RecordFormatError(
            f"{header.path}: the wfdb package cannot read it: {type(error).__name__}: {error}"
        ) from error
    physical: Any = record.e_p_signal
    if physical is None or not len(physical) or not all(len(own) for own in physical):
        raise RecordFormatError(f"{header.path}: holds no samples")
    return digital, list(physical)


def _digital_again(header: Header, physical: list[np.ndarray]) -> list[np.ndarray]:
    """Return the digital samples of amplitudes: the package does not give those of format 61."""
    again = [
        np.nan_to_num(np.rint(own * spec.gain + spec.baseline), nan=_INVALID_16)
        for own, spec in zip(physical, header.signals, strict=True)
    ]
    return [own.astype(np.int64) for own in again]


def _bound_by_file_sizes(header: Header) -> None:
    """Refuse a length that the files beside the header cannot hold.

    No storage format packs a sample into less than one byte except those of FLAC. What is shifted
    takes as many frames more, and several arrays of 64 bits are made of it.
    """
    files: dict[str, list[SignalSpec]] = {}
    for spec in header.signals:
        files.setdefault(spec.file_name, []).append(spec)
    frames = header.num_samples
    for name, signals in files.items():
        path = header.path.with_name(name)
        size, per_frame = _file_size(header.path, path), sum(s.samples_per_frame for s in signals)
        most = size * 2 // per_frame
        if any(spec.storage in _FLAC for spec in signals):
            most = _most_flac_samples(path, size) // max(s.samples_per_frame for s in signals)
        if frames is not None and frames > most:
            raise RecordFormatError(
                f"{header.path}: announces {frames:,} frames of {per_frame} samples, but its "
                f"signal file {name} holds {size:,} bytes",
                reason="truncated",
            )
        frames = most if frames is None else frames
    skew = max(spec.skew for spec in header.signals)
    frame = sum(spec.samples_per_frame for spec in header.signals)
    if skew > (frames or 0) or ((frames or 0) + skew) * frame > MAX_VALUES:
        raise RecordFormatError(
            f"{header.path}: {frames:,} frames of {frame} samples, shifted by {skew}, are too "
            f"many to be held at once, or shifted by more than there are. {CUT_IT}"
        )


def _most_flac_samples(path: Path, size: int) -> int:
    """Return how many samples of each channel a FLAC file can hold, by its head and its size."""
    with open_regular(path) as stream:
        head = stream.read(42) or b""
    if not head.startswith(b"fLaC") or len(head) < 42:
        return 0
    block = int.from_bytes(head[10:12], "big")
    channels = (head[20] >> 1 & 7) + 1
    return block * (size // (_FLAC_FRAME_BYTES + _FLAC_CHANNEL_BYTES * channels) + 1)


def _file_size(header: Path, path: Path) -> int:
    try:
        found = path.stat()
    except FileNotFoundError:
        raise _missing_file(header, path) from None
    if not stat.S_ISREG(found.st_mode):
        raise RecordFormatError(f"{path}: is not a regular file but a folder, pipe or device")
    return found.st_size
