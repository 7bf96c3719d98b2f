"""How fast a model is pre-trained, beside the published code: one command, one result file.

    python benchmarks/training.py [--official CHECKOUT] [--store STORE] [--result FILE] [--dry]

On a CPU: `paper-vit-xs` and `paper-vit-s` with a batch of 64, three ways in turn, several rounds:
`ecgjepa.pretrain` as it is, the same in float32, and the published model, masks, optimizer, loop
and loader (kweimann/ECG-JEPA at 504b4e5, float32 as it is on a CPU). On a GPU: XS, S and B at the
paper's batch sizes, end to end from a store and from the device's memory, compiled, and the
published code in bfloat16; ten minutes at most. `--dry` makes every row with two records, one block
and a few steps, to see that it runs; its figures mean nothing.

Each row is a process of its own. Records per second are of whole steps, reading included, without
the first ones; operations are counted by `ecgjepa plan`; the rate of a large matrix product is
measured in the same process. Without a store, one of noise is made: the same bytes.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import machine
import made_store
import numpy as np
import official
import torch

import ecgjepa
from ecgjepa.config import PretrainConfig, load_preset
from ecgjepa.objectives.costs import part_size
from ecgjepa.planning.costs import count_flops
from ecgjepa.planning.measure import matmul_rate
from ecgjepa.sampling.batches import normalisation_tables
from ecgjepa.store.reading import Store

RECORDS = 2000  # of noise: 240 MB
Row = dict[str, Any]


def rows_for(device: str, *, dry: bool, has_official: bool) -> list[Row]:
    """Return what is measured on a device: who trains what, and how."""
    rows = []
    if device == "cpu" and not dry:
        ways: list[Row] = [
            {"who": "ecgjepa"},
            {"who": "ecgjepa", "set": ["train.precision=float32"]},
        ]
        for size, steps, rounds in (("xs", 8, 3), ("s", 4, 2)):
            for number in range(rounds):
                for way in [*ways, *[{"who": "official"}] * has_official]:
                    rows.append({**way, "size": size, "batch": 64, "steps": steps, "round": number})
        return rows
    batches = {"xs": 2048, "s": 2048, "b": 1024}
    for size, batch in batches.items():
        steps = 3 if dry else 30
        given = {"size": size, "batch": 2 if dry else batch, "steps": steps, "round": 0}
        rows.append({"who": "ecgjepa", "set": ["data.resident=false"], **given})
        rows.append({"who": "ecgjepa", "set": ["data.resident=true"], **given})
        if not dry or size == "xs":
            compiled = ["data.resident=true", "train.compile=true"]
            rows.append({"who": "ecgjepa", "set": compiled, **given})
        if has_official:
            rows.append({"who": "official", **given, "steps": steps if dry else 15})
    return rows


def settings(row: Row) -> list[str]:
    """Return a row's overrides: a batch of B in two parts, as published; one block when dry."""
    parts = 2 if row["size"] == "b" else 1
    shallow = ["encoder.depth=1", "predictor.depth=1"] if row["batch"] == 2 else []
    return [
        *shallow,
        f"train.batch_size={row['batch']}",
        f"train.gradient_accumulation_steps={parts}",
        *row.get("set", []),
    ]


def measure_ours(row: Row, config: PretrainConfig, store: Path) -> Row:
    """Run `pretrain` itself; the log's first two lines hold the start."""
    steps = row["steps"]
    run_settings = [
        f"train.steps={steps + 2}",
        "train.warmup_steps=1",
        "train.log_every=1" if steps < 10 else "train.log_every=5",
        f"train.checkpoint_every={steps + 2}",
    ]
    with tempfile.TemporaryDirectory() as folder:
        run = ecgjepa.pretrain(
            store,
            Path(folder) / "run",
            preset=f"paper-vit-{row['size']}-ptbxl",
            overrides=[*settings(row), *run_settings],
        )
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    lines = lines[2:-1] if len(lines) > 3 else lines[2:]  # the last one has a checkpoint after it
    return {
        "seconds per step": median(row["batch"] / line["records_per_second"] for line in lines),
        "share of waiting for data": median(line["data_wait"] for line in lines),
    }


def measure_official(row: Row, config: PretrainConfig, path: Path, checkout: Path) -> Row:
    """Run the published loop: its model, optimizer, masks and loader, a step at a time."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    is_cuda = device.type == "cuda"
    with Store(path) as store:
        mean, std = normalisation_tables(store, "paper")
        signals = np.empty((min(len(store), RECORDS), 5000, 12), np.int16)
        store.read(np.arange(len(signals)), np.zeros(len(signals), np.int64), signals)
    scale = 1000 * std[0]
    normalised = np.clip((signals - 1000 * mean[0]) / scale, -5, 5).astype(np.float16)
    model = official.model(row["size"], checkout, fused_attention=is_cuda).to(device)
    optimizer = model.get_optimizer(fused=is_cuda)
    parts = config.train.gradient_accumulation_steps
    batches = iter(official.loader(normalised, config, part_size(config), checkout))
    seconds, waited = [], []
    for _ in range(row["steps"] + 2):
        started, waiting = time.perf_counter(), 0.0
        for _ in range(parts):
            asked = time.perf_counter()
            batch = [tensor.to(device, non_blocking=is_cuda) for tensor in next(batches)]
            waiting += time.perf_counter() - asked
            with torch.autocast("cuda", torch.bfloat16, enabled=is_cuda):
                loss = model(*batch) / parts
            loss.backward()
            loss.item()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - started)
        waited.append(waiting)
    return {
        "seconds per step": median(seconds[2:]),
        "share of waiting for data": sum(waited[2:]) / sum(seconds[2:]),
    }


def measure(row: Row, store: Path, checkout: Path | None) -> Row:
    """Measure one row, in this process."""
    config = load_preset(f"paper-vit-{row['size']}-ptbxl", settings(row))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    is_float32 = row["who"] == "official" and device.type == "cpu"
    is_float32 |= "train.precision=float32" in row.get("set", [])
    # Before anything else: loading processes would go on beside it.
    product = matmul_rate(device, torch.float32 if is_float32 else torch.bfloat16)
    if row["who"] == "official":
        assert checkout is not None
        found = measure_official(row, config, store, checkout)
    else:
        found = measure_ours(row, config, store)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    on_device = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    rate = row["batch"] / found["seconds per step"]
    sustained = rate * count_flops(config).total
    return {
        **row,
        **found,
        "records per second": rate,
        "GFLOP/s": sustained / 1e9,
        "GFLOP/s of a matrix product": product / 1e9,
        "share of it": sustained / product,
        "hours for 100,000 steps": found["seconds per step"] * 100_000 / 3600,
        "peak memory, GB": peak / 1e9,
        "peak on the device, GB": None if on_device is None else on_device / 1e9,
    }


def name(row: Row) -> str:
    """Return who trains what, and how."""
    how = [item.split(".")[1] for item in row.get("set", [])]
    return " ".join([f"ViT-{row['size'].upper()}", f"batch {row['batch']}", row["who"], *how])


def table(rows: list[Row]) -> str:
    """Return the rows, their rounds together, as Markdown."""
    lines = [
        "| | records/s (median, range) | of a product's rate | waiting for data | memory |",
        "|---|---|---|---|---|",
    ]
    for title in dict.fromkeys(map(name, rows)):
        rounds = [row for row in rows if name(row) == title]
        rates = sorted(row["records per second"] for row in rounds)
        share = median(row["share of it"] for row in rounds)
        waiting = median(row["share of waiting for data"] for row in rounds)
        memory = max(row["peak on the device, GB"] or row["peak memory, GB"] for row in rounds)
        lines.append(
            f"| {title} | {median(rates):,.1f} ({rates[0]:,.1f} to {rates[-1]:,.1f}) | "
            f"{100 * share:.0f} % | {100 * waiting:.0f} % | {memory:.1f} GB |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure all rows, each in a process of its own; print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path, help="checkout of kweimann/ECG-JEPA at 504b4e5")
    parser.add_argument("--store", type=Path, help="of 10 s at 500 Hz; default: noise")
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--result", type=Path)
    parser.add_argument("--row", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(measure(options.row, options.store, options.official)))
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or Path(folder) / "store"
        if options.store is None:
            made_store.write_store(store, 64 if options.dry else RECORDS)
        for row in rows_for(device, dry=options.dry, has_official=options.official is not None):
            command = [sys.executable, __file__, "--row", json.dumps(row), "--store", str(store)]
            if options.official:
                command += ["--official", str(options.official)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{name(row)}:\n{done.stderr}")
            measured.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{name(row)}: {measured[-1]['records per second']:,.1f} records/s", flush=True)
    print(table(measured))
    if options.dry:
        print("A dry run: these figures mean nothing.")
    machine.report(options.result, {"dry": options.dry, "rows": measured})


if __name__ == "__main__":
    main()
