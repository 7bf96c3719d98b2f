"""How the two views of each record differ: drawn here, applied on the device by the objective.

Crop and resize, time mask: Mehari & Strodthoff, https://arxiv.org/abs/2103.12676. Noise is drawn
sample by sample on the device, from one seed per view: only a few numbers per record travel there.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from ecgjepa.config import AugmentConfig

NUM_VIEWS = 2


class Augmentation(NamedTuple):
    """What is done to each view of each record; shares are of a length.

    Attributes:
        crop_start: First place that the view shows.
        crop_width: Share of the window that the view shows.
        scale: Factor of the amplitudes.
        noise: Standard deviation of white noise, in standard deviations of the signal.
        noise_seed: 32 bits that the noise is computed from.
        mask_start: First place of the view that is blanked.
        mask_width: Share of the view that is blanked.
        keep_lead: Whether each lead is kept, not blanked.
    """

    crop_start: Float32[Tensor, "batch views"]
    crop_width: Float32[Tensor, "batch views"]
    scale: Float32[Tensor, "batch views"]
    noise: Float32[Tensor, "batch views"]
    noise_seed: Int64[Tensor, "batch views"]
    mask_start: Float32[Tensor, "batch views"]
    mask_width: Float32[Tensor, "batch views"]
    keep_lead: Bool[Tensor, "batch views leads"]


def sample_augmentation(
    config: AugmentConfig, rng: np.random.Generator, *, batch_size: int, num_leads: int
) -> Augmentation:
    """Draw two views of each record of a batch."""
    shape = (batch_size, NUM_VIEWS)
    crop_width = rng.uniform(config.min_crop, 1.0, shape)
    mask_width = rng.uniform(0.0, config.max_time_mask, shape)
    drawn = {
        "crop_width": crop_width,
        "crop_start": rng.uniform(0.0, 1.0, shape) * (1.0 - crop_width),
        "scale": config.max_scale ** rng.uniform(-1.0, 1.0, shape),
        "noise": rng.uniform(0.0, config.noise, shape),
        "mask_width": mask_width,
        "mask_start": rng.uniform(0.0, 1.0, shape) * (1.0 - mask_width),
    }
    keep = rng.random((*shape, num_leads)) >= config.lead_mask
    # One lead always stays, each as likely as the others.
    spared = rng.integers(0, num_leads, shape)
    keep |= np.arange(num_leads) == spared[..., None]
    return Augmentation(
        noise_seed=torch.from_numpy(rng.integers(0, 2**32, shape)),
        keep_lead=torch.from_numpy(keep),
        **{name: torch.from_numpy(values.astype(np.float32)) for name, values in drawn.items()},
    )
