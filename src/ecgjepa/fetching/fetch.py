"""The verb ``fetch``: download a database, or go on with a download."""

import logging
import os
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from ecgjepa.databases.catalogue import describe
from ecgjepa.databases.description import DatabaseDescription
from ecgjepa.errors import FetchError
from ecgjepa.fetching.client import Client, RefusedError, shown
from ecgjepa.fetching.estimate import Estimate, estimate, readable, refuse_full_disk
from ecgjepa.fetching.journal import Journal
from ecgjepa.fetching.lists import STATE_FOLDER, Item, list_url, read_items, select
from ecgjepa.fetching.transfer import fetch_file
from ecgjepa.fetching.work import Failure, Work
from ecgjepa.locks import holding

MIRROR_VARIABLE = "ECGJEPA_MIRROR"
# The longest published list, of 1.6 million files, has 0.2 GB.
_MOST_LIST_BYTES = 2_000_000_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FetchResult:
    """What was done.

    Attributes:
        database: Name of the database.
        folder: Its folder.
        plan: What there was to do.
        num_fetched: Files fetched and verified.
        num_present: Files that were there already and fit their checksum.
        num_bytes: Bytes that arrived, repeated ones included.
        unpacked: Members of archives that were unpacked.
        failures: Files that could not be had, and why.
        gave_up: Whether it stopped early, as too many files in a row could not be had.
    """

    database: str
    folder: Path
    plan: Estimate
    num_fetched: int = 0
    num_present: int = 0
    num_bytes: int = 0
    unpacked: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    gave_up: bool = False


def fetch(
    database: str,
    to: str | Path,
    *,
    only: tuple[str, ...] = (),
    limit: int | None = None,
    jobs: int = 4,
    unpack: bool = True,
    recheck: bool = False,
    dry_run: bool = False,
    base_url: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FetchResult:
    """Download a database from where it is published, or go on with a download.

    Every file is compared with its published checksum before it gets its name, so nothing half
    fetched or corrupt ever bears one. Files that are there and fit are not fetched again. What is
    known of them is kept in ``.ecgjepa-fetch`` inside the folder.

    Args:
        database: An openly accessible database of the catalogue.
        to: Folder for it, as `ecgjepa.prepare` takes it.
        only: Patterns of record files, such as ``records500/*``; tables are fetched in any case.
        limit: Number of records at most.
        jobs: Files fetched at the same time.
        unpack: Unpack zip files next to themselves.
        recheck: Get the list of files anew, and hash files that were verified earlier.
        dry_run: Only find out what there is to do.
        base_url: A mirror, which takes the place of ``https://`` in all addresses; by default the
            environment variable ``ECGJEPA_MIRROR``.
        progress: Called with megabytes that arrived, and megabytes to expect.

    Raises:
        DatabaseError: If the database is not known.
        FetchError: If it is not open, its list is not usable, or another fetch is at work.
        DiskSpaceError: If the disk has not enough room.
        DiskFullError: If it filled up all the same.

    Example:
        >>> import ecgjepa
        >>> found = ecgjepa.fetch("georgia", "data/georgia", dry_run=True)
        >>> found.num_fetched
        0
    """
    description = describe(database)
    _refuse_closed(description)
    base, folder = _base(base_url), Path(to)
    _tell(description, folder)

    def wanted() -> Iterator[Item]:
        return select(read_items(published, description.origin, base), only, limit)

    @cache
    def listed() -> frozenset[str]:
        return frozenset(item.path for item in read_items(published, description.origin, base))

    with _clients(jobs) as clients, _state_of(folder, dry_run) as state:
        label = f"{database}-{description.origin.version}"
        published = state / f"{label}.list"
        if recheck or not published.is_file():
            _get_list(clients[0], list_url(description.origin, base), published)
        with Journal(state / f"{label}.verified") as journal:
            plan = estimate(
                wanted(), folder, journal, clients, description, unpack=unpack, recheck=recheck
            )
            if not plan.num_files:
                raise FetchError(f"{published}: lists no file that is wanted")
            refuse_full_disk(plan, folder)
            if dry_run:
                return FetchResult(database, folder, plan)
            work = Work(
                folder,
                journal,
                clients,
                unpack,
                recheck,
                listed=listed,
                most_bytes=2 * description.download_bytes,
            )
            total = max(plan.num_bytes // 10**6, 1)
            show = progress if progress and plan.num_missing else lambda done, total: None
            # Sizes may be estimates, so it is all there only when it is done.
            work.carry_out(wanted(), lambda: show(min(work.num_bytes // 10**6, total - 1), total))
            show(total, total)
    return FetchResult(
        database=database,
        folder=folder,
        plan=plan,
        num_fetched=work.num_fetched,
        num_present=work.num_present,
        num_bytes=work.num_bytes,
        unpacked=tuple(sorted(work.unpacked)),
        failures=tuple(work.failures),
        gave_up=work.gave_up,
    )


def _base(base_url: str | None) -> str:
    base = base_url or os.environ.get(MIRROR_VARIABLE) or "https://"
    if not base.startswith(("http://", "https://")):
        raise FetchError(f"mirror {shown(base)!r}: expected an address that begins with http")
    return base if base.endswith("/") else f"{base}/"


def _refuse_closed(description: DatabaseDescription) -> None:
    if description.access != "open":
        raise FetchError(
            f"{description.name} is not openly accessible: its publisher wants an account and an "
            f"agreement. Ask for it at {description.origin.page} and download it from there"
        )


def _tell(description: DatabaseDescription, folder: Path) -> None:
    """Log licence, citations, size and another way, before anything is fetched."""
    lines = [
        description.title,
        f"licence: {description.licence}; see {description.origin.page}",
        *(f"cite: {citation}" for citation in description.citations),
        f"all of it: about {readable(description.download_bytes)}",
    ]
    bucket = description.origin.bucket
    if bucket:
        lines.append("or, where it works: fetch with the next command, then verify with this one")
    for line in lines:
        logger.info(textwrap.fill(line, 79, subsequent_indent="  ", break_on_hyphens=False))
    if bucket:  # In one line, to be copied.
        logger.info("  aws s3 sync --no-sign-request %s %s", bucket, folder)


@contextmanager
def _clients(jobs: int) -> Iterator[list[Client]]:
    stop = threading.Event()
    clients = [Client(stop) for _ in range(max(jobs, 1))]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def _get_list(client: Client, url: str, path: Path) -> None:
    try:
        item = Item(0, "", url, "", "", None)
        fetch_file(client, item, path, lambda _: None, most_bytes=_MOST_LIST_BYTES)
    except RefusedError as error:
        raise FetchError(f"{shown(url)}, which lists the files: {error}") from None


@contextmanager
def _state_of(folder: Path, dry_run: bool) -> Iterator[Path]:
    """Give the folder for lists and journals, guarded against a second fetch."""
    state = folder / STATE_FOLDER
    if dry_run and not state.is_dir():
        with TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    if folder.exists() and not folder.is_dir():
        raise FetchError(f"{folder} is a file; expected a folder, new or of an earlier fetch")
    state.mkdir(parents=True, exist_ok=True)
    with holding(state / "lock") as is_ours:
        if not is_ours:
            raise FetchError(f"{folder}: another fetch is at work there; wait for it")
        yield state
