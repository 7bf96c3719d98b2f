"""Which files records lie in, and whether those files still hold what was read from them.

Sizes and times decide quickly. Where they differ, contents are hashed before anything is concluded,
so that a database that was copied or moved is still the same one.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from ecgjepa.databases.listing import Entry, Listing
from ecgjepa.errors import RecordFormatError
from ecgjepa.io.arrays.description import description_names
from ecgjepa.io.catalogue import DESCRIBABLE
from ecgjepa.io.opening import Seen, ending, file_and_key, read_once, time_of, watching

# A row per file; size and time are -1 where there was no file.
SCHEMA = pa.schema(
    [
        ("database", pa.string()),
        ("path", pa.string()),  # relative to the database's folder
        ("size", pa.int64()),
        ("time_ns", pa.int64()),  # of the last change of content, name or rights
        ("digest", pa.binary(16)),  # first half of the content's SHA-256
    ]
)
_NO_FILE = (-1, -1)
_NO_DIGEST = bytes(16)
# Larger files are not read either: readers of single files stop at 1 GB, CODE-15's parts have 4 GB.
_MOST_HASHED_BYTES = 2**34
# A longer header is refused by its reader, so its files do not matter.
_MOST_HEADER_BYTES = 1_000_000
_EXAMPLES = 3
_PART_BYTES = 2**22
# What is read is hashed when there is so much of it; more than the last is not held meanwhile.
_HASHED_FILES, _HASHED_BYTES, _MOST_HELD_BYTES = 64, 2**21, 2**24


class Changes(NamedTuple):
    """How files differ from what was noted of them.

    Attributes:
        changed: Database and path of files with another content, and of those that have gone or
            come.
        table: What was noted, with the sizes and times of now.
        is_refreshed: Whether some of those differ although the contents do not.
    """

    changed: list[tuple[str, str]]
    table: pa.Table
    is_refreshed: bool

    def describe(self) -> str:
        """Return in words which files have changed: a count and some names."""
        some = ", ".join(f"{path} of {database}" for database, path in self.changed[:_EXAMPLES])
        more = " …" if len(self.changed) > _EXAMPLES else ""
        files = "1 file" if len(self.changed) == 1 else f"{len(self.changed):,} files"
        return f"{files} ({some}{more})"


class _Unhashed(NamedTuple):
    """A file that was read, and what it looked like before."""

    key: tuple[str, str]
    place: str
    look: tuple[int, int]
    seen: Seen | None


class Notes:
    """Collects what the files of records look like, each file once.

    Files are hashed in a thread, while others are read.
    """

    def __init__(self) -> None:
        """Begin with nothing noted."""
        self._rows: dict[tuple[str, str], tuple[int, int, bytes]] = {}
        self._hasher = ThreadPoolExecutor(1)
        self._waiting: list[_Unhashed] = []
        self._size = 0
        self._pending: Future[list[bytes]] | None = None
        self._hashed: list[_Unhashed] = []

    @contextmanager
    def of(self, listing: Listing, entry: Entry) -> Iterator[None]:
        """Note the files of a record that is read meanwhile.

        Sizes and times are those of before. What the reader has read whole is not read again to be
        hashed; a file that changes meanwhile is noted so that it counts as changed.
        """
        before: dict[tuple[str, str], tuple[str, tuple[int, int]]] = {}
        first = _look(_place(listing.root, entry.path))  # before its header is read, here or later
        with watching() as seen:
            for path in files_of(listing.root, entry.path):
                name = path if listing.hide_file is None else listing.hide_file(path)
                if (listing.database, name) not in self._rows:
                    place = _place(listing.root, path)
                    look = first if path == entry.path else _look(place)
                    before[listing.database, name] = (place, look)
            try:
                yield
            finally:
                for key, (place, look) in before.items():
                    self._rows[key] = (*look, _NO_DIGEST)
                    self._add(_Unhashed(key, place, look, seen.get(place)))

    def _add(self, file: _Unhashed) -> None:
        self._waiting.append(file)
        self._size += file.seen.size if file.seen else 0
        if self._size >= _HASHED_BYTES or len(self._waiting) >= _HASHED_FILES:
            self._hash()

    def _hash(self) -> None:
        """Have the files that wait hashed, once those before them are: few are held."""
        self._take()
        self._hashed, self._waiting, self._size = self._waiting, [], 0
        self._pending = self._hasher.submit(_digests, self._hashed)
        if sum(file.seen.size for file in self._hashed if file.seen) > _MOST_HELD_BYTES:
            self._take()

    def _take(self) -> None:
        """Take the digests of the files that were given to be hashed."""
        digests = self._pending.result() if self._pending else []
        for file, digest in zip(self._hashed, digests, strict=True):
            self._rows[file.key] = (*file.look, digest)
        self._pending, self._hashed = None, []

    def table(self) -> pa.Table:
        """Return what was noted, as a table of `SCHEMA`."""
        self._hash()
        self._take()
        rows: list[dict[str, Any]] = [
            {"database": database, "path": path, "size": size, "time_ns": time, "digest": digest}
            for (database, path), (size, time, digest) in self._rows.items()
        ]
        return pa.Table.from_pylist(rows, schema=SCHEMA)


def files_of(root: Path, path: str) -> list[str]:
    """Return the files that a record lies in, relative to ``root``, as far as they can be told.

    Those of a WFDB record are its header and what the header names, those of an array or table the
    file and its descriptions or, where there is none, all that there could be. Of ``exams.hdf5#3``
    it is the HDF5.
    """
    if "#" in path:
        path = file_and_key(root / path)[0].relative_to(root).as_posix()
    if path.endswith(".hea"):
        return list(dict.fromkeys((path, *_named_in_header(root, path))))
    folder, slash, name = path.rpartition("/")
    beside = [f"{folder}{slash}{other}" for other in description_names(name)]
    there = [other for other in beside if (root / other).is_file()]
    if not there and ending(name) in DESCRIBABLE:
        there = beside  # One that comes later explains what could not be read before.
    return [path, *there]


def find_changes(
    noted: pa.Table,
    roots: Mapping[str, Path],
    hidden: Mapping[tuple[str, str], str] | None = None,
) -> Changes:
    """Compare files with what was noted of them, but for those of databases without a root.

    Args:
        noted: A table of `SCHEMA`.
        roots: Database to the folder that its files should be in.
        hidden: Database and pseudonym to the path that it stands for, see `hidden_paths`.
    """
    changed: list[tuple[str, str]] = []
    columns = [noted[name].to_pylist() for name in SCHEMA.names]
    times = columns[SCHEMA.names.index("time_ns")].copy()
    for row, (database, path, size, time, digest) in enumerate(zip(*columns, strict=True)):
        if database not in roots:
            continue
        name = (hidden or {}).get((database, path), path)
        place = f"{roots[database]}/{name}"
        if (found := _look(place)) == (size, time):
            continue
        if found[0] != size or _digest(place, *found) != digest:
            changed.append((database, name))
        times[row] = found[1]
    place_of_times = SCHEMA.names.index("time_ns")
    table = noted.set_column(place_of_times, SCHEMA.field("time_ns"), pa.array(times, pa.int64()))
    return Changes(changed, table, is_refreshed=not changed and not table.equals(noted))


def hidden_paths(listings: Iterable[Listing]) -> dict[tuple[str, str], str]:
    """Return what the pseudonyms of files stand for, by database and pseudonym."""
    return {
        (listing.database, listing.hide_file(path)): path
        for listing in listings
        if listing.hide_file is not None
        for entry in listing.entries()
        for path in files_of(listing.root, entry.path)
    }


def join_notes(tables: Iterable[pa.Table]) -> pa.Table:
    """Return one table of several; of a file that several name, what the first noted."""
    whole = pa.concat_tables([SCHEMA.empty_table(), *tables])
    first: dict[tuple[str, str], int] = {}
    pairs = zip(whole["database"].to_pylist(), whole["path"].to_pylist(), strict=True)
    for row, pair in enumerate(pairs):
        first.setdefault(pair, row)
    return whole.take(pa.array(first.values(), pa.int64()))


def _named_in_header(root: Path, path: str, *, is_segment: bool = False) -> Iterator[str]:
    """Yield what a WFDB header names, without judging it: that is its reader's to do."""
    try:
        content = read_once(_place(root, path), _MOST_HEADER_BYTES)
    except (OSError, RecordFormatError):  # its reader says which
        return
    text = content[:_MOST_HEADER_BYTES].decode("utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    folder = f"{path.rpartition('/')[0]}/" if "/" in path else ""
    for name in dict.fromkeys(line.split(None, 1)[0] for line in lines[1:]):
        if "/" in name or "\0" in name or name == "~":
            continue
        segment = f"{folder}{name}.hea"
        if not is_segment and segment != path and _look(f"{root}/{segment}") != _NO_FILE:
            yield segment
            yield from _named_in_header(root, segment, is_segment=True)
        else:
            yield folder + name


def _look(path: str) -> tuple[int, int]:
    """Return size and time of a regular file; both are -1 where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):  # missing, out of reach, or a name that no file can have
        return _NO_FILE
    if not stat.S_ISREG(found.st_mode):
        return _NO_FILE
    return found.st_size, time_of(found)


def _place(root: Path, path: str) -> str:
    """Return the path of a file; joining `Path`s takes longer than to look."""
    return path if (folder := str(root)) == "." else f"{folder}/{path}"


def _digests(files: list[_Unhashed]) -> list[bytes]:
    return [_digest_of(file.place, file.look, file.seen) for file in files]


def _digest_of(place: str, look: tuple[int, int], seen: Seen | None) -> bytes:
    """Return the digest of what was read, if that is what was looked at before; else of the file.

    All bits are 0, as of no file, if the file has changed since.
    """
    if seen is not None and (seen.size, seen.time_ns) == look:
        digest = hashlib.sha256()
        for part in seen.parts:
            digest.update(part)
        return digest.digest()[:16]
    found = _digest(place, *look)
    return found if _look(place) == look else _NO_DIGEST


@lru_cache(maxsize=256)
def _digest(path: str, size: int, time: int) -> bytes:
    """Return the first half of the content's SHA-256; zeros where nothing readable is there."""
    if (size, time) == _NO_FILE or size > _MOST_HASHED_BYTES:
        return _NO_DIGEST
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as stream:  # noqa: PTH123
            while part := stream.read(_PART_BYTES):
                digest.update(part)
    except OSError:
        return _NO_DIGEST
    return digest.digest()[:16]
