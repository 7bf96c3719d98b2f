"""The content of an ECG file that is in memory, such as an upload."""

import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Protocol, runtime_checkable

from ecgjepa.errors import RecordError, RecordFormatError
from ecgjepa.io.opening import MAX_BYTES
from ecgjepa.signals.record import MicrovoltRecord, Record


@runtime_checkable
class Readable(Protocol):
    """A binary stream: a file, an upload, a response of a server."""

    def read(self, size: int, /) -> bytes:
        """Return some bytes, and none at the end."""


# A longer name would not be one of a file; file systems count bytes.
_LONGEST_NAME = 200
_WFDB_ADVICE = (
    "is the header of a WFDB record, whose signals lie in another file: write both into one folder "
    "and give the path of the header"
)


def content_of(source: bytes | bytearray | memoryview | Readable, name: str) -> bytes:
    """Return the content of an upload.

    Raises:
        RecordFormatError: If it is larger than any file that is read, or no bytes.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source)
    else:
        content = _read(source, name)
    if len(content) > MAX_BYTES:
        raise RecordFormatError(
            f"{name}: has more than {MAX_BYTES:,} bytes; an ECG in one file has fewer"
        )
    return content


def _read(source: Readable, name: str) -> bytes:
    """Read a stream to its end, but not much further than the limit; sockets give a little each."""
    parts: list[bytes] = []
    size = 0
    while size <= MAX_BYTES and (part := source.read(MAX_BYTES + 1 - size)):
        if not isinstance(part, bytes):
            raise RecordFormatError(f"{name}: gives text; expected bytes: open it with mode 'rb'")
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def file_name(name: str | None) -> str:
    """Return a name for a file that cannot lead out of the folder it is written to."""
    # A browser of Windows sends whole paths.
    last = PurePosixPath(PureWindowsPath(name or "upload").name).name
    kept = "".join(letter if letter.isprintable() else "_" for letter in last).lstrip(".")
    # The end of the name tells the format; a letter that is cut through is left out.
    return kept.encode()[-_LONGEST_NAME:].decode(errors="ignore") or "upload"


class Upload:
    """A file that lies in a folder of its own, which only this user can read, while it is read.

    The packages that read some of the formats take nothing but files.

    Attributes:
        path: Place of the file.
        name: What messages call it.
    """

    def __init__(self, content: bytes, name: str | None) -> None:
        """Write the file.

        Raises:
            RecordFormatError: If it is the header of a WFDB record.
        """
        self.name = file_name(name)
        if self.name.endswith(".hea"):
            raise RecordFormatError(f"{self.name}: {_WFDB_ADVICE}")
        self._folder = tempfile.TemporaryDirectory(prefix="ecgjepa-")
        self.path = Path(self._folder.name) / self.name
        try:
            self.path.write_bytes(content)
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> "Upload":
        """Return the file."""
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Remove the file, and let errors tell its name instead of its place."""
        with suppress(OSError):
            self._folder.cleanup()
        if isinstance(error, RecordError):
            words = str(error).replace(str(self.path.parent) + "/", "")
            raise type(error)(words, reason=error.reason) from None

    def renamed(self, record: Record | MicrovoltRecord) -> Record | MicrovoltRecord:
        """Return a record whose source is the name instead of the place."""
        return replace(record, source=self.name)
