"""What both sides of the parity checks share: sizes, weights, batches and masks.

Weights, signals and masks come from NumPy's generator, so that they do not depend on a PyTorch
version.
"""

import numpy as np
import torch

from ecgjepa.config import PretrainConfig, load_preset
from ecgjepa.sampling.masking import sample_masks

STEPS = 50
_SHORT = ("train.steps=60", "train.warmup_steps=10", "train.precision=float32")
_SIZES = {
    "tiny": (
        "xs",
        ["encoder.dim=32", "encoder.depth=2", "predictor.dim=16", "predictor.depth=2"],
        ["data.window_seconds=4"],
    ),
    "xs": ("xs", [], []),
    "s": ("s", [], []),
    # As deep, and with as many heads, as ViT-B, whose 107 million parameters are too much here.
    "b-like": ("b", ["encoder.dim=96", "predictor.dim=48"], ["data.window_seconds=4"]),
}
BATCH = {"tiny": 4, "xs": 2, "s": 2, "b-like": 2}


def parity_config(size: str) -> PretrainConfig:
    """Return the published configuration, small and short enough for a CPU."""
    preset, networks, window = _SIZES[size]
    one_part = ["train.gradient_accumulation_steps=1", f"train.batch_size={BATCH[size]}"]
    return load_preset(f"paper-vit-{preset}-ptbxl", [*networks, *window, *_SHORT, *one_part])


def seeded_weights(shapes: dict[str, tuple[int, ...]], seed: int = 7) -> dict[str, torch.Tensor]:
    """Return weights that depend on name and seed alone, of a trained network's magnitude.

    Both encoders differ, so that a mix-up of theirs would not go unnoticed.
    """
    weights = {}
    for number, name in enumerate(sorted(shapes)):
        noise = np.random.default_rng([seed, number]).standard_normal(shapes[name])
        base = 1.0 if "norm" in name else 0.0
        weights[name] = torch.from_numpy((base + 0.05 * noise).astype(np.float32))
    return weights


def training_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Return initial weights: like `seeded_weights`, the target encoder a copy of the context's."""
    weights = seeded_weights(shapes)
    for name in weights:
        if name.startswith("target_encoder."):
            weights[name] = weights[name.replace("target_", "context_", 1)].clone()
    return weights


def batch_of(size: str, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return signal, context and target positions of a step."""
    config, batch = parity_config(size), BATCH[size]
    rng = np.random.default_rng([8, step])
    signal = rng.standard_normal((batch, 12, config.data.window_samples)).astype(np.float32)
    masks = sample_masks(config.mask, rng, batch_size=batch, num_patches=config.num_patches)
    return torch.from_numpy(signal), *map(torch.from_numpy, masks)
