"""Open files with suspicion: regular ones only, bounded, and unpacked where they are packed."""

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import BufferedIOBase, BufferedReader, BytesIO, FileIO
from pathlib import Path
from typing import NamedTuple

from ecgjepa.errors import RecordFormatError

# No file of an ECG is larger, packed or unpacked.
MAX_BYTES = 1_000_000_000
GZIP, _HEAD_BYTES = b"\x1f\x8b", 4096


class Seen(NamedTuple):
    """A file that was read from its beginning to its end.

    Attributes:
        size: Its bytes.
        time_ns: Last change of content, name or rights, as of when the file was open.
        parts: Its content, in pieces.
    """

    size: int
    time_ns: int
    parts: tuple[bytes | memoryview, ...]


_seen: ContextVar[dict[str, Seen] | None] = ContextVar("seen", default=None)


@contextmanager
def watching() -> Iterator[dict[str, Seen]]:
    """Collect the files that are read whole meanwhile, by their paths: they need no second reading.

    Files of which only parts are read are not among them.
    """
    seen: dict[str, Seen] = {}
    token = _seen.set(seen)
    try:
        yield seen
    finally:
        _seen.reset(token)


def note_whole(path: Path | str, stream: FileIO, *parts: bytes | memoryview) -> None:
    """Tell whoever is `watching` that a file was read to its end.

    Args:
        path: Of the file.
        stream: The file, still open.
        *parts: Its content, memory as bytes.
    """
    if (seen := _seen.get()) is not None:
        found = os.fstat(stream.fileno())
        if found.st_size == sum(map(len, parts)):
            seen[str(path)] = Seen(found.st_size, time_of(found), parts)


def time_of(found: os.stat_result) -> int:
    """Return when a file's content, name or rights were last changed, in nanoseconds."""
    return max(found.st_mtime_ns, found.st_ctime_ns)


def ending(name: str) -> str:
    """Return a file name's ending in lower case, without the ``.gz`` of a packed file."""
    return f".{name.lower().removesuffix('.gz').rpartition('.')[2]}"


def without_ending(path: str) -> str:
    """Return a path without its ending, and without ``.gz``."""
    is_packed = path.lower().endswith(".gz")
    return (path[:-3] if is_packed else path).rpartition(".")[0]


def record_name(path: Path) -> str:
    """Return a file's name without its ending, and without ``.gz``."""
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def file_and_key(path: Path) -> tuple[Path, str | None]:
    """Return the file that a record lies in, and which of its records: of ``x.npy#3`` it is 3.

    A file whose own name holds a ``#`` is that file.
    """
    text = str(path)
    if "#" not in text or path.exists():
        return path, None
    marks = [place for place, character in enumerate(text) if character == "#"]
    for mark in marks:
        if is_regular(file := Path(text[:mark])):
            return file, text[mark + 1 :]
    return path, None


def is_regular(path: Path | str) -> bool:
    """Return whether a path is a file that can be read to its end: no pipe, socket or device."""
    # False too for a name that is too long or holds a NUL; `Path.is_file` takes twice as long.
    return os.path.isfile(path)  # noqa: PTH113


def open_regular(path: Path | str) -> FileIO:
    """Open a file to read it, unbuffered; opening a pipe would wait for ever.

    Raises:
        RecordFormatError: If it is not a regular file.
        OSError: If it cannot be opened.
    """
    # Without waiting for the other end; of no effect on files.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except ValueError as error:  # a NUL in the name
        raise RecordFormatError(f"{path}: no usable file name: {error}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RecordFormatError(f"{path}: is not a regular file but a folder, pipe or device")
    return FileIO(descriptor, "rb")


def read_head(path: Path) -> bytes:
    """Return the first 4,096 bytes of a file, unpacked if it is packed with gzip.

    Raises:
        RecordFormatError: If it is not a regular file, not readable, or packed and damaged.
    """
    try:
        with open_regular(path) as stream:
            head = stream.read(_HEAD_BYTES) or b""
            return _unpack(path, stream, _HEAD_BYTES) if head.startswith(GZIP) else head
    except OSError as error:
        raise RecordFormatError(f"{path}: not readable: {error.strerror}") from None


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Return a file's content, unpacked if it is packed with gzip.

    Raises:
        RecordFormatError: If it is larger than ``limit``, before anything is read or while it is
            unpacked; if it is not a regular file or packed and damaged.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise _too_large(path, f"{size:,} bytes", limit)
        content = stream.read(-1) or b""
        note_whole(path, stream, content)
        if not content.startswith(GZIP):
            return content
        content = _unpack(path, stream, limit + 1)
    if len(content) > limit:
        raise _too_large(path, f"unpacks to more than {limit:,} bytes", limit)
    return content


def read_once(path: Path | str, most: int) -> bytes:
    """Return a file's first bytes; whoever is `watching` does not have it read again.

    Args:
        path: The file.
        most: Bytes; a longer file gives one more.

    Raises:
        RecordFormatError: If it is not a regular file.
        OSError: If it cannot be opened or read.
    """
    seen = _seen.get()
    if seen is not None and (known := seen.get(str(path))) and len(known.parts) == 1:
        return bytes(known.parts[0])[: most + 1]
    with open_regular(path) as stream:
        content = stream.read(most + 1) or b""
        note_whole(path, stream, content)
    return content


def open_file(path: Path, limit: int = MAX_BYTES) -> BufferedIOBase:
    """Open a file to read parts of it: the file itself or, of a packed one, what it unpacks to.

    Args:
        path: The file.
        limit: Most bytes of a file that is not packed.

    Raises:
        RecordFormatError: As `read_bytes`.
    """
    stream = open_regular(path)
    is_packed = stream.read(2) == GZIP
    if not is_packed and os.fstat(stream.fileno()).st_size <= limit:
        stream.seek(0)
        return BufferedReader(stream)
    stream.close()
    return BytesIO(read_bytes(path))


def _unpack(path: Path, stream: FileIO, most: int) -> bytes:
    stream.seek(0)
    try:
        with gzip.GzipFile(fileobj=stream) as unpacked:
            return unpacked.read(most)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RecordFormatError(
            f"{path}: packed with gzip, but damaged or cut short: {error}", reason="truncated"
        ) from None


def _too_large(path: Path, words: str, limit: int) -> RecordFormatError:
    return RecordFormatError(f"{path}: {words}; an ECG in this format has at most {limit:,}")
