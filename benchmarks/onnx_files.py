"""What a classifier's ONNX file costs and gives, in 32 and in 8 bits, on labelled real records.

    python benchmarks/onnx_files.py --model FOLDER [FOLDER ...] --data PTB-XL [--result FILE]

For each model folder, or model by name: bytes of weights, of the file and of the file with 8 bits;
the largest difference of the file from PyTorch on the real records; macro AUROC of 8 and of 32 bits
with the interval of their difference over patients; milliseconds per record of ten seconds on one
thread, by PyTorch and by either file, alone and 16 at a time. Scored are the test folds that the
model folder names.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from machine import rate, report

import ecgjepa
from ecgjepa.exporting.agreement import (
    Loaded,
    as_input,
    largest_differences,
    outputs_of_file,
    outputs_of_folder,
)
from ecgjepa.inference.inputs.named import usable_each
from ecgjepa.inference.predict import load_model
from ecgjepa.inference.windows import find_windows, window_size
from ecgjepa.model.folder import WEIGHTS_FILE
from ecgjepa.sharing.references import find_model
from ecgjepa.signals.acceptance import Usable

_RECORDS = 64  # that are compared with PyTorch
_TOGETHER = 16


def measure(model: str, data: Path, scratch: Path) -> dict[str, Any]:
    """Return the figures of one model folder."""
    full, small = scratch / "full.onnx", scratch / "small.onnx"
    loaded = load_model(model, device="cpu")
    folds = tuple(loaded.config.training["split"]["test"])
    exported = ecgjepa.export_onnx(model, full, overwrite=True)
    reduced = ecgjepa.export_onnx(
        model, small, int8=True, data={"ptb-xl": data}, folds=folds, overwrite=True
    )
    assert reduced.int8 is not None
    files = sorted(data.rglob("*_hr.hea"))[:_RECORDS]
    found = usable_each(files, loaded.config.preprocessing)
    records = [record for _, record in found if isinstance(record, Usable)]
    samples = [np.asarray(record.prepared.samples) for record in records]
    sessions = {"float32": _session(full), "int8": _session(small)}
    gaps = largest_differences(
        outputs_of_file(sessions["float32"], samples, "mV"),
        outputs_of_folder(Loaded(loaded.classifier, loaded.config, loaded.distribution), records),
        loaded.config,
    )
    return {
        "encoder": loaded.config.encoder.model_dump(include={"architecture", "dim", "depth"}),
        "bytes": {
            "weights": (find_model(model) / WEIGHTS_FILE).stat().st_size,
            "float32": exported.num_bytes,
            "int8": reduced.num_bytes,
        },
        "largest_difference_from_pytorch": {key: float(f"{gap:.2g}") for key, gap in gaps.items()},
        "compared_records": len(records),
        "test_folds": folds,
        "int8": reduced.int8.as_json(),
        "milliseconds_per_record": _timings(loaded, sessions, samples),
    }


def _session(path: Path) -> Any:  # noqa: ANN401
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _timings(
    model: Any,  # noqa: ANN401
    sessions: dict[str, Any],
    samples: list[np.ndarray],
) -> dict[str, dict[str, float]]:
    size, stride = window_size(model.config)
    found: dict[str, dict[str, float]] = {}
    for count in (1, _TOGETHER):
        chosen = samples[:count]
        signal = np.concatenate([as_input(one, "mV") for one in chosen])
        cut = [next(find_windows(one, size=size, stride=stride).chunks()) for one in chosen]
        windows = torch.cat(cut)
        jobs: dict[str, Callable[[], object]] = {
            "pytorch": partial(model.outputs, windows),
            **{
                name: partial(session.run, None, {"signal": signal})
                for name, session in sessions.items()
            },
        }
        for job in jobs.values():
            job()
        found[f"{count} at a time"] = {
            name: round(1000 / rate(count, job, repeats=20), 2) for name, job in jobs.items()
        }
    return found


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--result", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        models = {Path(one).name: measure(one, given.data, Path(scratch)) for one in given.model}
    print(json.dumps(models, indent=2))
    report(given.result, {"onnxruntime": onnxruntime.__version__, "models": models})


if __name__ == "__main__":
    main()
