"""Hide patches of single leads from an encoder whose tokens mix the leads."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def blank_lead_patches(
    signal: Float[Tensor, "batch leads samples"],
    hidden: Int64[Tensor, "batch hidden"],
    patch_size: int,
) -> Float[Tensor, "batch leads samples"]:
    """Return the signal with 0, the mean, in the hidden patches of single leads.

    Args:
        signal: Normalised amplitudes.
        hidden: Numbers of those patches, patch by patch and within each lead by lead.
        patch_size: Samples.
    """
    batch, leads, samples = signal.shape
    keep = torch.ones(batch, samples // patch_size * leads, device=signal.device)
    keep = keep.scatter(1, hidden, 0.0).view(batch, -1, leads).transpose(1, 2)
    return signal * keep.repeat_interleave(patch_size, dim=2)
