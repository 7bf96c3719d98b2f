"""What is installed and what this machine can do."""

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from ecgjepa.config import preset_names
from ecgjepa.databases import database_names
from ecgjepa.version import __version__

_PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "pydantic",
    "safetensors",
    "wfdb",
    "matplotlib",
)
# Extras: formats, codecs and ways of sharing that not everyone needs.
_OPTIONAL = (
    "h5py",
    "pcodec",
    "pydicom",
    "defusedxml",
    "sierraecg",
    "huggingface_hub",
    "onnx",
    "onnxruntime",
    "fastapi",
    "python-multipart",
    "uvicorn",
)


def doctor() -> dict[str, Any]:
    """Return versions, processor and GPU abilities, free disk space, databases and presets.

    Example:
        >>> import ecgjepa
        >>> "ptb-xl" in ecgjepa.doctor()["databases"]
        True
    """
    import torch

    from ecgjepa.files import default_cache
    from ecgjepa.model.compute import has_fast_bfloat16

    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    return {
        "ecgjepa": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in (*_PACKAGES, *_OPTIONAL)},
        "cpu": {
            "model": _cpu_model(),
            "cores": len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count(),
            "threads": torch.get_num_threads(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
        },
        "gpu": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "precision": "bfloat16" if has_fast_bfloat16(device) else "float32",
        "free_disk_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
        "cache": str(default_cache()),
        "byte_order_ok": sys.byteorder == "little",
        "databases": database_names(),
        "presets": preset_names(),
    }


def _cpu_model() -> str:
    """Return what Linux calls the processor; elsewhere, what Python knows of it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
