"""Patches of single leads: a Vision Transformer over leads and time."""

from jaxtyping import Float
from torch import Tensor, nn


class LeadPatchEmbedding(nn.Module):
    """One linear map, shared by all leads, from each stretch of one lead to a token."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Linear(patch_size, dim, bias=False)

    def forward(self, x: Float[Tensor, "batch leads samples"]) -> Float[Tensor, "batch tokens dim"]:
        """Return one token per patch and lead, numbered as `ecgjepa.model.positions` says."""
        patches = x.unflatten(2, (-1, self.patch_size)).transpose(1, 2)
        return self.proj(patches.flatten(1, 2))
