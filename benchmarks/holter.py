"""Whether memory stays flat with the length of a recording.

    python benchmarks/holter.py [--hours 1 6 24] [--formats wfdb edf ishne npy] [--scratch DIR]
        [--result FILE]

Recordings of 12 leads at 500 Hz, in each format that is read in pieces, are predicted and encoded
window by window, each in a process of its own: seconds, and peak of resident memory. A day takes
1 GB of disk. Signals are simulated noise, and the model has random weights.
"""

import argparse
import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import report
from predict_scale import measure, noise, write_model

from ecgjepa.signals.leads import LEADS

_RATE, _MINUTE_SAMPLES = 500, 30_000
Minutes = Iterator[np.ndarray]


def minutes(hours: float) -> Minutes:
    """Yield a recording minute by minute, in µV; no two of ten are the same."""
    rng = np.random.default_rng(0)
    ready = [noise(rng, _MINUTE_SAMPLES / 100) for _ in range(10)]
    for number in range(round(hours * 60)):
        yield ready[number % len(ready)]


def write_wfdb(path: Path, recorded: Minutes, num_samples: int) -> Path:
    """Write format 16, with right checksums."""
    sums, first = np.zeros(len(LEADS), np.int64), None
    with path.with_suffix(".dat").open("wb") as stream:
        for samples in recorded:
            first = samples[0] if first is None else first
            sums += samples.sum(axis=0, dtype=np.int64)
            stream.write(samples.astype("<i2").tobytes())
    assert first is not None
    lines = [f"{path.stem} {len(LEADS)} {_RATE} {num_samples}"]
    lines += [
        f"{path.stem}.dat 16 1000(0)/mV 16 0 {first[i]} {sums[i] & 0xFFFF} 0 {lead}"
        for i, lead in enumerate(LEADS)
    ]
    path.with_suffix(".hea").write_text("\n".join(lines) + "\n")
    return path.with_suffix(".hea")


def write_edf(path: Path, recorded: Minutes, num_samples: int) -> Path:
    """Write EDF with data records of a second."""
    fields = [
        (16, [*LEADS]), (80, [""] * 12), (8, ["uV"] * 12), (8, ["-32767"] * 12),
        (8, ["32767"] * 12), (8, ["-32767"] * 12), (8, ["32767"] * 12), (80, [""] * 12),
        (8, [str(_RATE)] * 12), (32, [""] * 12),
    ]  # fmt: skip
    head = ["0".ljust(8), "X".ljust(80), "X".ljust(80), "30.11.26", "00.00.00"]
    head += [str(256 * 13).ljust(8), "".ljust(44), str(num_samples // _RATE).ljust(8), "1".ljust(8)]
    head += ["12".ljust(4), *(text.ljust(width) for width, texts in fields for text in texts)]
    with path.with_suffix(".edf").open("wb") as stream:
        stream.write("".join(head).encode())
        for samples in recorded:
            seconds = samples.reshape(-1, _RATE, len(LEADS)).transpose(0, 2, 1)
            stream.write(seconds.astype("<i2").tobytes())
    return path.with_suffix(".edf")


def write_ishne(path: Path, recorded: Minutes, num_samples: int) -> Path:
    """Write an ISHNE recording whose writer computed no checksum."""
    head = bytearray(522)
    head[:8] = b"ISHNE1.0"
    struct.pack_into("<Hiiii", head, 8, 0, 0, num_samples, 522, 522)
    codes = list(range(5, 17))
    struct.pack_into("<37h", head, 156, 12, *codes, *[0] * 12, *[1000] * 12)
    struct.pack_into("<h", head, 272, _RATE)
    with path.with_suffix(".ecg").open("wb") as stream:
        stream.write(bytes(head))
        for samples in recorded:
            stream.write(samples.astype("<i2").tobytes())
    return path.with_suffix(".ecg")


def write_npy(path: Path, recorded: Minutes, num_samples: int) -> Path:
    """Write an array of whole microvolts with its description beside it."""
    shape = num_samples, len(LEADS)
    with path.with_suffix(".npy").open("wb") as stream:
        np.lib.format.write_array_header_2_0(
            stream, {"descr": "<i2", "fortran_order": False, "shape": shape}
        )
        for samples in recorded:
            stream.write(samples.astype("<i2").tobytes())
    described = {"sampling_rate": _RATE, "unit": "uV", "leads": LEADS}
    path.with_suffix(".json").write_text(json.dumps(described))
    return path.with_suffix(".npy")


WRITERS: dict[str, Callable[[Path, Minutes, int], Path]] = {
    "wfdb": write_wfdb,
    "edf": write_edf,
    "ishne": write_ishne,
    "npy": write_npy,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=float, nargs="*", default=[1, 6, 24])
    parser.add_argument("--formats", nargs="*", choices=WRITERS, default=list(WRITERS))
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        scratch = Path(folder)
        write_model(scratch / "model")
        for kind in options.formats:
            for hours in options.hours:
                place = scratch / f"{kind}-{hours:g}"
                place.mkdir()
                num_samples = round(hours * 60) * _MINUTE_SAMPLES
                path = WRITERS[kind](place / "x", minutes(hours), num_samples)
                for verb, out in (("predict", "x.csv"), ("embed", "x.parquet")):
                    words = [verb, str(path), "--model", str(scratch / "model")]
                    words += ["--pool", "window"] if verb == "embed" else []
                    row = measure(words, place.with_name(f"{place.name}-{out}"))
                    found.append({"format": kind, "hours": hours, "verb": verb, **row})
                    print(found[-1], flush=True)
                for file in place.iterdir():
                    file.unlink()
    report(options.result, {"recordings": found})


if __name__ == "__main__":
    main()
