"""Tensors in files: written whole or not at all, and looked at before they are believed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ecgjepa.errors import EcgjepaError
from ecgjepa.files import naming_full_disk

# Parameters of `ecgjepa.model.encoders.state_space.StateSpace` that are exponents of its kernel.
KEPT_SINGLE = ("log_step", "log_decay", "frequency")
# How the library words an error of the system.
_SYSTEM_ERROR = re.compile(r"\(os error ([0-9]+)\)")


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors of any device as safetensors.

    Raises:
        OSError: If they cannot be written; a `DiskFullError` if the disk is full.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with naming_full_disk(path):
        try:
            save_file(whole, path, metadata={"format": "pt"})
        except SafetensorError as error:
            if (match := _SYSTEM_ERROR.search(str(error))) is None:
                raise
            raise OSError(int(match[1]), str(error), str(path)) from None


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights in half precision, in which a file takes half the room.

    What times and rates of a recurrence are made of stays in single precision: its rounding errors
    grow with the length of a window. So does what half precision cannot hold.

    Args:
        tensors: Weights by name.
    """
    found = {}
    for name, tensor in tensors.items():
        half = tensor.half()
        is_kept = name.rpartition(".")[2] in KEPT_SINGLE or not half.isfinite().all()
        found[name] = half if tensor.dtype == torch.float32 and not is_kept else tensor
    return found


def save_pickled(stream: IO[bytes], content: Any) -> None:  # noqa: ANN401
    """Write what `torch.save` writes.

    Raises:
        OSError: If it cannot be written.
    """
    watched = _Watched(stream)
    try:
        torch.save(content, cast(IO[bytes], watched))
    except RuntimeError:
        # Torch tells only that the file is shorter than it should be.
        if watched.error is not None:
            raise watched.error from None
        raise


class _Watched:
    """A stream that remembers why the system refused to write."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, content: bytes | memoryview) -> int:
        try:
            return self._stream.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._stream.flush()


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a safetensors file; no tensor is read.

    Raises:
        SafetensorError: If it is not such a file.
    """
    with safe_open(path, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def first_difference(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> str | None:
    """Return in words the first tensor whose shape is not the expected one; None if all fit."""
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            here, there = (str(shapes.get(name, "absent")) for shapes in (found, expected))
            return f"tensor {name[:100]} is {here[:100]}, expected {there}"
    return None


def load_finite(path: Path, error: type[EcgjepaError]) -> dict[str, Tensor]:
    """Read safetensors whose numbers are all finite.

    Args:
        path: File.
        error: Class of the error if a number is not.

    Raises:
        EcgjepaError: The given subclass, if a number is NaN or infinite.
        SafetensorError: If it is not such a file.
    """
    tensors = load_file(path)
    check_finite_weights(tensors, str(path), error)
    return tensors


def check_finite_weights(
    tensors: Mapping[str, Tensor], source: str, error: type[EcgjepaError]
) -> None:
    """Refuse weights that are NaN or infinite: every answer of such a model would be NaN.

    Args:
        tensors: Weights by name.
        source: Where they come from, for the message.
        error: Class of the error.

    Raises:
        EcgjepaError: The given subclass, with the first tensor's name.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not (finite := tensor.isfinite()).all():
            raise error(
                f"{source}: {int((~finite).sum()):,} of {tensor.numel():,} numbers of tensor "
                f"{name[:100]} are NaN or infinite, so the model would predict nothing but NaN. "
                "Train it again, or take an earlier checkpoint"
            )
