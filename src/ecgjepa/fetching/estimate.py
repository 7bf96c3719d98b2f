"""What a fetch would do: files to get and to check, bytes to expect, room on the disk."""

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ecgjepa.databases.description import DatabaseDescription
from ecgjepa.errors import DiskSpaceError
from ecgjepa.fetching.client import Client, NetworkError, RefusedError
from ecgjepa.fetching.journal import Journal
from ecgjepa.fetching.lists import Item
from ecgjepa.fetching.transfer import partial_of

# Files of one ending whose sizes are asked for, at least; with more files it is an estimate.
_SAMPLE = 16
# The last block of a file, which it rarely fills.
_DISK_BLOCK = 4096
_MARGIN, _MARGIN_OF_ESTIMATE = 0.02, 0.10
_EXAMPLES = 5


@dataclass(frozen=True)
class Estimate:
    """What is to be done.

    Attributes:
        num_files: Files that are wanted.
        num_verified: Of them, those that are there, verified earlier and unchanged.
        num_unchecked: Those that are there and have to be hashed.
        num_missing: Those that have to be fetched.
        num_bytes: Bytes to fetch.
        basis: Where ``num_bytes`` is from.
        is_estimate: Whether it is not exact.
        unpacked_bytes: About how much unpacking adds.
        examples: The first files to fetch.
    """

    num_files: int
    num_verified: int
    num_unchecked: int
    num_missing: int
    num_bytes: int
    basis: str
    is_estimate: bool
    unpacked_bytes: int
    examples: tuple[str, ...]

    @property
    def needed_bytes(self) -> int:
        """Room on the disk that it takes, with a margin."""
        margin = _MARGIN_OF_ESTIMATE if self.is_estimate else _MARGIN
        growth = self.num_bytes + self.unpacked_bytes
        return int(growth * (1 + margin)) + self.num_missing * _DISK_BLOCK


@dataclass
class _Missing:
    """Files of one ending that have to be fetched, and some of them, spread evenly."""

    count: int = 0
    known_bytes: int = 0
    stride: int = 1
    sample: list[Item] = field(default_factory=list)

    def add(self, item: Item) -> None:
        if item.size is None and self.count % self.stride == 0:
            self.sample.append(item)
            if len(self.sample) > 2 * _SAMPLE:
                self.sample = self.sample[::2]
                self.stride *= 2
        self.count += 1


def estimate(
    items: Iterable[Item],
    folder: Path,
    journal: Journal,
    clients: list[Client],
    description: DatabaseDescription,
    *,
    unpack: bool,
    recheck: bool,
) -> Estimate:
    """Look at the folder and ask for sizes; nothing is changed.

    Args:
        items: Files that are wanted.
        folder: Folder of the database.
        journal: Files verified earlier.
        clients: Connections to ask for sizes with, one for each thread.
        description: The database.
        unpack: Whether archives are unpacked.
        recheck: Whether files verified earlier count as unchecked.

    Raises:
        FetchError: If the list is not usable.
    """
    num_files = num_verified = num_unchecked = 0
    missing: dict[str, _Missing] = {}
    examples: list[str] = []
    for item in items:
        num_files += 1
        path = folder / item.path
        try:
            state = path.stat()
        except OSError:
            group = missing.setdefault(path.suffix, _Missing())
            group.add(item)
            group.known_bytes += _bytes_left(item, path)
            if len(examples) < _EXAMPLES:
                examples.append(item.path)
            continue
        is_verified = not recheck and journal.has(item, state)
        num_verified += is_verified
        num_unchecked += not is_verified
    num_missing = sum(group.count for group in missing.values())
    num_bytes, basis, is_estimate = _sizes(missing, clients, description, num_files)
    zips = missing[".zip"].known_bytes if ".zip" in missing else 0
    growth = (description.unpacked_bytes or 0) / description.download_bytes
    return Estimate(
        num_files=num_files,
        num_verified=num_verified,
        num_unchecked=num_unchecked,
        num_missing=num_missing,
        num_bytes=num_bytes,
        basis=basis,
        is_estimate=is_estimate,
        unpacked_bytes=int(zips * growth) if unpack else 0,
        examples=tuple(examples),
    )


def refuse_full_disk(plan: Estimate, folder: Path) -> None:
    """Refuse a download for which the disk has not enough room.

    Raises:
        DiskSpaceError: If it has not.
    """
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if plan.num_missing and plan.needed_bytes > free:
        raise DiskSpaceError(
            f"{folder}: {readable(plan.needed_bytes)} are needed ({plan.basis}; with a margin), "
            f"but {readable(free)} are free. Free some, choose another disk, or fetch a part with "
            "--only or --limit"
        )


def readable(num_bytes: float) -> str:
    """Return a number of bytes in decimal units, as disks are sold."""
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.1f} GB"


def _bytes_left(item: Item, path: Path) -> int:
    """Return what has to be fetched of a file of known size."""
    if item.size is None:
        return 0
    partial = partial_of(path)
    try:
        done = partial.stat().st_size
    except OSError:  # There is none, or its name is too long.
        done = 0
    return max(item.size - done, 0)


def _sizes(
    missing: dict[str, _Missing],
    clients: list[Client],
    description: DatabaseDescription,
    num_files: int,
) -> tuple[int, str, bool]:
    """Return bytes to fetch, where the number is from, and whether it is an estimate."""
    sample = [item for group in missing.values() for item in group.sample]
    known = sum(group.known_bytes for group in missing.values())
    if not missing:
        return 0, "nothing is missing", False
    if not sample:
        return known, "by the published list", False
    sizes = _ask(sample, clients)
    num_missing = sum(group.count for group in missing.values())
    if sizes is None:
        share = description.download_bytes * num_missing / num_files
        return int(share), "by the catalogue, as the server tells no sizes", True
    total = known
    for group in missing.values():
        if group.sample:
            found = [sizes[item.number] for item in group.sample]
            total += round(sum(found) / len(found) * group.count)
    if len(sample) == num_missing:
        return total, "as told by the server", False
    return total, f"estimated from the sizes of {len(sample)} files", True


def _ask(sample: list[Item], clients: list[Client]) -> dict[int, int] | None:
    """Return the sizes of files by HEAD requests, or None if one is not to be had."""

    def ask(share: int) -> list[tuple[int, int | None]]:
        client = clients[share]
        return [(item.number, client.size(item.url)) for item in sample[share :: len(clients)]]

    with ThreadPoolExecutor(len(clients)) as pool:
        try:
            pairs = [pair for pairs in pool.map(ask, range(len(clients))) for pair in pairs]
        except (NetworkError, RefusedError):
            return None
        except KeyboardInterrupt:
            for client in clients:
                client.abort()
            raise
    sizes = {number: size for number, size in pairs if size is not None}
    return sizes if len(sizes) == len(sample) else None
