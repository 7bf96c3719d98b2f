"""Which files were verified, so that a million of them are not hashed again.

The journal has one slot of 24 bytes per entry of the list: a fingerprint of path and checksum, and
size and time of change (ns) of the file that was verified. It is never read as a whole. A slot that
does not fit, or was torn by a power cut, only means that its file is hashed again.
"""

import hashlib
import os
import struct
from pathlib import Path

from ecgjepa.fetching.lists import Item

_SLOT = struct.Struct("<8sqq")


class Journal:
    """Verified files; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Open the journal, making an empty one if there is none."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def __enter__(self) -> "Journal":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        os.close(self._file)

    def has(self, item: Item, state: os.stat_result) -> bool:
        """Return whether the file was verified and has not been touched since."""
        slot = os.pread(self._file, _SLOT.size, item.number * _SLOT.size)
        return slot == _slot(item, state)

    def add(self, item: Item, state: os.stat_result) -> None:
        """Note that the file, as it is, has the checksum of the list."""
        os.pwrite(self._file, _slot(item, state), item.number * _SLOT.size)


def _slot(item: Item, state: os.stat_result) -> bytes:
    text = f"{item.path}\0{item.digest}".encode()
    fingerprint = hashlib.blake2b(text, digest_size=8).digest()
    return _SLOT.pack(fingerprint, state.st_size, state.st_mtime_ns)
