"""What both sides of the parity check share: a small model's weights, batches and masks.

Everything comes from NumPy's generator, so that neither depends on a PyTorch version.
"""

import numpy as np
import torch

from ecgjepa.config import PretrainConfig, load_preset
from ecgjepa.sampling.masking import sample_masks

STEPS, BATCH = 12, 4


def parity_config() -> PretrainConfig:
    """The published configuration, made small enough for a second on a CPU."""
    return load_preset(
        "paper-vit-xs-ptbxl",
        [
            "encoder.dim=32",
            "encoder.depth=2",
            "predictor.dim=16",
            "predictor.depth=2",
            "data.window_seconds=4",
            "train.steps=40",
            "train.warmup_steps=5",
            "train.precision=float32",
        ],
    )


def fill_weights(named_parameters: dict[str, torch.Tensor]) -> None:
    """Overwrite parameters, by name, with values that depend on the name alone."""
    for number, name in enumerate(sorted(named_parameters)):
        parameter = named_parameters[name]
        noise = np.random.default_rng([7, number]).standard_normal(tuple(parameter.shape))
        base = 1.0 if "norm" in name else 0.0
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(base + 0.05 * noise))


def batch_of(step: int, config: PretrainConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return signal, context and target positions of a step."""
    rng = np.random.default_rng([8, step])
    signal = rng.standard_normal((BATCH, 12, config.data.window_samples)).astype(np.float32)
    masks = sample_masks(config.mask, rng, batch_size=BATCH, num_patches=config.num_patches)
    return torch.from_numpy(signal), *map(torch.from_numpy, masks)
