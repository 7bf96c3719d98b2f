"""A step of the attentive probe on cached features, beside encoding a crop anew at every step.

    python benchmarks/probe_cache.py [--records 17400] [--steps 200] [--encoded-steps 10]
                                     [--to DIR] [--result benchmarks/results/NAME.json]

The features are as large as ViT-S's of PTB-XL's training folds (17,400 records, 7 windows of 51
tokens, half precision: 4.9 GB), of made-up numbers, in a file that is mapped into memory as the
cache maps it. The other side does what the official code does: a random 2.5 s crop of each of 128
records, encoded by ViT-S without gradients, in float32 as its default is on a CPU. Head, loss,
optimizer and number of steps are the same on both sides, both go through
`ecgjepa.protocols.fit.fit`, and both are measured per step, after a warm-up, in one run. What is
said of 5,000 steps is that time multiplied; validations are on neither side. Filling the cache
(encoding every window once) is measured too and said apart. Run it on an idle machine.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import machine
import numpy as np
import torch

from ecgjepa.config import load_preset
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.model.heads import HeadConfig, build_head
from ecgjepa.model.normalisation import Normaliser
from ecgjepa.protocols.attentive import stored_tokens
from ecgjepa.protocols.features import Features, Windows
from ecgjepa.protocols.fit import Examples, fit
from ecgjepa.protocols.settings import PROTOCOLS, load_protocol
from ecgjepa.store.reading import Store

LABELS, WINDOWS, WINDOW, LEADS = 71, 7, 1250, 12
AIM = 1 / 10
# Records whose signals are held in memory for the other side; which they are costs nothing.
_SIGNALS = 512
_CPU = torch.device("cpu")

Inputs = Callable[[np.ndarray, np.random.Generator], torch.Tensor]


def made_up_features(path: Path, num_records: int, encoder: VisionTransformer) -> Features:
    """Write features of random numbers to a file, record by record, and map it."""
    tokens = encoder.config.num_registers + WINDOW // encoder.config.patch_size
    shape = (num_records * WINDOWS, tokens, encoder.config.dim)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    rng = np.random.default_rng(0)
    for start in range(0, shape[0], 4096):
        part = out[start : start + 4096]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
    out.flush()
    windows = Windows(
        store=cast(Store, None),  # the features are made up: nothing is read
        rows=np.repeat(np.arange(num_records), WINDOWS),
        starts=np.tile(np.arange(WINDOWS) * (WINDOW // 2), num_records),
        record_index=np.repeat(np.arange(num_records), WINDOWS),
        num_records=num_records,
        size=WINDOW,
    )
    return Features(windows, np.load(path, mmap_mode="r"), encoder.config.num_registers)


def encoded_crops(encoder: VisionTransformer, num_records: int) -> Inputs:
    """Return a function that encodes a random crop of each chosen record."""
    signals = np.random.default_rng(1).integers(
        -500, 500, (min(num_records, _SIGNALS), 5000, LEADS), np.int16
    )
    normaliser = Normaliser(
        np.zeros((1, LEADS), np.float32), np.full((1, LEADS), 0.2, np.float32), clip=5.0
    )

    @torch.no_grad()
    def inputs(chosen: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        starts = rng.integers(0, 5000 - WINDOW + 1, len(chosen))
        crops = [
            signals[row % len(signals), start : start + WINDOW]
            for row, start in zip(chosen, starts, strict=True)
        ]
        return encoder(normaliser(torch.from_numpy(np.stack(crops))))

    return inputs


def seconds_per_step(
    inputs: Inputs, encoder: VisionTransformer, num_records: int, steps: int, warmup: int
) -> float:
    """Return the mean time from one step's beginning to the next, after a warm-up."""
    begun: list[float] = []

    def timed(chosen: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        begun.append(time.perf_counter())
        return inputs(chosen, rng)

    rng = np.random.default_rng(2)
    targets = rng.random((num_records, LABELS)) < 0.1
    judged = rng.random((64, LABELS)) < 0.5
    torch.manual_seed(0)
    total = warmup + steps + 1
    fit(
        build_head(HeadConfig(kind="attentive", num_labels=LABELS), encoder),
        load_protocol("attentive", [f"steps={total}", f"validate_every={total}"]),
        Examples(
            inputs=timed,
            targets=targets,
            kind="multi-label",
            validate=lambda: [rng.random(judged.shape)],
            validation_targets=judged,
        ),
        seed=0,
    )
    return (begun[-1] - begun[warmup]) / steps


def measure(folder: Path, num_records: int, steps: int, encoded_steps: int) -> dict[str, float]:
    """Return seconds per step on both sides, and to encode 128 windows."""
    encoder = VisionTransformer(load_preset("paper-vit-s-ptbxl").encoder).eval()
    features = made_up_features(folder / "features.npy", num_records, encoder)
    stored = stored_tokens(features, np.arange(num_records), _CPU)
    crops = encoded_crops(encoder, num_records)
    cached = seconds_per_step(stored, encoder, num_records, steps, warmup=20)
    anew = seconds_per_step(crops, encoder, num_records, encoded_steps, warmup=2)
    chosen = np.arange(PROTOCOLS["attentive"].batch_size) % num_records
    rate = machine.rate(len(chosen), lambda: crops(chosen, np.random.default_rng(0)), repeats=3)
    return {"cached_step": cached, "encoded_step": anew, "windows_encoded_per_second": rate}


def main() -> None:
    """Measure, print a table and JSON, write a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=17_400)
    parser.add_argument("--steps", type=int, default=200, help="measured on cached features")
    parser.add_argument("--encoded-steps", type=int, default=10, help="measured with encoding")
    parser.add_argument("--to", type=Path, help="folder for the features [default: temporary]")
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.to) as folder:
        found = measure(Path(folder), options.records, options.steps, options.encoded_steps)
    whole = PROTOCOLS["attentive"].steps
    cached, anew = whole * found["cached_step"], whole * found["encoded_step"]
    filling = options.records * WINDOWS / found["windows_encoded_per_second"]
    print(f"{whole:,} steps on cached features    {cached:>10,.0f} s")
    print(f"{whole:,} steps with encoding         {anew:>10,.0f} s   (extrapolated)")
    print(f"filling the cache, once          {filling:>10,.0f} s   (extrapolated)")
    print(f"share of the time: {cached / anew:.4f}, the first time {(cached + filling) / anew:.3f}")
    machine.report(
        options.result,
        {
            "records": options.records,
            "threads": torch.get_num_threads(),
            "measured_steps": {"cached": options.steps, "encoded": options.encoded_steps},
            "seconds_per_step": {"cached": found["cached_step"], "encoded": found["encoded_step"]},
            "seconds_extrapolated_to": {"steps": whole, "cached": cached, "encoded": anew},
            "seconds_to_fill_the_cache": filling,
            "share": cached / anew,
            "share_the_first_time": (cached + filling) / anew,
            "aim": AIM,
        },
    )


if __name__ == "__main__":
    main()
