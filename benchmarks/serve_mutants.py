"""Send mutated files of every format to the service, and look at every answer.

    python benchmarks/serve_mutants.py [--count 2000] [--seed 1] [--out FILE]

The files are those of `mutants.py`. Each must be answered with status 200, within the time that
reading may take, and each of its records with probabilities or with a reason, in words that do not
tell where the service keeps its files. Ends with 1 if one is not.
"""

import argparse
import logging
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import machine
from mutant_files import Kind, build
from mutants import mutate
from serve_load import made_model

from ecgjepa.serving.limits import Limits
from ecgjepa.serving.serve import application

LIMITS = Limits(seconds=20, memory_bytes=500_000_000)


def parts_of(kind: Kind, path: Path, content: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    """Return all files that lie beside a file, one of them changed."""
    files = sorted(each for each in kind.read.parent.iterdir() if each.is_file())
    return [
        ("files", (each.name, content if each == path else each.read_bytes())) for each in files
    ]


def judge(answer: Any, folder: str) -> tuple[str, str]:  # noqa: ANN401
    """Return what became of a request, and details of what is wrong."""
    if answer.status_code != 200:
        return "wrong", f"status {answer.status_code}: {answer.text[:200]}"
    if folder in answer.text or "ecgjepa-serve" in answer.text:
        return "wrong", f"tells a path: {answer.text[:200]}"
    found = answer.json()["predictions"]
    if not found:
        return "no record", ""
    for one in found:
        whole = one["probabilities"] and None not in one["probabilities"].values()
        if one["error"] is None and not whole:
            return "wrong", f"neither probabilities nor a reason: {str(one)[:200]}"
    return ("sound", "") if found[0]["error"] is None else ("refused", found[0]["reason"])


def run(count: int, seed: int, root: Path) -> dict[str, Any]:
    """Send the mutants one after the other, and return the figures."""
    from fastapi.testclient import TestClient

    kinds = build(root / "kinds")
    whole = {path: path.read_bytes() for kind in kinds for path in kind.files}
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    wrong, slowest = list[str](), 0.0
    app = application(made_model(root / "model"), limits=LIMITS, readers=1)
    start = time.monotonic()
    with TestClient(app, base_url="http://127.0.0.1") as client:
        for number in range(count):
            rng = random.Random(f"{seed} {number}")
            name = rng.choice(sorted({each.format for each in kinds}))
            kind = rng.choice([each for each in kinds if each.format == name])
            path = rng.choice(kind.files)
            mutant = mutate(whole[path], whole[rng.choice(sorted(whole))], rng)
            content = kind.repair(mutant) if number % 2 else mutant
            began = time.monotonic()
            answer = client.post("/predict", files=parts_of(kind, path, content))
            slowest = max(slowest, time.monotonic() - began)
            outcome, details = judge(answer, tempfile.gettempdir())
            outcomes[outcome] += 1
            if outcome == "refused":
                reasons[details] += 1
            elif outcome == "wrong":
                wrong.append(f"{number} ({kind.way}): {details}")
        text = client.get("/metrics").text
    return {
        "count": count,
        "seed": seed,
        "seconds": round(time.monotonic() - start, 1),
        "outcomes": dict(outcomes),
        "reasons": dict(reasons.most_common()),
        "slowest_seconds": round(slowest, 2),
        "wrong": wrong[:20],
        "readers_replaced": [line for line in text.splitlines() if "replaced_total{" in line],
    }


def main() -> None:
    """Send mutants and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        measured = run(asked.count, asked.seed, Path(folder))
    machine.report(asked.out, measured)
    sys.exit(bool(measured["wrong"]))


if __name__ == "__main__":
    main()
