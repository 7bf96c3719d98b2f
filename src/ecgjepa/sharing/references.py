"""What names a model: a folder, a model in the box, or one on the Hub.

Every verb and function that takes a model passes what it was given through `find_model`, so a model
has the same names everywhere.
"""

import difflib
import logging
import os
import re
from functools import cache
from pathlib import Path

from ecgjepa.errors import ModelFolderError
from ecgjepa.sharing import hub
from ecgjepa.sharing.box import box_folder, box_names

logger = logging.getLogger(__name__)

HUB_PREFIX = "hf:"
# Folders that a run or an evaluation makes in its own.
_WITHIN_A_RUN = re.compile(r"model|best|probe|checkpoints|step-\d+", re.ASCII)
# ``owner/name``, as the Hub spells a model.
_LIKE_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
# Folders beside the one that was typed which are compared with it.
_MOST_BESIDE = 1_000
_MOST_LETTERS = 200
# What tells the folder of a pre-training run.
_OF_A_RUN = ("config.yaml", "store.json")


def find_model(reference: str | Path) -> Path:
    """Return the model folder that a reference leads to; a folder leads to itself.

    The folder of a run, probe or fine-tuning leads to the model folder in it.

    Args:
        reference: A folder, the name of a model in the box, or ``hf:owner/name[@revision]``.

    Raises:
        ModelFolderError: If there is no such folder and no such model.
        HubError: If a model on the Hub cannot be had.
    """
    from ecgjepa.model import folder  # imports torch, and a mistyped name should be told at once

    found = folder.find_model(resolve(reference))
    if found.is_file() and found.suffix.lower() == ".onnx":
        raise ModelFolderError(
            f"{found}: is an ONNX file, and a model folder is expected; 'ecgjepa probe' judges an "
            "encoder in such a file, with --encoder-description: docs/your-encoder.md"
        )
    refuse_unfinished(found)
    return found


def refuse_unfinished(folder: Path) -> None:
    """Refuse the folder of a pre-training run that has no model yet.

    Raises:
        ModelFolderError: If it is one.
    """
    if all((folder / name).is_file() for name in _OF_A_RUN):
        raise ModelFolderError(
            f"{folder}: is a pre-training run without its model, which is written at the end; "
            "repeat its pretrain command to finish it"
        )


def resolve(reference: str | Path) -> Path:
    """Return the folder that a reference stands for.

    Args:
        reference: See `find_model`. The name of a model in the box stands for that model even where
            a folder is called so: ``./NAME`` or a `Path` stands for the folder.

    Raises:
        ModelFolderError: If there is no such folder and no such model.
        HubError: If a model on the Hub cannot be had.
    """
    if not str(reference).strip():  # a variable of a shell that is not set
        raise ModelFolderError(f"the name of the model is empty{_meant('')}")
    if is_box(reference):
        return box_folder(str(reference))
    if Path(reference).exists():
        return Path(reference)
    text = str(reference)
    if text.startswith(HUB_PREFIX):
        return _from_hub(text.removeprefix(HUB_PREFIX))
    raise ModelFolderError(f"no model folder at {text[:_MOST_LETTERS]}{_meant(text)}")


def is_box(reference: str | Path) -> bool:
    """Return whether a reference stands for a model in the box: text does, of a folder's name too.

    Args:
        reference: See `find_model`.
    """
    if str(reference) not in box_names():
        return False
    is_folder = Path(reference).exists()
    if isinstance(reference, str) and is_folder:
        _tell_of_folder(reference)
    return isinstance(reference, str) or not is_folder


@cache
def _tell_of_folder(name: str) -> None:
    logger.warning("%s: the model in the box is used; ./%s names the folder here", name, name)


def name_of(reference: str | Path) -> Path:
    """Return the path to name results after: the folder, or a model's name in the current folder.

    Args:
        reference: See `find_model`.
    """
    text = str(reference)
    if text.startswith(HUB_PREFIX) and not Path(reference).exists():
        return Path(re.sub(r"[^\w.-]+", "-", text.removeprefix(HUB_PREFIX)))
    return Path(reference)


def title_of(reference: str | Path) -> str:
    """Return what a model is called in results and reports: a name without the folders above it.

    Args:
        reference: See `find_model`. A folder in a run, such as a checkpoint, has the run's name
            before it.
    """
    text = str(reference)
    if text.startswith(HUB_PREFIX) or text in box_names():
        return text
    path = Path(os.path.abspath(reference))  # noqa: PTH100 - a link keeps its own name
    names = [path.name]
    while _WITHIN_A_RUN.fullmatch(names[0]) and path.parent.name:
        path = path.parent
        names.insert(0, path.name)
    return "/".join(names)


def _from_hub(text: str) -> Path:
    """Return the folder of a model on the Hub, downloaded unless it is in the cache."""
    name, _, revision = text.partition("@")
    if not name or text.endswith("@"):
        raise ModelFolderError(
            f"{HUB_PREFIX}{text[:_MOST_LETTERS]}: expected {HUB_PREFIX}owner/name or "
            f"{HUB_PREFIX}owner/name@revision"
        )
    return hub.load(name, revision or None)


def _meant(text: str) -> str:
    """Return what a name that leads nowhere may have meant, and what can be given."""
    short, boxes = text[:_MOST_LETTERS], box_names()
    known = f"a model in the box ({', '.join(boxes)}) or " if boxes else ""
    expected = f"expected a folder, {known}{HUB_PREFIX}owner/name"
    close = difflib.get_close_matches(short, (*boxes, *_beside(Path(short))), n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}? ({expected})"
    if _LIKE_HUB.fullmatch(short):
        return f": {expected}. If it is on the Hub, write {HUB_PREFIX}{short}"
    return f": {expected}"


def _beside(path: Path) -> list[str]:
    """Return the folders that lie where a path was looked for, spelled as the path is."""
    parent = path.parent
    try:
        entries = sorted(parent.iterdir())[:_MOST_BESIDE]
    except OSError:  # the parent is mistyped too
        return [str(near / path.name) for near in _near(parent) if (near / path.name).is_dir()]
    return [str(parent / entry.name) for entry in entries if entry.is_dir()]


def _near(folder: Path) -> list[Path]:
    """Return folders that are called like one that is not there."""
    try:
        entries = [entry for entry in folder.parent.iterdir() if entry.is_dir()]
    except OSError:
        return []
    names = [entry.name for entry in entries[:_MOST_BESIDE]]
    return [folder.with_name(name) for name in difflib.get_close_matches(folder.name, names)]
