"""Write files so that an interrupted or full disk never leaves half of one behind.

Everything is written under a temporary name in the same folder, flushed to the disk and renamed:
whoever sees the final name sees the whole content.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from ecgjepa.errors import EcgjepaError

PARTIAL_PREFIX = ".partial-"
# Of this machine in the names of temporary files: process numbers mean something on one only.
_HOST = hashlib.blake2b(socket.gethostname().encode(), digest_size=4).hexdigest()
_TEMPORARY = re.compile(rf"{re.escape(PARTIAL_PREFIX)}(?:([0-9a-f]{{8}})-)?([0-9]{{1,18}})-.+")
# What another machine left and nobody has written to for so long was given up.
_ABANDONED_SECONDS = 3600


class DiskFullError(OSError):
    """No space was left for a file; what stood under its name before is untouched."""


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Turn the system's bare "No space left" into a message with the file in it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                error.errno,
                f"no space left on the disk while writing {path}; nothing half-written was kept. "
                "Free some space and run the same command again",
            ) from error
        raise


def open_unlinked(path: Path, mode: str) -> IO[bytes]:
    """Open a binary file to write to, but not if its name is a symbolic link.

    Temporary names can be guessed, and a link under one would have another file overwritten.

    Raises:
        OSError: If it is a link, or cannot be opened.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW, 0o666)

    return cast(IO[bytes], open(path, mode, opener=opener))


def temporary_name(path: Path) -> Path:
    """Return the name that this thread gives a file or folder until it is whole.

    Two threads may write the same file: a cluster gives work to others if it loses sight of one.
    """
    worker = f"{_HOST}-{os.getpid()}-{threading.get_native_id()}"
    return path.with_name(f"{PARTIAL_PREFIX}{worker}-{path.name}")


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that takes the place of ``path`` only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with naming_full_disk(path), open_unlinked(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Make a folder that takes the place of ``path`` only if the block succeeds.

    An older folder of that name is moved aside for the moment of the rename and then removed. Files
    may be read by whoever may read the folder, however the library that wrote them made them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    old = temporary_name(path.with_name(f"old-{path.name}"))
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with naming_full_disk(path):
            yield temporary
            mode = stat.S_IMODE(temporary.stat().st_mode)
            for file in sorted(temporary.rglob("*")):
                file.chmod(mode if file.is_dir() else mode & 0o666)
                if file.is_file():
                    with file.open("rb") as stream:
                        os.fsync(stream.fileno())
        if path.exists():
            path.replace(old)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` in one step."""
    with replacing(path) as stream:
        stream.write(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text to ``path`` in one step."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401
    """Write indented JSON to ``path`` in one step; NaN and infinities are refused."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_versioned(
    path: Path, versions: Collection[int], error: type[EcgjepaError], *, remedy: str = ""
) -> tuple[dict[str, Any], int]:
    """Return the content of a JSON file that names its format version, and that version.

    Args:
        path: The file.
        versions: Those that this ecgjepa reads.
        error: What to raise.
        remedy: A sentence that tells what to do about another version.

    Raises:
        EcgjepaError: Of the given kind, if the file is missing, is not JSON with a
            ``format_version``, or is of another version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["format_version"]
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    # A ValueError is of JSON, of UTF-8, or of a number with thousands of digits.
    except (ValueError, KeyError, TypeError, RecursionError):
        raise error(f"{path}: damaged: expected JSON with a format_version") from None
    if type(version) is not int or version not in versions:
        *first, last = map(str, sorted(versions))
        known = f"{', '.join(first)} and {last}" if first else last
        raise error(
            f"{path}: format version {str(version)[:40]}; this ecgjepa reads version {known}"
            + (f". {remedy}" if remedy else "")
        )
    return content, version


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    return digest_of_file(path, "sha256")


def digest_of_file(path: Path, algorithm: str) -> str:
    """Return a checksum of a file, read piece by piece, as hexadecimal text."""
    with path.open("rb") as stream:
        # MD5 guards against accidents here, which strict installations of OpenSSL want to hear.
        return hashlib.file_digest(
            stream, lambda: hashlib.new(algorithm, usedforsecurity=False)
        ).hexdigest()


def remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def move_into_place(temporary: Path, path: Path) -> None:
    """Give a finished file its final name; content and name are on the disk afterwards."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def remove_partial(folder: Path) -> None:
    """Remove what interrupted writers left in ``folder`` under temporary names.

    What a living process of this machine writes stays, and what one of another machine may write.
    """
    for path in folder.glob(f"{PARTIAL_PREFIX}*"):
        if not _is_abandoned(path):
            continue
        with suppress(OSError):
            remove(path)


def _is_abandoned(path: Path) -> bool:
    """Return whether no process writes under a temporary name any more."""
    match = _TEMPORARY.fullmatch(path.name)
    # Older versions wrote no host.
    if match is not None and match[1] in (None, _HOST):
        return int(match[2]) == os.getpid() or not _is_alive(int(match[2]))
    try:
        newest = max(item.stat().st_mtime for item in (path, *path.rglob("*")))
    except OSError:  # It has just been renamed or removed.
        return False
    return time.time() - newest > _ABANDONED_SECONDS


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: the entry lives in the folder, not in the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def as_json(value: Any) -> Any:  # noqa: ANN401
    """Return a value with NaN as None, for JSON files."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def default_cache() -> Path:
    """Return the folder for prepared records: ``ECGJEPA_CACHE``, or ``~/.cache/ecgjepa``."""
    if chosen := os.environ.get("ECGJEPA_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ecgjepa"
