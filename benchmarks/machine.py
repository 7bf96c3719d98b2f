"""What a timing was measured on, and how: shared by the benchmarks."""

import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import ecgjepa


def facts() -> dict[str, Any]:
    """Return date, processor, GPU and versions, to stand beside every figure."""
    machine = ecgjepa.doctor()
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": machine["cpu"],
        "gpu": machine["gpu"],
        "torch": torch.__version__,
        "ecgjepa": ecgjepa.__version__,
    }


def rate(count: int, job: Callable[[], object], *, repeats: int = 3) -> float:
    """Return the best of a few times, as a count per second."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return count / min(seconds)


def report(path: Path | None, measured: dict[str, Any]) -> None:
    """Print facts and figures as one line of JSON; write them to a file if one is named."""
    whole = facts() | measured
    print(json.dumps(whole))
    if path:
        path.write_text(json.dumps(whole, indent=1) + "\n")
