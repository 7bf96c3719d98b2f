"""What objectives may draw of a batch beside its signals: masks, or two views of each record.

All are pure functions of (seed, step, part), like everything in a batch. An objective takes one of
them, or draws something else.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from ecgjepa.config import AugmentConfig, PretrainConfig
from ecgjepa.model.positions import token_index
from ecgjepa.sampling.augmentation import Augmentation, sample_augmentation
from ecgjepa.sampling.lead_dropout import sample_leads
from ecgjepa.sampling.masking import sample_masks, sample_random_masks
from ecgjepa.sampling.mixture import directions_rng, leads_rng, masks_rng, views_rng


@runtime_checkable  # the tests check types as they run
class DrawInputs(Protocol):
    """Draws what an objective's networks take beside the signals of a part of a batch."""

    def __call__(self, seed: int, step: int, part: int, *, size: int) -> tuple[Tensor, ...]:
        """Return tensors whose first axis has ``size`` records, always the same ones."""


def draw_block_masks(
    config: PretrainConfig, seed: int, step: int, part: int, *, size: int
) -> tuple[Int64[Tensor, "batch context"], Int64[Tensor, "batch target"]]:
    """Draw the tokens that a context encoder sees and those to predict, in blocks of patches.

    With per-lead patches, the same stretches of time are masked in all leads, so that no lead gives
    away another; a lead that is dropped is not seen, but predicted where it is masked.
    """
    num_leads, rng = config.encoder.num_leads, masks_rng(seed, step, part)
    masks = sample_masks(config.mask, rng, batch_size=size, num_patches=config.num_patches)
    context, target = map(torch.from_numpy, masks)
    if not config.encoder.lead_patches:
        return context, target
    seen = sample_leads(
        config.train.lead_dropout,
        leads_rng(seed, step, part),
        batch_size=size,
        num_leads=num_leads,
    )
    every_lead = torch.arange(num_leads).unsqueeze(0)
    return (
        token_index(context, torch.from_numpy(seen), num_leads),
        token_index(target, every_lead, num_leads),
    )


def draw_random_masks(
    mask_ratio: float, num_patches: int, seed: int, step: int, part: int, *, size: int
) -> tuple[Int64[Tensor, "batch context"], Int64[Tensor, "batch target"]]:
    """Draw the visible and the hidden patches, each patch as likely as any other."""
    masks = sample_random_masks(
        mask_ratio, masks_rng(seed, step, part), batch_size=size, num_patches=num_patches
    )
    return torch.from_numpy(masks.context_index), torch.from_numpy(masks.target_index)


def draw_views(
    config: AugmentConfig, num_leads: int, seed: int, step: int, part: int, *, size: int
) -> Augmentation:
    """Draw the augmentation of two views of each record."""
    rng = views_rng(seed, step, part)
    return sample_augmentation(config, rng, batch_size=size, num_leads=num_leads)


def draw_directions(seed: int, step: int, part: int, *, size: int) -> Int64[Tensor, " batch"]:
    """Draw the 32 bits that random directions are computed from, the same for every record."""
    bits = int(directions_rng(seed, step, part).integers(2**32))
    return torch.full((size,), bits, dtype=torch.int64)
