"""Bring one file into its place: resumed, retried, verified, and only then under its name."""

import errno
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ecgjepa.fetching.client import NUMBER, Client, NetworkError, RefusedError, Response
from ecgjepa.fetching.lists import Item
from ecgjepa.files import (
    PARTIAL_PREFIX,
    DiskFullError,
    digest_of_file,
    move_into_place,
    open_unlinked,
)

# Waits before trying again, in seconds; one more failure in a row is reported.
RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0)
_LONGEST_WAIT = 60.0
# How often a file is fetched whole before its checksum is taken to be hopeless.
MOST_DOWNLOADS = 3
# An attempt that brought this many bytes is progress, not one more failure in a row.
_PROGRESS = 1 << 20
_WHY = {
    401: "the server asks for an account",
    403: "the server refuses it; it may ask for an account, or be tired of this client",
    404: "the server does not have it",
    410: "the server does not have it any more",
}


class _AgainError(NetworkError):
    """The server asks to come back later."""

    def __init__(self, message: str, wait: str | None) -> None:
        super().__init__(message)
        is_number = wait is not None and NUMBER.fullmatch(wait)
        self.wait = min(float(wait or 0), _LONGEST_WAIT) if is_number else 0.0


def partial_of(path: Path) -> Path:
    """Return the name a file has until it is whole and verified."""
    return path.with_name(PARTIAL_PREFIX + path.name)


def fetch_file(
    client: Client, item: Item, path: Path, moved: Callable[[int], None], *, most_bytes: int
) -> None:
    """Fetch one file; an interrupted download resumes where it stopped.

    Args:
        client: Connections to use.
        item: The file.
        path: Where it goes. Before it is verified, it lies beside it under `partial_of` its name.
        moved: Told the number of bytes that arrived, as they arrive.
        most_bytes: Size that a file may have at most of which the list tells no size.

    Raises:
        RefusedError: If it cannot be had, with the reason.
        StoppedError: If the run was interrupted.
        DiskFullError: If there is no space left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    if partial.is_symlink():
        raise RefusedError(f"{partial.name} beside it is a symbolic link; remove that link")
    most = item.size if item.size is not None else most_bytes
    for _ in range(MOST_DOWNLOADS):
        _complete(client, item, partial, moved, most)
        if not item.algorithm or digest_of_file(partial, item.algorithm) == item.digest:
            move_into_place(partial, path)
            _tag_file(partial).unlink(missing_ok=True)
            return
        # Whatever the server sent too much of is still in the connection.
        client.close()
        _discard(partial)
    raise RefusedError(
        f"its {item.algorithm} is not the published one, after {MOST_DOWNLOADS} downloads"
    )


def _complete(
    client: Client, item: Item, partial: Path, moved: Callable[[int], None], most: int
) -> None:
    """Make the partial file whole, trying again as long as that may help."""
    failures, best = 0, _size(partial)
    while True:
        try:
            return _attempt(client, item, partial, moved, most)
        except NetworkError as error:
            client.close()
            size = _size(partial)
            failures = 1 if size >= best + _PROGRESS else failures + 1
            best = max(best, size)
            if failures > len(RETRY_SECONDS):
                raise RefusedError(f"{error} (tried {failures} times)") from None
            client.wait(max(RETRY_SECONDS[failures - 1], getattr(error, "wait", 0.0)))


def _attempt(
    client: Client, item: Item, partial: Path, moved: Callable[[int], None], most: int
) -> None:
    start = _size(partial)
    if start > most:
        _discard(partial)
        start = 0
    if start and start == item.size:
        return
    response = client.get(item.url, _range_headers(partial, start))
    if response.status == 416 and _numbers(response)[-1:] == [start]:
        client.close()
        return  # It was whole already.
    if response.status == 206 and _numbers(response)[:1] == [start]:
        _write(response, partial, "ab", moved, most - start)
    elif response.status == 200:  # From the beginning: asked for, or all the server can do.
        _write(response, partial, "wb", moved, most)
    elif response.status in (206, 416):
        _discard(partial)
        raise NetworkError("the server does not send the range that was asked for")
    elif response.status in (408, 425, 429) or response.status >= 500:
        raise _AgainError(f"HTTP {response.status}", response.headers.get("Retry-After"))
    else:
        client.close()
        why = _WHY.get(response.status, "an answer that was not expected")
        raise RefusedError(f"HTTP {response.status}: {why}")


def _range_headers(partial: Path, start: int) -> dict[str, str]:
    if not start:
        return {}
    headers = {"Range": f"bytes={start}-"}
    with suppress(OSError, ValueError):  # Without a tag, the checksum will tell.
        headers["If-Range"] = _tag_file(partial).read_text(encoding="ascii")
    return headers


def _write(
    response: Response, partial: Path, mode: str, moved: Callable[[int], None], most: int
) -> None:
    """Write what arrives, up to ``most`` bytes: a server may send without end."""
    left = most
    try:
        with open_unlinked(partial, mode) as stream:
            for block in response.body:
                left -= len(block)
                if left < 0:
                    break
                stream.write(block)
                moved(len(block))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                error.errno,
                f"no space left on the disk while fetching {partial.parent}; free some and run "
                "the same command again, which resumes from here",
            ) from None
        raise
    except BaseException:
        tag = response.headers.get("ETag", "")
        if re.fullmatch(r'"[\x21-\x7e]*"', tag):  # Weak tags say nothing about single bytes.
            with open_unlinked(_tag_file(partial), "wb") as stream:
                stream.write(tag.encode("ascii"))
        raise
    if left < 0:
        _discard(partial)
        raise NetworkError(f"the server sends more than the {most:,} B that are left to come")


def _numbers(response: Response) -> list[int]:
    """Return the numbers in Content-Range: first, last, total, or total alone."""
    texts = re.findall(r"[0-9]+", response.headers.get("Content-Range", "")[:200])
    return [int(text) for text in texts if NUMBER.fullmatch(text)]


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _tag_file(partial: Path) -> Path:
    """Return where the server's tag (ETag) of an interrupted download is kept."""
    return partial.with_name(f"{partial.name}.etag")


def _discard(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _tag_file(partial).unlink(missing_ok=True)
