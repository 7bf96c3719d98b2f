"""Checkpoint files of the official implementation, kweimann/ECG-JEPA at commit 504b4e5.

Its ``pretrain.py`` writes, with ``torch.save``,

    {"model": …, "optimizer": …, "config": …, "step": …}

and its ``scripts/minify_pretrained_checkpoint.py`` cuts that down to the target encoder:
``{"model": …, "config": …}``. Both are read and written here. Tensors keep their bytes; only their
names change, by the explicit lists below.
"""

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ecgjepa.errors import OfficialCheckpointError
from ecgjepa.files import replacing
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.model.predictor import Predictor
from ecgjepa.model.weights import check_finite_weights, save_pickled
from ecgjepa.official.config import check_official_config, encoder_config, predictor_config

# The three networks: the official name, ours.
_NETWORKS = (
    ("encoder", "context_encoder"),
    ("predictor", "predictor"),
    ("target_encoder", "target_encoder"),
)
# Inside a network the names are the same on both sides, in this order.
_BLOCK = (
    "norm1.weight",
    "attn.qkv.weight",
    "attn.proj.weight",
    "norm2.weight",
    "mlp.fc1.weight",
    "mlp.fc2.weight",
)
_ENCODER = (("registers", "patch_embed.proj.weight"), ("norm.weight",))
_PREDICTOR = (("mask_token", "embed.weight"), ("norm.weight", "proj.weight"))


class OfficialCheckpoint(NamedTuple):
    """What an official checkpoint holds.

    Attributes:
        config: The official configuration, field by field.
        weights: Tensors by our names: ``target_encoder.…`` and, unless the file was cut down to
            the target encoder, ``context_encoder.…`` and ``predictor.…``.
        step: Optimizer steps done; None if the file was cut down.
        optimizer: State of its AdamW, or None.
    """

    config: dict[str, Any]
    weights: dict[str, Tensor]
    step: int | None = None
    optimizer: dict[str, Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether context encoder and predictor are there too."""
        return any(name.startswith("predictor.") for name in self.weights)

    def network(self, name: str) -> dict[str, Tensor]:
        """Return one network's weights, by the names of its own module."""
        prefix = f"{name}."
        return {
            key.removeprefix(prefix): tensor
            for key, tensor in self.weights.items()
            if key.startswith(prefix)
        }


def tensor_names(official: dict[str, Any], *, complete: bool) -> dict[str, str]:
    """Return the names of all tensors: the official one, then ours; in the official order.

    Args:
        official: Official configuration; its depths and number of registers decide.
        complete: All three networks, or the target encoder alone.
    """
    names = {}
    for theirs, ours in _NETWORKS if complete else _NETWORKS[2:]:
        first, last = _PREDICTOR if ours == "predictor" else _ENCODER
        depth = official["pred_depth" if ours == "predictor" else "depth"]
        blocks = [f"blocks.{number}.{name}" for number in range(depth) for name in _BLOCK]
        for name in (*first, *blocks, *last):
            # The official code has no such tensor then; ours is empty.
            if name != "registers" or official["num_registers"]:
                names[f"{theirs}.{name}"] = f"{ours}.{name}"
    return names


def read_official(path: str | Path) -> OfficialCheckpoint:
    """Read an official checkpoint without running anything that is in it.

    Raises:
        OfficialCheckpointError: If the file is damaged or is not such a checkpoint.
    """
    path = Path(path)
    content = _load(path)
    config = check_official_config(content["config"], source=str(path))
    encoder = encoder_config(config, source=str(path))
    tensors = content["model"]
    step = content.get("step")
    if not isinstance(step, int | None):
        raise OfficialCheckpointError(f"{path}: step is {step!r}; expected a number")
    _check_tensors(tensors, source=path)
    complete = any(not name.startswith("target_encoder.") for name in tensors)
    if complete:
        predictor = predictor_config(config, source=str(path))
    names = tensor_names(config, complete=complete)
    _check_names(set(tensors), set(names), source=path)
    found = OfficialCheckpoint(
        config=config,
        weights={ours: tensors[theirs] for theirs, ours in names.items()},
        step=step,
        optimizer=content.get("optimizer"),
    )
    with torch.device("meta"):
        networks: dict[str, VisionTransformer | Predictor] = {
            "target_encoder": VisionTransformer(encoder)
        }
        if complete:
            networks["context_encoder"] = networks["target_encoder"]
            networks["predictor"] = Predictor(predictor, encoder)
    _check_shapes(found, networks, source=path)
    check_finite_weights(found.weights, str(path), OfficialCheckpointError)
    return found


def write_official(path: str | Path, checkpoint: OfficialCheckpoint) -> Path:
    """Write a checkpoint that the official code reads; an older file of that name is replaced.

    With all three networks and the optimizer it is one its ``pretrain.py --chkpt`` continues; the
    target encoder alone is what its ``finetune.py --encoder`` needs.
    """
    path = Path(path)
    config = check_official_config(checkpoint.config, source="configuration")
    names = tensor_names(config, complete=checkpoint.is_complete)
    content: dict[str, Any] = {
        "model": {
            theirs: checkpoint.weights[ours].detach().cpu().clone()
            for theirs, ours in names.items()
        }
    }
    if checkpoint.optimizer is not None:
        content["optimizer"] = checkpoint.optimizer
    content["config"] = config
    if checkpoint.step is not None:
        content["step"] = checkpoint.step
    with replacing(path) as stream:
        save_pickled(stream, content)
    return path


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise OfficialCheckpointError(f"no checkpoint file {path}")
    try:
        # PyTorch does not look at the archive's checksums: a changed weight would go unnoticed.
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise OfficialCheckpointError(f"{path}: not readable: {damaged} is damaged")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OfficialCheckpointError:
        raise
    except Exception as error:  # which one depends on the byte that is damaged
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OfficialCheckpointError(
            f"{path}: not readable as a PyTorch file of tensors and plain values ({reason}); files "
            "that could run code are refused"
        ) from None
    expected = "expected a pre-training checkpoint of kweimann/ECG-JEPA, with 'model' and 'config'"
    if not isinstance(content, dict):
        raise OfficialCheckpointError(f"{path}: holds a {type(content).__name__}; {expected}")
    if "eval_config" in content:
        raise OfficialCheckpointError(
            f"{path}: is a classifier written by the official finetune.py; {expected}"
        )
    if missing := {"model", "config"} - content.keys():
        raise OfficialCheckpointError(f"{path}: lacks {', '.join(sorted(missing))}; {expected}")
    return content


def _check_tensors(tensors: object, *, source: Path) -> None:
    if not isinstance(tensors, dict) or not tensors:
        raise OfficialCheckpointError(f"{source}: 'model' holds no tensors by name")
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32:
            found = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise OfficialCheckpointError(f"{source}: {name} is {found}; expected a float32 tensor")


def _check_names(found: set[str], expected: set[str], *, source: Path) -> None:
    surplus, missing = sorted(found - expected), sorted(expected - found)
    biases = [name for name in surplus if "norm" in name and name.endswith(".bias")]
    if biases:
        raise OfficialCheckpointError(
            f"{source}: its layer norms have biases ({biases[0]}, …): it was written by the "
            "official code before commit d7b787b, whose ViT-S encoder had 14,284,416 parameters "
            "instead of 14,277,888. Models without biases, as described in the paper, cannot hold "
            "it; train it again with 504b4e5, or use the official code of its time"
        )
    for problem, names in (("lacks", missing), ("has unknown", surplus)):
        if names:
            raise OfficialCheckpointError(
                f"{source}: {problem} tensors: {', '.join(names[:3])}"
                + (f" and {len(names) - 3} more" if len(names) > 3 else "")
                + "; it does not fit its own configuration"
            )


def _check_shapes(
    checkpoint: OfficialCheckpoint,
    networks: dict[str, VisionTransformer | Predictor],
    *,
    source: Path,
) -> None:
    for network, module in networks.items():
        weights = checkpoint.network(network)
        for name, expected in module.state_dict().items():
            if name in weights and weights[name].shape != expected.shape:
                raise OfficialCheckpointError(
                    f"{source}: {network}.{name} has shape {tuple(weights[name].shape)}; its "
                    f"configuration makes that {tuple(expected.shape)}"
                )
