"""Which files of a repository on the Hub are taken, and whether they are what the Hub says."""

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from ecgjepa.errors import HubError

CONFIG, WEIGHTS, DISTRIBUTION, CARD = (
    "config.json",
    "model.safetensors",
    "distribution.safetensors",
    "README.md",
)
# Nothing else is ever taken or given: neither code nor pickles, and no data. A weight has 4 bytes.
MOST_BYTES = {
    CONFIG: 16_000_000,
    WEIGHTS: 4_000_000_000,
    DISTRIBUTION: 200_000_000,
    CARD: 4_000_000,
}
_REQUIRED = (CONFIG, WEIGHTS)
# The Hub puts it into every repository.
_OF_THE_HUB = (".gitattributes",)
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,254}")
_LONGEST_NAME = 96
_SHOWN = 3


class RemoteFile(NamedTuple):
    """A file in a repository, as the Hub describes it.

    Attributes:
        name: Name, which is one of `MOST_BYTES`.
        size: Size in bytes.
        sha256: SHA-256 of the content, of files in the large file storage.
        blob: Git's SHA-1 of the content, of all others.
    """

    name: str
    size: int
    sha256: str | None
    blob: str | None

    def check(self, name: str, path: Path) -> None:
        """Refuse a file that is not what the Hub says.

        Args:
            name: Name of the repository, for messages.
            path: The file.

        Raises:
            HubError: If size or hash differ.
        """
        size = path.stat().st_size
        if size != self.size:
            raise HubError(f"hf:{name}: {path.name} has {size:,} bytes; the Hub says {self.size:,}")
        algorithm, expected = ("sha256", self.sha256) if self.sha256 else ("sha1", self.blob)
        if expected != _digest(path, algorithm):
            raise HubError(
                f"hf:{name}: {path.name} is not the file that the Hub describes: its "
                f"{algorithm.upper()} differs. Try again; if it stays so, tell its owner"
            )


class Bounded:
    """Ends the download of a file that grows larger than the Hub says.

    The library writes all that a server sends, and compares the size only then. It takes this for a
    progress bar.
    """

    def __init__(self, name: str, file: RemoteFile, initial: int = 0) -> None:
        self._name, self._file, self._size = name, file, initial

    @classmethod
    def at(cls, name: str, file: RemoteFile) -> Callable[..., "Bounded"]:
        """Return what the library takes for the class of a progress bar."""
        return lambda *_args, initial=0, **_options: cls(name, file, initial)

    def update(self, count: float = 1) -> None:
        """Count bytes that came.

        Raises:
            HubError: If they are too many.
        """
        self._size += int(count)
        if self._size > self._file.size:
            raise HubError(
                f"hf:{self._name}: {self._file.name} is longer than the {self._file.size:,} bytes "
                "that the Hub says; the download was ended"
            )

    def __enter__(self) -> "Bounded":
        """Return what counts."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing has to be put away."""


def check_name(name: str) -> str:
    """Return the name of a repository without ``hf:``.

    Raises:
        HubError: If it is not ``owner/name`` as the Hub allows it.
    """
    plain = name.removeprefix("hf:")
    is_known = _NAME.fullmatch(plain) and len(plain) <= _LONGEST_NAME
    if not is_known or ".." in plain or "--" in plain:
        raise HubError(
            f"{name[:200]!r}: is not a name of the Hub; expected hf:owner/name, such as "
            "hf:clinic/ecg-statements"
        )
    return plain


def check_revision(revision: str) -> str:
    """Return a branch, tag or commit.

    Raises:
        HubError: If none can be called so.
    """
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise HubError(
            f"{revision[:200]!r}: is not a revision; expected a branch, a tag or a commit, such as "
            "hf:owner/name@main"
        )
    return revision


def files_to_take(name: str, found: Iterable[RemoteFile]) -> list[RemoteFile]:
    """Return the files of a model folder among those of a repository, before any is downloaded.

    Args:
        name: Name of the repository, for messages.
        found: All of its files.

    Raises:
        HubError: If the repository holds no model of ecgjepa, or a file is too large.
    """
    files = {file.name: file for file in found}
    missing = [needed for needed in _REQUIRED if needed not in files]
    if missing:
        others = [file for file in sorted(files) if file not in _OF_THE_HUB]
        shown = ", ".join(others[:_SHOWN]) + (", …" if len(others) > _SHOWN else "")
        raise HubError(
            f"hf:{name}: holds no model of ecgjepa: {' and '.join(missing)} not found, only "
            f"{shown or 'nothing'}"
        )
    taken = [files[known] for known in MOST_BYTES if known in files]
    for file in taken:
        if not 0 < file.size <= MOST_BYTES[file.name]:
            raise HubError(
                f"hf:{name}: {file.name} has {file.size:,} bytes; expected 1 to "
                f"{MOST_BYTES[file.name]:,}. Nothing was downloaded"
            )
        if not (file.sha256 or file.blob):
            raise HubError(f"hf:{name}: the Hub tells no hash of {file.name}")
    return taken


def names_left_out(names: Iterable[str]) -> list[str]:
    """Return the names of files that are not part of a model folder, sorted."""
    return sorted(name for name in names if name not in MOST_BYTES and name not in _OF_THE_HUB)


def _digest(path: Path, algorithm: str) -> str:
    content_hash = hashlib.new(algorithm, usedforsecurity=False)
    if algorithm == "sha1":  # Git hashes the size, too.
        content_hash.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            content_hash.update(piece)
    return content_hash.hexdigest()
