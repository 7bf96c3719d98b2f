"""What an objective needs of a batch beside its signals: masks, or two views of each record.

A pure function of (seed, step, part), like everything in a batch.
"""

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from ecgjepa.config import PretrainConfig
from ecgjepa.model.positions import token_index
from ecgjepa.sampling.augmentation import Augmentation, sample_augmentation
from ecgjepa.sampling.lead_dropout import sample_leads
from ecgjepa.sampling.masking import sample_masks, sample_random_masks
from ecgjepa.sampling.mixture import leads_rng, masks_rng, views_rng


def sample_batch_inputs(
    config: PretrainConfig, seed: int, step: int, part: int, *, size: int
) -> tuple[Int64[Tensor, "batch context"], Int64[Tensor, "batch target"], Augmentation | None]:
    """Draw the masks or the views of all ``size`` records of a part.

    Returns:
        The last three fields of a `Batch`.
    """
    if config.compares_views:
        none = torch.empty((size, 0), dtype=torch.int64)
        rng, num_leads = views_rng(seed, step, part), len(config.data.leads)
        views = sample_augmentation(config.augment, rng, batch_size=size, num_leads=num_leads)
        return none, none, views
    rng = masks_rng(seed, step, part)
    if config.objective == "mae":
        masks = sample_random_masks(
            config.mae.mask_ratio, rng, batch_size=size, num_patches=config.num_maskable
        )
        return torch.from_numpy(masks.context_index), torch.from_numpy(masks.target_index), None
    context, target = _token_masks(config, rng, leads_rng(seed, step, part), size)
    return context, target, None


def _token_masks(
    config: PretrainConfig, rng: np.random.Generator, rng_leads: np.random.Generator, size: int
) -> tuple[Int64[Tensor, "batch context"], Int64[Tensor, "batch target"]]:
    """Return the tokens that the context encoder sees and those to predict.

    With per-lead patches, the same stretches of time are masked in all leads, so that no lead gives
    away another; a lead that is dropped is not seen, but predicted where it is masked.
    """
    num_leads = config.encoder.num_leads
    masks = sample_masks(config.mask, rng, batch_size=size, num_patches=config.num_patches)
    context, target = map(torch.from_numpy, masks)
    if not config.encoder.lead_patches:
        return context, target
    seen = sample_leads(config.train.lead_dropout, rng_leads, batch_size=size, num_leads=num_leads)
    every_lead = torch.arange(num_leads).unsqueeze(0)
    return (
        token_index(context, torch.from_numpy(seen), num_leads),
        token_index(target, every_lead, num_leads),
    )
