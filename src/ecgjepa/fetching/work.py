"""Fetch and check files in parallel, until all are done, too many fail, or someone interrupts."""

import logging
import threading
from collections.abc import Callable, Container, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ecgjepa.errors import FetchError
from ecgjepa.fetching.client import Client, RefusedError, StoppedError
from ecgjepa.fetching.journal import Journal
from ecgjepa.fetching.lists import Item
from ecgjepa.fetching.transfer import fetch_file, partial_of
from ecgjepa.fetching.unpacking import unpack
from ecgjepa.files import DiskFullError, digest_of_file

# With so many failures in a row, the server is gone or lacks the database.
MOST_FAILURES_IN_A_ROW = 20
_SECONDS_BETWEEN_NEWS = 0.5

logger = logging.getLogger(__name__)


class Failure(NamedTuple):
    """A file that could not be had, and why."""

    path: str
    reason: str


class Work:
    """The work on one folder, and what has been done of it.

    Attributes:
        num_fetched: Files fetched and verified.
        num_present: Files that were there already and fit their checksum.
        num_bytes: Bytes that arrived, repeated ones included.
        unpacked: Members of archives that were unpacked.
        failures: Files that could not be had.
        gave_up: Whether too many files in a row could not be had.
    """

    def __init__(
        self,
        folder: Path,
        journal: Journal,
        clients: list[Client],
        unpack: bool,
        recheck: bool,
        *,
        listed: Callable[[], Container[str]],
        most_bytes: int,
    ) -> None:
        """Prepare the work; every client makes one worker.

        Args:
            folder: Of the database.
            journal: Files verified earlier.
            clients: Connections, for one worker each.
            unpack: Whether archives are unpacked.
            recheck: Whether files verified earlier are hashed again.
            listed: Gives the paths of all files of the list, which no archive may replace.
            most_bytes: Size that a file may have at most of which the list tells no size.
        """
        self._folder = folder
        self._journal = journal
        self._clients = clients
        self._free = list(clients)
        self._most = 4 * len(clients)
        self._unpack = unpack
        self._recheck = recheck
        self._listed = listed
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self.num_fetched = 0
        self.num_present = 0
        self.num_bytes = 0
        self.unpacked: list[str] = []
        self.failures: list[Failure] = []
        self.gave_up = False

    def carry_out(self, items: Iterator[Item], news: Callable[[], None]) -> None:
        """Fetch what is missing and check what is not verified.

        Args:
            items: Files that are wanted.
            news: Called now and then.

        Raises:
            FetchError: If a file is listed twice.
            DiskFullError: If there is no space left.
        """
        in_a_row = 0
        todo = (item for item in items if not self._skip(item))
        with ThreadPoolExecutor(len(self._clients)) as pool:
            try:
                for item, future in _in_parallel(pool, self._settle, todo, self._most, news):
                    try:
                        was_fetched = future.result()
                    except (StoppedError, DiskFullError):
                        raise
                    except Exception as error:  # Whatever is wrong with one file, others follow.
                        self.failures.append(Failure(item.path, _words(error)))
                        in_a_row += 1
                    else:
                        self.num_fetched += was_fetched
                        self.num_present += not was_fetched
                        in_a_row = 0
                    if in_a_row == MOST_FAILURES_IN_A_ROW:
                        self.gave_up = True
                        self._abort(pool)
                        return
            except BaseException as error:
                self._abort(pool)
                if isinstance(error, KeyboardInterrupt):
                    logger.warning("stopped; the same command resumes from here")
                raise

    def _skip(self, item: Item) -> bool:
        """Return whether nothing has to be done about a file, and count it if so."""
        if self._recheck or (self._unpack and item.path.endswith(".zip")):
            return False
        try:
            is_verified = self._journal.has(item, (self._folder / item.path).stat())
        except OSError:
            return False
        self.num_present += is_verified
        return is_verified

    def _settle(self, item: Item) -> bool:
        """Have one file in its place; return whether it had to be fetched."""
        path = self._folder / item.path
        with self._lock:
            client = self._free.pop()
        try:
            is_there = self._is_there(item, path)
            if not is_there:
                fetch_file(client, item, path, self._count, most_bytes=self._most_bytes)
                self._journal.add(item, path.stat())
            if self._unpack and path.suffix == ".zip":
                names = unpack(path, self._recheck, partial(self._is_taken, item))
                with self._lock:
                    self.unpacked += names
            return not is_there
        finally:
            with self._lock:
                self._free.append(client)

    def _is_there(self, item: Item, path: Path) -> bool:
        """Return whether the file is there, whole; one that is not makes way for a good one."""
        if not path.is_file():
            return False
        if not self._recheck and self._journal.has(item, path.stat()):
            return True
        if digest_of_file(path, item.algorithm) == item.digest:
            self._journal.add(item, path.stat())
            return True
        logger.warning("%s does not fit its checksum; fetching it again", path)
        # It may be the beginning of the file, and then the rest is enough.
        path.replace(partial_of(path))
        return False

    def _is_taken(self, archive: Item, member: str) -> bool:
        """Return whether a member of an archive has the name of a file of the list."""
        return (Path(archive.path).parent / member).as_posix() in self._listed()

    def _count(self, num_bytes: int) -> None:
        with self._lock:
            self.num_bytes += num_bytes

    def _abort(self, pool: ThreadPoolExecutor) -> None:
        for client in self._clients:
            client.abort()
        pool.shutdown(wait=True, cancel_futures=True)


def _words(error: Exception) -> str:
    """Return why a file could not be had; of errors that nobody foresaw, their kind too."""
    if isinstance(error, RefusedError):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"internal error: {type(error).__name__}: {str(error)[:200]}"


def _in_parallel(
    pool: ThreadPoolExecutor,
    function: Callable[[Item], bool],
    items: Iterator[Item],
    most: int,
    news: Callable[[], None],
) -> Iterator[tuple[Item, Future[bool]]]:
    """Yield items as they are done; at most ``most`` of them wait at any time."""
    pending: dict[Future[bool], Item] = {}
    paths: set[str] = set()
    for item in items:
        if item.path in paths:
            raise FetchError(f"{item.path} is listed twice; nothing is fetched from such a list")
        paths.add(item.path)
        pending[pool.submit(function, item)] = item
        while len(pending) >= most:
            yield from _done(pending, paths, news)
    while pending:
        yield from _done(pending, paths, news)


def _done(
    pending: dict[Future[bool], Item], paths: set[str], news: Callable[[], None]
) -> Iterator[tuple[Item, Future[bool]]]:
    done, _ = wait(pending, timeout=_SECONDS_BETWEEN_NEWS, return_when=FIRST_COMPLETED)
    news()
    for future in done:
        item = pending.pop(future)
        paths.discard(item.path)
        yield item, future
