"""Where and in which precision the networks run."""

import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch

from ecgjepa.errors import ConfigError
from ecgjepa.memory import set_malloc

Precision = Literal["auto", "float32", "bfloat16"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of that name, or the GPU if there is one with ``auto``.

    Raises:
        ConfigError: If PyTorch knows no such device or cannot use it here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r}: expected auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda': this PyTorch sees no GPU; use --device cpu")
    return device


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the hardware multiplies bfloat16 matrices faster than float32.

    CPUs need AVX512-BF16 or AMX for that; others only emulate it.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return the context the forward pass runs in; weights stay float32 throughout."""
    use_bfloat16 = precision == "bfloat16" or (precision == "auto" and has_fast_bfloat16(device))
    if not use_bfloat16:
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Let PyTorch use so many threads in the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def without_old_garbage() -> Iterator[None]:
    """Let Python's search for garbage pass over what exists already, while a loop of steps runs.

    Modules and data are some hundred thousand objects; to look through them again and again takes
    several percent of a short step.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, and return whether that could be arranged.

    Training on a CPU allocates and frees the same megabytes at every step. glibc gives large blocks
    back to the system, which fills each page with zeros when it is touched again: up to a fifth of
    a step (docs/decisions/0015). The process then stays as large as its largest step.
    """
    return set_malloc(mmap_max=0, trim_threshold=2**31 - 1, top_pad=2**26)
