"""Masks per second, beside the published sampler, which draws one record's after another.

    python benchmarks/masks.py [--official CHECKOUT] [--result benchmarks/results/NAME.json]

Of 200 patches, as in the paper; on one core, since a batch is masked by the thread that reads it.
The published side includes what its collator does with the masks, but no signals. The best of
several, in one run; run it on an idle machine.
"""

import argparse
from itertools import count
from pathlib import Path

import machine
import official
import torch

from ecgjepa.config import load_preset
from ecgjepa.sampling.masking import sample_masks
from ecgjepa.sampling.mixture import masks_rng

PATCHES = 200
SIZES = (64, 256, 512, 2048)
AIM = 100_000


def measure(checkout: Path | None) -> dict[str, float]:
    """Return masks per second by sampler and batch size."""
    config = load_preset("paper-vit-s-ptbxl")
    steps = count()
    rates = {
        f"ours, batches of {size}": machine.rate(
            8192,
            lambda size=size: [  # type: ignore[misc]
                sample_masks(
                    config.mask, masks_rng(0, next(steps)), batch_size=size, num_patches=PATCHES
                )
                for _ in range(8192 // size)
            ],
            repeats=7,
        )
        for size in SIZES
    }
    # One lead and one sample per patch: stacking such signals costs next to nothing.
    encoder = config.encoder.model_copy(update={"patch_size": 1})
    collate = official.collator(config.model_copy(update={"encoder": encoder}), checkout)
    signals = [torch.zeros(1, PATCHES)] * 512
    rates["published"] = machine.rate(512, lambda: collate(signals))
    return rates


def main() -> None:
    """Measure, print a table and JSON, write a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path, help="checkout of kweimann/ECG-JEPA, 504b4e5")
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    rates = measure(options.official)
    for name, value in rates.items():
        print(f"{name:<30}{value:>12,.0f} masks/s{value / rates['published']:>10.1f} x published")
    machine.report(
        options.result,
        {
            "published_is": "its own code" if options.official else "written from a description",
            "aim": AIM,
            "masks_per_second": {name: round(value) for name, value in rates.items()},
        },
    )


if __name__ == "__main__":
    main()
