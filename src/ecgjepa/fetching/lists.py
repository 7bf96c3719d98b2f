"""The published lists of a database's files, with a checksum of each.

PhysioNet publishes ``SHA256SUMS.txt`` with every version of a project, Zenodo a JSON description
of a record with MD5 sums and sizes. PhysioNet's list can have 1.6 million lines, so lists are kept
on the disk and read as a stream.
"""

import json
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from ecgjepa.databases.description import Origin
from ecgjepa.errors import FetchError
from ecgjepa.files import PARTIAL_PREFIX

# What this package keeps inside the folder of a database.
STATE_FOLDER = ".ecgjepa-fetch"
# Files that belong to single records; all others are tables and are always fetched.
_RECORD_ENDINGS = ("hea", "dat", "mat", "zip")
_SHA256_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *]?(.+)")


class Item(NamedTuple):
    """One file of a database.

    Attributes:
        number: Place in the list.
        path: Relative to the folder of the database.
        url: Where it is.
        algorithm: Of the checksum: ``sha256`` or ``md5``; empty if there is none.
        digest: Checksum as hexadecimal text.
        size: In bytes, or None if the list does not tell.
    """

    number: int
    path: str
    url: str
    algorithm: str
    digest: str
    size: int | None


def list_url(origin: Origin, base: str) -> str:
    """Return where the list of a database is; ``base`` takes the place of ``https://``."""
    if origin.host == "zenodo":
        return f"{base}zenodo.org/api/records/{origin.project}"
    return f"{_tree(origin, base)}SHA256SUMS.txt"


def read_items(path: Path, origin: Origin, base: str) -> Iterator[Item]:
    """Yield the files of a database from the list at ``path``.

    Raises:
        FetchError: If the list is not readable, or names a file outside the database's folder.
    """
    if origin.host == "zenodo":
        yield from _of_zenodo(path, origin, base)
    else:
        yield from _of_physionet(path, origin, base)


def select(items: Iterable[Item], only: tuple[str, ...], limit: int | None) -> Iterator[Item]:
    """Yield the files wanted: all tables, and the files of chosen records.

    Args:
        items: All files.
        only: Patterns such as ``records500/*``; a record's path has to fit one, if there is any.
        limit: Number of records at most, the first of the list.
    """
    records: set[str] = set()
    for item in items:
        record, _, ending = item.path.rpartition(".")
        if ending in _RECORD_ENDINGS:
            if only and not any(fnmatchcase(item.path, pattern) for pattern in only):
                continue
            if limit is not None and record not in records:
                if len(records) >= limit:
                    continue
                records.add(record)
        yield item


def safe_parts(name: str) -> list[str] | None:
    """Return the parts of a relative path, or None if it could lead out of its folder."""
    parts = name.removeprefix("./").split("/")
    harmless = all(
        part not in ("", ".", "..", STATE_FOLDER)
        and not part.startswith(PARTIAL_PREFIX)
        and part.isprintable()
        and "\\" not in part
        for part in parts
    )
    return parts if harmless else None


def _tree(origin: Origin, base: str) -> str:
    return f"{base}physionet.org/files/{origin.project}/{origin.version}/"


def _of_physionet(path: Path, origin: Origin, base: str) -> Iterator[Item]:
    tree = _tree(origin, base)
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            match = _SHA256_LINE.fullmatch(line.rstrip("\r\n"))
            if match is None:
                raise FetchError(
                    f"{path}, line {number + 1}: {line.strip()[:80]!r}; expected a SHA-256 and a "
                    "path. Is the server's list damaged? --recheck downloads it again"
                )
            name = match[2].removeprefix("./")
            if name.startswith(origin.folder):
                _refuse_outside(path, number + 1, name.removeprefix(origin.folder))
                yield Item(
                    number=number,
                    path=name.removeprefix(origin.folder),
                    url=tree + quote(name),
                    algorithm="sha256",
                    digest=match[1].lower(),
                    size=None,
                )


def _of_zenodo(path: Path, origin: Origin, base: str) -> Iterator[Item]:
    try:
        files = sorted(json.loads(path.read_bytes())["files"], key=lambda file: str(file["key"]))
        facts = [(str(file["key"]), str(file["checksum"]), _size(file["size"])) for file in files]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FetchError(
            f"{path}: not the description of a Zenodo record ({repr(error)[:200]}); expected files "
            "with key, checksum and size"
        ) from None
    for number, (name, checksum, size) in enumerate(facts):
        algorithm, _, digest = checksum.partition(":")
        if algorithm not in ("md5", "sha256"):
            raise FetchError(
                f"{path}: {name[:80]!r} has no MD5 or SHA-256 checksum but {checksum[:80]!r}"
            )
        _refuse_outside(path, number + 1, name)
        url = f"{list_url(origin, base)}/files/{quote(name, safe='')}/content"
        yield Item(number, name, url, algorithm, digest.lower(), size)


def _size(told: object) -> int:
    if not isinstance(told, int) or isinstance(told, bool) or not 0 <= told < 2**53:
        raise TypeError(f"size {repr(told)[:40]}")
    return told


def _refuse_outside(path: Path, line: int, name: str) -> None:
    if safe_parts(name) is None:
        raise FetchError(
            f"{path}, entry {line}: names the file {name[:200]!r}, which does not lie inside the "
            "database's folder; nothing is fetched from such a list"
        )
