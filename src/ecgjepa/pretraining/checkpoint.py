"""Checkpoints: whole or not at all, hashed, and free of pickled code.

``step-000500/`` holds ``weights.safetensors``, ``trainer.pt`` (optimizer and random state, loadable
with ``weights_only=True``), ``state.json`` and ``hashes.json``. Of single flipped bytes in a
``.pt`` file, PyTorch notices one in five; the hashes notice all.
"""

import json
import logging
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ecgjepa.errors import CheckpointError
from ecgjepa.files import (
    remove_partial,
    replacing_folder,
    sha256_of_file,
    temporary_name,
    write_json,
)
from ecgjepa.model.weights import save_pickled, save_tensors
from ecgjepa.version import __version__

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
WEIGHTS_FILE = "weights.safetensors"
_TRAINER_FILE = "trainer.pt"
_STATE_FILE = "state.json"
_HASHES_FILE = "hashes.json"


class CheckpointState(NamedTuple):
    """What a checkpoint says beside its tensors.

    Attributes:
        step: Optimizer steps done.
        store: Fingerprint of the store it was trained on.
        origin: Software, device and processes that computed it; see `origin_here`.
        losses: Losses of the parts since the last line of the log, which the next line averages.
    """

    step: int
    store: str
    origin: dict[str, str] = {}  # noqa: RUF012 (a NamedTuple's default; nobody changes it)
    losses: tuple[float, ...] = ()


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: CheckpointState
) -> Path:
    """Write a checkpoint below ``folder`` and return its path."""
    path = folder / f"step-{state.step:06d}"
    with replacing_folder(path) as partial:
        save_tensors(partial / WEIGHTS_FILE, model.state_dict())
        trainer = {"optimizer": optimizer.state_dict(), "torch_rng": torch.get_rng_state()}
        with (partial / _TRAINER_FILE).open("wb") as stream:
            save_pickled(stream, trainer)
        write_json(
            partial / _STATE_FILE,
            {
                "format_version": FORMAT_VERSION,
                "software_version": __version__,
                **state._asdict(),
            },
        )
        hashes = {file.name: sha256_of_file(file) for file in sorted(partial.iterdir())}
        write_json(partial / _HASHES_FILE, hashes)
    return path


def restore_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> CheckpointState:
    """Load a checkpoint into model and optimizer, and its random state.

    Raises:
        CheckpointError: If any byte of it changed or it does not fit the model.
    """
    state = check_checkpoint(path)
    weights = load_file(path / WEIGHTS_FILE)
    trainer = torch.load(path / _TRAINER_FILE, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(weights, strict=True)
        optimizer.load_state_dict(trainer["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: does not fit this configuration: {error}") from None
    torch.set_rng_state(trainer["torch_rng"])
    return state


def load_encoder_weights(path: Path, encoder: str) -> dict[str, Tensor]:
    """Return one encoder's weights from a checkpoint.

    Raises:
        CheckpointError: If the checkpoint is damaged.
    """
    check_checkpoint(path)
    prefix = f"{encoder}."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in load_file(path / WEIGHTS_FILE).items()
        if name.startswith(prefix)
    }


def load_optimizer_state(path: Path) -> dict[str, Any]:
    """Return the optimizer's state from a checkpoint.

    Raises:
        CheckpointError: If the checkpoint is damaged.
    """
    check_checkpoint(path)
    trainer = torch.load(path / _TRAINER_FILE, map_location="cpu", weights_only=True)
    return trainer["optimizer"]


def check_checkpoint(path: Path) -> CheckpointState:
    """Verify every hash of a checkpoint and return its state.

    Raises:
        CheckpointError: If a file is missing, has changed, or is of another format version.
    """
    try:
        hashes = json.loads((path / _HASHES_FILE).read_text(encoding="utf-8"))
        for name in (WEIGHTS_FILE, _TRAINER_FILE, _STATE_FILE):
            if sha256_of_file(path / name) != hashes[name]:
                raise CheckpointError(f"{path}: {name} is damaged: its SHA-256 has changed")
        state = json.loads((path / _STATE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: incomplete: {error.filename} is missing") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise CheckpointError(f"{path}: {_HASHES_FILE} is damaged") from None
    if state["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format version {state['format_version']}; this ecgjepa reads version "
            f"{FORMAT_VERSION}"
        )
    return CheckpointState(
        state["step"],
        state["store"],
        state.get("origin", {}),  # absent in the first checkpoints of this format
        tuple(state.get("losses", ())),
    )


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints below ``folder``, oldest first, without opening them."""
    found = [path for path in folder.glob("step-*") if path.name[5:].isdigit() and path.is_dir()]
    return sorted(found, key=_step_of)


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest undamaged checkpoint; damaged ones are named in a warning."""
    for path in reversed(list_checkpoints(folder)):
        try:
            check_checkpoint(path)
        except CheckpointError as error:
            logger.warning("skipping a checkpoint: %s", error)
            continue
        return path
    return None


def remove_old_checkpoints(
    folder: Path, keep: int, *, newest: int | None = None, milestone_every: int = 0
) -> None:
    """Remove checkpoints that need not be kept, and what interrupted writes left.

    Args:
        folder: Folder of the checkpoints.
        keep: Number of the latest checkpoints that stay; 0 keeps all.
        newest: Step of the one just written. Later ones are damaged, or the run would have gone
            on from them: they stay until they are written again, and do not count.
        milestone_every: Those at multiples of this stay; 0 for none.
    """
    remove_partial(folder)
    if not keep:
        return
    steps = [(_step_of(path), path) for path in list_checkpoints(folder)]
    counted = [path for step, path in steps if newest is None or step <= newest]
    for path in counted[:-keep]:
        if not milestone_every or _step_of(path) % milestone_every:
            # Renamed first: what is half removed has no checkpoint's name.
            doomed = temporary_name(path)
            path.replace(doomed)
            shutil.rmtree(doomed)


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))
