"""What computed a checkpoint: the same bits can be expected of the same only."""

import hashlib
import platform
from importlib import resources
from importlib.resources.abc import Traversable

import torch

from ecgjepa.pretraining.distributed import World
from ecgjepa.version import __version__


def origin_here(world: World) -> dict[str, str]:
    """Return software, device and number of processes, in words."""
    if world.device.type == "cuda":
        device = torch.cuda.get_device_name(world.device)
    else:
        # Sums are split among threads, and added up in the width of the vector unit.
        capability = torch.backends.cpu.get_cpu_capability()
        device = f"{platform.machine()} {capability}, {torch.get_num_threads()} threads"
    return {
        "ecgjepa": __version__,
        "code": _code_fingerprint(),
        "torch": torch.__version__,
        "device": device,
        "processes": str(world.size),
    }


def describe_changes(before: dict[str, str], now: dict[str, str]) -> str:
    """Return the differences in words, or an empty text; keys that ``before`` lacks are skipped."""
    changed = [key for key in now if key in before and before[key] != now[key]]
    return ", ".join(f"{key} {before[key]} → {now[key]}" for key in changed)


def _code_fingerprint() -> str:
    """Return a short hash of this package's source: versions stay the same while one develops."""
    digest = hashlib.sha256()
    for name, content in sorted(_sources(resources.files("ecgjepa"), "")):
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def _sources(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found = []
    for entry in folder.iterdir():
        name = prefix + entry.name
        if entry.is_dir():
            found += _sources(entry, f"{name}/")
        elif name.endswith((".py", ".yaml")):
            found.append((name, entry.read_bytes()))
    return found
