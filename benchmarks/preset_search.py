"""One pre-training variant, judged on a validation fold alone; the experiments of docs/log.md.

    python benchmarks/preset_search.py NAME --data DIR --out DIR [--set section.key=value ...]
        [--store STORE] [--teraflop 12]

Pre-trains on the training folds of a PTB-XL folder, or on a store, and prints the macro AUROC
(superdiagnostic) of the frozen linear probe on the validation fold, beside the untrained encoder's,
with the collapse monitor's least readings. With --teraflop, the steps are what that many operations
pay for. Test records are neither encoded nor scored. Appends a line to DIR/variants.jsonl.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ecgjepa
from ecgjepa.comparing.plan import affordable_steps
from ecgjepa.config import PretrainConfig, load_preset
from ecgjepa.inference.windows import window_size
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.folder import ModelConfig
from ecgjepa.protocols.encoders import load_encoder, untrained_encoder
from ecgjepa.protocols.features import encode, grid_windows
from ecgjepa.protocols.linear import fit_linear_probe
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.opening import open_data
from ecgjepa.tasks.records import EvaluationData


def validation_score(encoder: Encoder, config: ModelConfig, records: EvaluationData) -> float:
    """Fit the linear probe on training records and score it on the validation fold."""
    parts = (records.parts.train, records.parts.validation)
    size, stride = window_size(config)
    rows = records.rows(np.concatenate(parts))
    windows = grid_windows(records.store, rows, size=size, stride=stride)
    means = encode(
        encoder, records.normalisation.build(), windows, torch.device("cpu")
    ).record_vectors()
    train, validation = np.split(means, [len(parts[0])])
    return fit_linear_probe(
        train,
        records.targets(parts[0]),
        validation,
        records.targets(parts[1]),
        single_label=False,
    ).validation_score


def own_store(config: PretrainConfig, data: Path, out: Path, split: ecgjepa.Split) -> Path:
    """Prepare the training folds for the runs below ``out``, once."""
    preprocessing = ecgjepa.PreprocessingConfig(
        sampling_rate=config.data.sampling_rate, leads=config.data.leads
    )
    store = out / f"store-{config.data.sampling_rate:g}"
    ecgjepa.prepare({"ptb-xl": data}, store, folds=split.train, preprocessing=preprocessing)
    return store


def within_budget(preset: str, overrides: list[str], teraflop: float) -> list[str]:
    """Add the steps that a number of operations pays for, a tenth of them to warm up."""
    steps = affordable_steps(load_preset(preset, overrides), teraflop)
    return [*overrides, f"train.steps={steps}", f"train.warmup_steps={steps // 10}"]


def measure(
    name: str,
    preset: str,
    overrides: list[str],
    store: Path | None,
    data: Path,
    out: Path,
    split: ecgjepa.Split,
) -> dict[str, Any]:
    """Pre-train one variant and return what it came to."""
    config = load_preset(preset, overrides)
    store = own_store(config, data, out, split) if store is None else store
    started = time.perf_counter()
    run = ecgjepa.pretrain(store, out / name, preset=preset, overrides=overrides)
    seconds = time.perf_counter() - started
    encoder, model = load_encoder(run)
    cohort = Cohort(task="superdiagnostic", split=split)
    records = open_data({"ptb-xl": data}, model, cohort, cache=out / "cache")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    dim = config.encoder.dim
    return {
        "name": name,
        "preset": preset,
        "overrides": overrides,
        "pretrained": validation_score(encoder, model, records),
        "untrained": validation_score(untrained_encoder(model), model, records),
        "seconds": round(seconds),
        "loss": [lines[0]["loss"], lines[-1]["loss"]],
        "least_spread": min(line["spread"] for line in lines),
        "least_rank_share": min(line["effective_rank"] for line in lines) / dim,
        "warnings": sum(line["collapsed"] for line in lines),
    }


def main() -> None:
    """Measure one variant, print it, append it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, required=True, help="a PTB-XL folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--store", type=Path, help="instead of the training folds of --data")
    parser.add_argument("--teraflop", type=float, help="operations to spend on pre-training")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--train-folds", type=int, nargs="+", default=list(range(1, 8)))
    parser.add_argument("--validation-fold", type=int, default=8)
    parser.add_argument("--test-fold", type=int, default=9, help="left untouched")
    options = parser.parse_args()
    split = ecgjepa.Split(
        tuple(options.train_folds), (options.validation_fold,), (options.test_fold,)
    )
    preset, overrides = options.preset, options.overrides
    if options.teraflop is not None:
        overrides = within_budget(preset, overrides, options.teraflop)
    row = measure(options.name, preset, overrides, options.store, options.data, options.out, split)
    print(
        f"{row['name']}: linear {row['pretrained']:.4f}, untrained {row['untrained']:.4f}; "
        f"loss {row['loss'][0]:.2f} to {row['loss'][1]:.2f}; least spread "
        f"{row['least_spread']:.2f}, rank share {row['least_rank_share']:.3f}, "
        f"{row['warnings']} warnings; {row['seconds']} s"
    )
    with (options.out / "variants.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
