"""Whether tables of predictions are made in flat memory, and survive being killed.

    python benchmarks/predict_scale.py [--files 100 1000 20000] [--kills 10] [--hours 5 24]
        [--scratch DIR] [--result FILE]

- ``files``: `ecgjepa predict` and `ecgjepa embed` of folders of growing size, each in a process of
  its own: seconds, peak of resident memory, rows;
- ``kills``: a run over a thousand files, in parts of 16, killed at random moments and begun again,
  then ended: whether its table is the one of an uninterrupted run, row for row;
- ``hours``: one long record of 12 leads at 100 Hz: seconds and peak of resident memory.

The records are simulated noise, of 10 s and 12 leads at 100 Hz; the model has random weights.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import report

from ecgjepa.config import EncoderConfig
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.model.folder import ModelConfig, PretrainingFacts, save_model
from ecgjepa.model.heads import Classifier, HeadConfig, build_head
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.model.outputs import TaskConfig
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.preprocessing import PreprocessingConfig

_RATE = 100
_COMMAND = [sys.executable, "-m", "ecgjepa", "--quiet"]
_PER_FOLDER = 1000
_KILLED_FILES = 1000
# Small parts, so that there are many moments between and within them.
_RUN = "import sys, ecgjepa; ecgjepa.predict_table(*sys.argv[1:], part_inputs=16)"


def write_record(header: Path, samples: np.ndarray) -> None:
    """Write (samples, leads) of whole microvolts as a WFDB record."""
    header.parent.mkdir(parents=True, exist_ok=True)
    name = header.stem
    header.with_suffix(".dat").write_bytes(samples.astype("<i2").tobytes())
    sums = samples.astype(np.int64).sum(axis=0) & 0xFFFF
    lines = [f"{name} {len(LEADS)} {_RATE} {len(samples)}"]
    lines += [
        f"{name}.dat 16 1000(0)/mV 16 0 {samples[0, i]} {sums[i]} 0 {lead}"
        for i, lead in enumerate(LEADS)
    ]
    header.write_text("\n".join(lines) + "\n")


def noise(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Return (samples, leads) of smoothed noise in whole microvolts."""
    white = rng.normal(0, 400, (round(seconds * _RATE) + 4, len(LEADS)))
    return np.rint(sum(white[i : len(white) - 4 + i] for i in range(5)) / 5).astype(np.int16)


def write_files(root: Path, count: int) -> None:
    """Write records of 10 s, a thousand to a folder."""
    rng = np.random.default_rng(0)
    ready = [noise(rng, 10) for _ in range(50)]
    for number in range(count):
        folder = root / f"{number // _PER_FOLDER:03d}"
        write_record(folder / f"{number:06d}.hea", ready[number % len(ready)])


def write_model(folder: Path) -> None:
    """Write a small classifier with random weights."""
    torch.manual_seed(0)
    labels = tuple(f"label {number}" for number in range(5))
    config = ModelConfig(
        encoder=EncoderConfig(patch_size=25, dim=64, depth=2, num_heads=2),
        preprocessing=PreprocessingConfig(sampling_rate=_RATE),
        normalisation=NormalisationConfig(mean=(0.0,) * 12, std=(0.2,) * 12),
        pretraining=PretrainingFacts(steps=0, seed=0, store="", folds={}, records={}),
        head=HeadConfig(kind="attentive", num_labels=len(labels)),
        task=TaskConfig(name="noise", kind="multi-label", labels=labels, descriptions=labels),
    )
    assert config.head is not None
    encoder = VisionTransformer(config.encoder)
    save_model(folder, Classifier(encoder, build_head(config.head, encoder)), config, "noise")


def measure(words: list[str], out: Path) -> dict[str, Any]:
    """Run a verb in a process of its own, and return what it took and what it wrote."""
    begun = time.perf_counter()
    command = [*_COMMAND, *words, "--out", str(out), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.read())
        _, status, used = _wait(process)
    return {
        "seconds": round(time.perf_counter() - begun, 2),
        "peak_mb": round(used.ru_maxrss / 1024),
        "records": said["records"],
        "rows": said["rows"],
        "exit": status,
    }


def _wait(process: "subprocess.Popen[str]") -> tuple[int, int, resource.struct_rusage]:
    found, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return found, process.returncode, used


def kill_and_resume(root: Path, model: Path, scratch: Path, kills: int) -> dict[str, Any]:
    """Kill a run at random moments, end it, and compare its table with that of another run."""
    whole, out, rng = scratch / "whole.csv", scratch / "killed.csv", random.Random(0)
    command = [sys.executable, "-c", _RUN, str(root), str(model)]
    subprocess.run([*command, str(whole)], check=True)
    parts: list[int] = []
    killed = 0
    for _ in range(kills):
        with subprocess.Popen([*command, str(out)]) as process:
            most = (parts or [0])[-1] + rng.randint(1, 3)
            while process.poll() is None and _num_parts(out) < most:
                time.sleep(0.005)
            time.sleep(rng.random() * 0.3)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                killed += 1
        parts.append(_num_parts(out))
    subprocess.run([*command, str(out)], check=True)
    first, second = (path.read_text().splitlines() for path in (whole, out))
    names = [[line.partition(",")[0] for line in lines] for lines in (first, second)]
    return {
        "kills": killed,
        "parts_kept": parts,
        "rows": len(second) - 1,
        "same_files_in_order": names[0] == names[1],
        "equal_lines": sum(a == b for a, b in zip(first, second, strict=False)) - 1,
    }


def _num_parts(out: Path) -> int:
    return len(list(out.with_name(out.name + ".parts").glob("part-*")))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, nargs="*", default=[100, 1000, 20_000])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--hours", type=float, nargs="*", default=[5, 24])
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        scratch = Path(folder)
        write_model(scratch / "model")
        found: dict[str, Any] = {"files": [], "hours": []}
        model = ["--model", str(scratch / "model")]
        for count in options.files:
            root = scratch / f"files-{count}"
            write_files(root, count)
            for verb, suffix in (("predict", "csv"), ("embed", "parquet")):
                row = measure([verb, str(root), *model], scratch / f"{verb}-{count}.{suffix}")
                found["files"].append({"verb": verb, "files": count, **row})
                print(found["files"][-1], flush=True)
        if options.kills:
            root = scratch / "killed"
            write_files(root, _KILLED_FILES)
            found["kills"] = kill_and_resume(root, scratch / "model", scratch, options.kills)
            print(found["kills"], flush=True)
        for hours in options.hours:
            path = scratch / f"long-{hours}.hea"
            minute = noise(np.random.default_rng(0), 60)
            write_record(path, np.tile(minute, (round(hours * 60), 1)))
            row = measure(["predict", str(path), *model], scratch / f"long-{hours}.csv")
            found["hours"].append({"hours": hours, **row})
            print(found["hours"][-1], flush=True)
    report(options.result, found)


if __name__ == "__main__":
    main()
