"""In how many of 128 bits do signatures differ: for copies of a recording, and for strangers?

    python benchmarks/signatures.py --data DIR [--official PTB-XL] [--result FILE]

DIR holds `ptb-xl/` at 500 Hz; PTB-XL, any part of it with `records100` and `records500`. Copies are
every tenth record resampled to 100 Hz and back, rounded to 5 µV (gain 200 instead of 1000), and
high-passed at 0.5 Hz, and PTB-XL's own 100 Hz files; strangers are all pairs of records.
"""

import argparse
import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import ecgjepa
from ecgjepa.io import read_record
from ecgjepa.signals.preprocessing import PreprocessingConfig, prepare_record, preprocess
from ecgjepa.signals.record import Record
from ecgjepa.signals.signatures import signature

AT_500_HZ = PreprocessingConfig()
AT_100_HZ = PreprocessingConfig(sampling_rate=100.0)
FILTERED = PreprocessingConfig(highpass_hz=0.5)
NEAR = (4, 8, 10, 12, 16, 20)


def sign(record: Record, config: PreprocessingConfig = AT_500_HZ) -> np.ndarray:
    """Return the signature of a record as it would be stored, as 128 bits."""
    return np.unpackbits(signature(prepare_record(record, config).measures))


def copies(record: Record) -> dict[str, np.ndarray]:
    """Return signatures of copies of a record."""
    coarse = (np.rint(record.signal * 200) / 200).astype(np.float32)
    return {
        "500 to 100 to 500 Hz": sign(preprocess(record, AT_100_HZ)),
        "stored at 100 Hz": sign(record, AT_100_HZ),
        "gain 200": sign(replace(record, signal=coarse)),
        "high-passed at 0.5 Hz": sign(record, FILTERED),
    }


def summary(distances: list[int]) -> dict[str, float]:
    """Return what a distribution of distances is like."""
    values = np.array(distances)
    points = {f"{q} %": round(float(np.percentile(values, q)), 1) for q in (50, 95, 99)}
    return {"count": len(values), **points, "most": float(values.max())}


def measure(data: Path, official: Path | None) -> dict[str, Any]:
    """Return distributions of distances between copies and between strangers."""
    table = pd.read_csv(data / "ptb-xl/ptbxl_database.csv")
    signatures = []
    distances: dict[str, list[int]] = {}
    for number, name in enumerate(table.filename_hr):
        record = read_record(data / f"ptb-xl/{name}.hea")
        signatures.append(sign(record))
        if number % 10 == 0:
            for kind, copy in copies(record).items():
                distances.setdefault(kind, []).append(int((copy != signatures[-1]).sum()))
    for path in sorted(official.glob("records100/*/*.hea")) if official else []:
        name = path.name.replace("_lr", "_hr")
        twin = path.parents[2] / "records500" / path.parent.name / name
        differ = sign(read_record(path), AT_100_HZ) != sign(read_record(twin))
        distances.setdefault("official 100 Hz file", []).append(int(differ.sum()))
    signs = np.array(signatures, np.float32) * 2 - 1
    apart = (128 - signs @ signs.T)[np.triu_indices(len(signs), 1)] / 2
    return {
        "copies": {kind: summary(found) for kind, found in distances.items()},
        "pairs": {
            "count": len(apart),
            "mean": round(float(apart.mean()), 2),
            "standard deviation": round(float(apart.std()), 2),
            "identical": int((apart == 0).sum()),
            "at most": {str(bits): int((apart <= bits).sum()) for bits in NEAR},
        },
    }


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--official", type=Path)
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    facts = {
        "date": datetime.date.today().isoformat(),
        "cpu": ecgjepa.doctor()["cpu"],
        "gpu": ecgjepa.doctor()["gpu"],
        "ecgjepa": ecgjepa.__version__,
        **measure(options.data, options.official),
    }
    print(json.dumps(facts, indent=1))
    if options.result:
        options.result.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
