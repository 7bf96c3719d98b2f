"""Models of the Hub that lie in the cache: a folder for each commit, and what branches led to."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ecgjepa.errors import HubError
from ecgjepa.files import default_cache, read_versioned, sha256_of_file, write_json
from ecgjepa.sharing.hub_files import CONFIG, WEIGHTS

_VERSION = 1
# Beside the files of a model: where they come from, and their hashes.
ORIGIN_FILE = "hub.json"
_REVISIONS_FILE = "revisions.json"
COMMIT = re.compile(r"[0-9a-f]{40}")


class CachedModel(NamedTuple):
    """A model that was downloaded from the Hub.

    Attributes:
        name: Name of its repository, ``owner/name``.
        commit: Commit of the repository.
        folder: Place of the model folder.
        downloaded: Day of the download, as ``2026-01-31``.
        num_bytes: Size of its files.
        revisions: Branches and tags that led to the commit when they were last looked up.
    """

    name: str
    commit: str
    folder: Path
    downloaded: str
    num_bytes: int
    revisions: tuple[str, ...]


def folder_of(name: str, commit: str, cache: Path | None = None) -> Path:
    """Return the place of a commit's model folder, whether it is there or not."""
    return _repository(name, cache) / commit


def known_commit(name: str, revision: str, cache: Path | None = None) -> str | None:
    """Return the commit that a revision led to when it was last looked up, or None."""
    if COMMIT.fullmatch(revision):
        return revision
    return _revisions(_repository(name, cache)).get(revision)


def note_revision(name: str, revision: str, commit: str, cache: Path | None = None) -> None:
    """Keep which commit a branch or tag leads to, for when there is no network."""
    if COMMIT.fullmatch(revision):
        return
    place = _repository(name, cache)
    known = _revisions(place) | {revision: commit}
    write_json(place / _REVISIONS_FILE, {"format_version": _VERSION, "revisions": known})


def write_origin(folder: Path, name: str, commit: str, files: list[str]) -> None:
    """Note beside downloaded files where they come from, and what they hold."""
    content = {
        "format_version": _VERSION,
        "name": name,
        "commit": commit,
        "downloaded": datetime.now(UTC).date().isoformat(),
        "sha256": {file: sha256_of_file(folder / file) for file in files},
    }
    write_json(folder / ORIGIN_FILE, content)


def is_whole(folder: Path) -> bool:
    """Return whether all files of a cached model are there, and unchanged since the download."""
    try:
        origin, _ = read_versioned(folder / ORIGIN_FILE, {_VERSION}, HubError)
        digests = origin["sha256"]
        return {CONFIG, WEIGHTS} <= set(digests) and all(
            sha256_of_file(folder / file) == digest for file, digest in digests.items()
        )
    except (HubError, OSError, KeyError, TypeError):
        return False


def cached_models(cache: Path | None = None) -> list[CachedModel]:
    """Return the models of the Hub that lie in the cache, by name and day; none is opened."""
    found = []
    for path in sorted(_root(cache).glob(f"*/*/{ORIGIN_FILE}")):
        folder = path.parent
        try:
            origin, _ = read_versioned(path, {_VERSION}, HubError)
            name, commit, day = origin["name"], origin["commit"], origin["downloaded"]
        except (HubError, KeyError, OSError):
            continue  # Loading it by name downloads it anew.
        led = [key for key, value in _revisions(folder.parent).items() if value == commit]
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        found.append(CachedModel(str(name), str(commit), folder, str(day), size, tuple(led)))
    return sorted(found, key=lambda model: (model.name, model.downloaded, model.commit))


def _root(cache: Path | None) -> Path:
    return (default_cache() if cache is None else cache) / "hub"


def _repository(name: str, cache: Path | None) -> Path:
    # No name of the Hub holds two hyphens.
    return _root(cache) / name.replace("/", "--")


def _revisions(place: Path) -> dict[str, str]:
    try:
        content, _ = read_versioned(place / _REVISIONS_FILE, {_VERSION}, HubError)
    except HubError:
        return {}
    found = content.get("revisions")
    items = found.items() if isinstance(found, dict) else ()
    return {str(key): value for key, value in items if COMMIT.fullmatch(str(value))}
