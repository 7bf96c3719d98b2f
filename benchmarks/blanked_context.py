"""Does JEPA lack what blanked leads teach SimCLR? An experiment of docs/replication.md.

    python benchmarks/blanked_context.py NAME --blank 0.2 --data DIR --store STORE --out DIR
        [--teraflop 12] [--set section.key=value ...]

Pre-trains preset tiny while the context encoder does not see some leads: each is set to 0, the
mean, with a probability, and one always stays. The target encoder sees all. Judged as
`preset_search.py` does, on a validation fold alone.
"""

import argparse
import json
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from preset_search import measure, within_budget
from torch import Tensor

import ecgjepa
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.objectives import jepa


class Blanking(VisionTransformer):
    """An encoder that sees some leads only, when it is given a choice of patches."""

    probability = 0.0

    def forward(
        self,
        signal: Float[Tensor, "batch leads samples"],
        keep_index: Int64[Tensor, "batch kept"] | None = None,
        *,
        leads: Int64[Tensor, "#batch chosen"] | None = None,
    ) -> Float[Tensor, "batch tokens dim"]:
        """Encode, after blanking where only context patches are encoded."""
        if keep_index is not None:
            keep = torch.rand(signal.shape[:2]) >= self.probability
            keep[torch.arange(len(keep)), torch.randint(signal.shape[1], (len(keep),))] = True
            signal = signal * keep[:, :, None].to(signal.device)
        return super().forward(signal, keep_index, leads=leads)


def main() -> None:
    """Measure one probability and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--blank", type=float, required=True)
    parser.add_argument("--data", type=Path, required=True, help="a PTB-XL folder")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--teraflop", type=float, default=12.0)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    Blanking.probability = options.blank
    vars(jepa)["VisionTransformer"] = Blanking
    overrides = within_budget("tiny", options.overrides, options.teraflop)
    split = ecgjepa.Split((1, 2, 3, 4, 5, 6, 7), (8,), (9,))
    row = measure(options.name, "tiny", overrides, options.store, options.data, options.out, split)
    print(json.dumps(row, indent=2))


if __name__ == "__main__":
    main()
