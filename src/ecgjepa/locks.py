"""Keep two processes from working in one folder at the same time."""

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ecgjepa.errors import EcgjepaError

logger = logging.getLogger(__name__)

# In a folder that one process at a time works in.
LOCK_FILE = ".lock"


@contextmanager
def holding(path: Path, *, wait: bool = False, shared: bool = False) -> Iterator[bool]:
    """Lock a file, which is made for it and stays, and tell the block whether it has the lock.

    The lock ends with the process, however that ends. The file names the host and the process.
    Where the file system has no locks, a warning is logged and the block is told that it has one.

    Args:
        path: The file.
        wait: Wait until other processes, and other blocks of this one, have released the lock.
        shared: Take a lock that others may share, but that excludes one that is not shared.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a+", encoding="utf-8") as lock:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            try:
                fcntl.flock(lock, kind | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            except OSError:  # Some network file systems have no locks.
                logger.warning("%s cannot be locked; let no second process work there", path.parent)
            if not _is_at(lock, path):  # Whoever had the lock before has removed the file.
                continue
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}")
            lock.flush()
            yield True
            return


@contextmanager
def working_in(
    folder: Path, error: type[EcgjepaError], work: str, *, shared: bool = False
) -> Iterator[None]:
    """Keep every other process that works in a folder out of it while the block runs.

    The folder is made if it is missing, and removed if it is empty in the end.

    Args:
        folder: The folder.
        error: Class of the error if another process works there.
        work: What works there, for the message, such as ``prepare``.
        shared: Let others in that share the folder, too.

    Raises:
        EcgjepaError: The given subclass, if another process works in the folder.
    """
    path = folder / LOCK_FILE
    with holding(path, shared=shared) as is_ours:
        if not is_ours:
            raise error(
                f"{folder}: {work} is at work there already ({_holder(path)}). Wait until it has "
                "finished, or choose another folder"
            )
        try:
            yield
        finally:
            if not shared:  # Others may still have it, and a file of its name would be a new lock.
                path.unlink(missing_ok=True)
                with suppress(OSError):
                    folder.rmdir()


def _holder(path: Path) -> str:
    with suppress(OSError):
        if name := path.read_text(encoding="utf-8", errors="replace")[:200]:
            return name
    return "which process is not known"


def _is_at(file: IO[str], path: Path) -> bool:
    """Return whether a path still leads to an opened file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
