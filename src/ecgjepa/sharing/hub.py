"""Models on the Hub: `load` takes one from there, `push` puts one there.

Only the files of a model folder travel, see `ecgjepa.sharing.hub_files`. A branch or tag is pinned
to the commit that it leads to, and what was downloaded is kept by commit in the cache.
"""

import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ecgjepa.errors import HubError
from ecgjepa.files import replacing_folder
from ecgjepa.sharing.hub_cache import (
    COMMIT,
    folder_of,
    is_whole,
    known_commit,
    note_revision,
    write_origin,
)
from ecgjepa.sharing.hub_errors import UnreachableHubError, explained, hub_library, without_password
from ecgjepa.sharing.hub_files import (
    CARD,
    CONFIG,
    MOST_BYTES,
    Bounded,
    RemoteFile,
    check_name,
    check_revision,
    files_to_take,
    names_left_out,
)
from ecgjepa.version import __version__

logger = logging.getLogger(__name__)

_BRANCH = "main"
_SHOWN = 3


class Pushed(NamedTuple):
    """A model that was put on the Hub.

    Attributes:
        name: Name by which ``--model`` takes it, ``hf:owner/name``.
        commit: Commit that holds it.
        url: Address of its page.
        files: Names of the files that it consists of.
        left_out: Names of files of the folder that did not travel.
        is_private: Whether only those with access see it.
        licence: Licence that its card names, or None.
    """

    name: str
    commit: str
    url: str
    files: tuple[str, ...]
    left_out: tuple[str, ...]
    is_private: bool
    licence: str | None


def load(name: str, revision: str | None = None) -> Path:
    """Return a local model folder of a model on the Hub, downloaded if it is not in the cache.

    The cache (``ECGJEPA_CACHE``) answers alone for a commit that it holds, if ``HF_HUB_OFFLINE`` is
    set, and if the Hub gives no answer. ``HF_ENDPOINT`` and ``HF_TOKEN`` are those of the library.

    Args:
        name: ``owner/name``, with or without ``hf:``.
        revision: Branch, tag or commit; by default the branch ``main``.

    Raises:
        HubError: If there is no such model or no access to it, if it is not a model of ecgjepa or
            not what the Hub says, or if the Hub gives no answer and the cache holds none.
    """
    name, revision = check_name(name), check_revision(revision or _BRANCH)
    if COMMIT.fullmatch(revision) and is_whole(folder := folder_of(name, revision)):
        return folder
    try:
        return _from_hub(name, revision)
    except UnreachableHubError as error:
        commit = known_commit(name, revision)
        folder = folder_of(name, commit or "none")
        if commit is None or not is_whole(folder):
            raise UnreachableHubError(
                f"hf:{name}@{revision}: {error}, and the cache does not hold it. With a network, "
                "load it once; or give the path of a model folder"
            ) from None
        logger.warning(
            "hf:%s@%s: %s; commit %s of the cache is used", name, revision, error, commit
        )
        return folder


def push(
    folder: str | Path,
    name: str,
    *,
    private: bool = False,
    licence: str | None = None,
    message: str | None = None,
) -> Pushed:
    """Put a model folder on the Hub, with a card that says how to use it from there.

    The repository is made if it is missing. Files of an earlier model that this one lacks are
    removed from it; what is not part of a model folder is left as it is.

    Args:
        folder: Model folder, or folder of a run, probe or fine-tuning that holds one.
        name: ``owner/name``, with or without ``hf:``.
        private: Only those with access may see it; an existing repository must be private already.
        licence: Licence of the weights as the Hub names it, such as ``cc-by-4.0``; by default the
            one that the folder's card names, else ``unknown``.
        message: First line of the commit.

    Raises:
        ModelFolderError: If the folder cannot be used; nothing is sent then.
        HubError: If the Hub cannot be reached, or refuses it.

    Example:
        >>> import ecgjepa
        >>> ecgjepa.push("runs/probe", "clinic/ecg", private=True)  # doctest: +SKIP
        Pushed(name='hf:clinic/ecg', ...)
        >>> try:
        ...     ecgjepa.push("runs/probe", "my ECG model")
        ... except ecgjepa.EcgjepaError as error:
        ...     print(str(error).partition(";")[0])
        'my ECG model': is not a name of the Hub
    """
    from ecgjepa.model.folder import find_model, load_model_folder
    from ecgjepa.sharing.cards import licence_in
    from ecgjepa.sharing.hub_card import hub_card, is_licence

    name = check_name(name)
    if licence is not None and not is_licence(licence):
        raise HubError(f"licence {licence[:80]!r}: expected a name of the Hub's, such as cc-by-4.0")
    place = find_model(folder)
    _, config = load_model_folder(place)
    there = {path.name for path in place.iterdir()}
    own = (place / CARD).read_text(encoding="utf-8") if CARD in there else ""
    contents: dict[str, Path | bytes] = {
        known: place / known for known in MOST_BYTES if known in there
    }
    licence = licence or licence_in(own)
    contents[CARD] = hub_card(config, own, name, licence).encode()
    with explained(name, _BRANCH, endpoint := _endpoint()):
        commit, is_private = _send(endpoint, name, contents, private, message)
    return Pushed(
        name=f"hf:{name}",
        commit=commit,
        url=f"{without_password(endpoint)}/{name}",
        files=tuple(contents),
        left_out=tuple(names_left_out(there)),
        is_private=is_private,
        licence=licence,
    )


def _endpoint() -> str:
    """Return the address of the Hub, which the library looks up only when it is imported."""
    named = os.environ.get("HF_ENDPOINT") or hub_library().constants.ENDPOINT
    return str(named).rstrip("/")


def _api(endpoint: str) -> Any:  # noqa: ANN401
    library = hub_library()
    told = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    if told or library.constants.is_offline_mode():
        raise UnreachableHubError("HF_HUB_OFFLINE is set, so the Hub is not asked")
    return library.HfApi(endpoint=endpoint, library_name="ecgjepa", library_version=__version__)


def _from_hub(name: str, revision: str) -> Path:
    """Look a revision up, and download its files unless the cache holds them."""
    endpoint = _endpoint()
    api = _api(endpoint)
    with explained(name, revision, endpoint):
        info = api.model_info(name, revision=revision, files_metadata=True)
        found = [_described(name, sibling) for sibling in info.siblings or ()]
        commit = str(info.sha)
    if not COMMIT.fullmatch(commit):
        raise HubError(f"hf:{name}: the Hub names no commit of {revision}, but {commit[:80]!r}")
    folder = folder_of(name, commit)
    if not is_whole(folder):
        files = files_to_take(name, found)
        with replacing_folder(folder) as partial:
            _download(api, name, commit, files, partial)
            write_origin(partial, name, commit, [file.name for file in files])
        _tell_left_out(name, (file.name for file in found))
    note_revision(name, revision, commit)
    logger.info("hf:%s: commit %s (%s)", name, commit, revision)
    return folder


def _described(name: str, sibling: Any) -> RemoteFile:  # noqa: ANN401
    if type(sibling.size) is not int:
        raise HubError(f"hf:{name}: the Hub tells no size of {str(sibling.rfilename)[:200]!r}")
    sha256 = None if sibling.lfs is None else str(sibling.lfs.sha256)
    return RemoteFile(str(sibling.rfilename), sibling.size, sha256, sibling.blob_id)


def _download(api: Any, name: str, commit: str, files: list[RemoteFile], folder: Path) -> None:  # noqa: ANN401
    """Download files into a folder and check them; the description first, which may be foreign."""
    from ecgjepa.model.folder import read_model_config

    for file in sorted(files, key=lambda file: file.name != CONFIG):
        with explained(name, commit, api.endpoint):
            api.hf_hub_download(
                name,
                file.name,
                revision=commit,
                local_dir=folder,
                tqdm_class=Bounded.at(name, file),
            )
        if (folder / file.name).is_symlink():
            raise HubError(f"hf:{name}: {file.name} came as a link")
        file.check(name, folder / file.name)
        if file.name == CONFIG:
            read_model_config(folder)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the library's notes


def _tell_left_out(name: str, names: Iterable[str]) -> None:
    if others := names_left_out(names):
        shown = ", ".join(others[:_SHOWN]) + (", …" if len(others) > _SHOWN else "")
        logger.info(
            "hf:%s: %d more files are not part of a model folder and were not downloaded: %s",
            name,
            len(others),
            shown,
        )


def _send(
    endpoint: str,
    name: str,
    contents: dict[str, Path | bytes],
    private: bool,
    message: str | None,
) -> tuple[str, bool]:
    """Commit files to a repository; return the commit, and whether the repository is private."""
    library, api = hub_library(), _api(endpoint)
    api.create_repo(name, private=private or None, exist_ok=True)
    before = api.model_info(name)
    where = f"{without_password(endpoint)}/{name}"
    if private and not before.private:
        raise HubError(
            f"hf:{name}: is there already and public, so --private would not hold. Nothing was "
            f"sent; make it private at {where}/settings, or choose another name"
        )
    stale = {str(sibling.rfilename) for sibling in before.siblings or ()} & set(MOST_BYTES)
    operations = [
        *(library.CommitOperationAdd(file, content) for file, content in contents.items()),
        *(library.CommitOperationDelete(file) for file in sorted(stale - set(contents))),
    ]
    commit = api.create_commit(
        name, operations, commit_message=message or f"Model of ecgjepa {__version__}"
    )
    _check_arrived(api, name, str(commit.oid), contents)
    return str(commit.oid), bool(before.private)


def _check_arrived(api: Any, name: str, commit: str, contents: dict[str, Path | bytes]) -> None:  # noqa: ANN401
    """Refuse a commit that does not hold the bytes that were sent."""
    info = api.model_info(name, revision=commit, files_metadata=True)
    found = {file.name: file for file in (_described(name, one) for one in info.siblings or ())}
    for file, content in contents.items():
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        if file not in found or found[file].size != size:
            raise HubError(f"hf:{name}: {file} did not arrive whole at commit {commit}")
        if isinstance(content, Path):
            found[file].check(name, content)
