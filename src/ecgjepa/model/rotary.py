"""Rotary positions: queries and keys turn with time, so attention sees differences of time only.

Su et al. 2021, RoFormer, https://arxiv.org/abs/2104.09864, section 3.2.2: position p turns the
point (x[i], x[i + head_dim / 2]) of a head by the angle p / 10000^(2 i / head_dim).
The product of a turned query and a turned key depends on the difference of their positions.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_BASE = 10_000.0


class Rotation(NamedTuple):
    """Cosine and sine of every token's angles; the same for all heads and blocks."""

    cos: Float[Tensor, "#batch 1 tokens half"]
    sin: Float[Tensor, "#batch 1 tokens half"]


def rotation_table(num_positions: int, head_dim: int) -> Float[Tensor, "2 positions half"]:
    """Return cosines and sines for positions 0, 1, …; position 0 is the identity."""
    frequency = _BASE ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.arange(num_positions, dtype=torch.float64).unsqueeze(1) * frequency
    return torch.stack((angle.cos(), angle.sin())).float()


def rotation_at(
    table: Float[Tensor, "2 positions half"], time: Int64[Tensor, "#batch tokens"]
) -> Rotation:
    """Return the rotation of tokens at these positions."""
    return Rotation(table[0][time].unsqueeze(1), table[1][time].unsqueeze(1))


def rotate(
    x: Float[Tensor, "batch heads tokens head_dim"], rotation: Rotation
) -> Float[Tensor, "batch heads tokens head_dim"]:
    """Turn queries or keys; computed in float32, returned in their own type."""
    first, second = x.chunk(2, dim=-1)
    turned = (
        first * rotation.cos - second * rotation.sin,
        first * rotation.sin + second * rotation.cos,
    )
    return torch.cat(turned, dim=-1).to(x.dtype)
