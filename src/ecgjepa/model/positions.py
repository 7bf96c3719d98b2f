"""How tokens know where they are: their place in time and, with per-lead patches, their lead.

Tokens are numbered time first: with L tokens per patch (one per lead, or 1), number n is the patch
n // L of lead n % L. Masks, ``keep_index`` and the predictor's indices are such numbers.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ecgjepa.config import EncoderConfig
from ecgjepa.errors import ConfigError
from ecgjepa.model.layers import Rotation, position_embedding, rotation_at, rotation_table


def token_index(
    patches: Int64[Tensor, "#batch patches"], leads: Int64[Tensor, "#batch leads"], num_leads: int
) -> Int64[Tensor, "batch tokens"]:
    """Return the numbers of the tokens of these patches in these leads, patch by patch."""
    return (patches.unsqueeze(2) * num_leads + leads.unsqueeze(1)).flatten(1)


class Positions(nn.Module):
    """Embeddings to add to tokens, and rotations for attention; for encoder and predictor.

    Args:
        config: Configuration of the encoder: kind of positions, leads.
        dim: Width of the tokens.
        num_heads: Attention heads.

    Raises:
        ConfigError: If positions are learned and nothing says how many.
    """

    def __init__(self, config: EncoderConfig, dim: int, num_heads: int) -> None:
        super().__init__()
        self.kind = config.positions
        self.tokens_per_patch = config.tokens_per_patch
        self.dim, self.head_dim = dim, dim // num_heads
        if self.kind == "learned":
            if not config.num_positions:
                raise ConfigError("encoder.positions learned needs encoder.num_positions")
            self.time = _embedding(config.num_positions, dim)
        self.lead = _embedding(config.num_leads, dim) if config.lead_patches else None
        self._table: Tensor
        self.register_buffer("_table", torch.empty(0), persistent=False)

    def forward(self, num_tokens: int) -> Float[Tensor, "tokens dim"]:
        """Return what is added to tokens 0 to ``num_tokens``: of any length."""
        num_patches = num_tokens // self.tokens_per_patch
        if self.kind == "sinusoidal":
            embedding = self._fixed(num_patches)[:num_patches]
        elif self.kind == "learned":
            # Beyond the table it begins again: neighbours stay one row apart, as in training.
            rows = torch.arange(num_patches, device=self.time.device) % len(self.time)
            embedding = self.time[rows]
        else:
            embedding = self._fixed(num_patches).new_zeros(num_patches, self.dim)
        return (
            embedding if self.lead is None else (embedding.unsqueeze(1) + self.lead).flatten(0, 1)
        )

    def rotation(
        self,
        num_tokens: int,
        index: Int64[Tensor, "batch kept"] | None = None,
        *,
        num_registers: int = 0,
    ) -> Rotation | None:
        """Return the rotation of registers, which are not turned, and tokens; None without any.

        Args:
            num_tokens: Of a whole window.
            index: Numbers of the tokens that are there; all by default.
            num_registers: How many registers go before them.
        """
        if self.kind != "rotary":
            return None
        table = self._fixed(num_tokens // self.tokens_per_patch)
        if index is None:
            index = torch.arange(num_tokens, device=table.device).unsqueeze(0)
        time = F.pad(index // self.tokens_per_patch, (num_registers, 0))  # position 0: not turned
        return rotation_at(table, time)

    def _fixed(self, num_patches: int) -> Tensor:
        """Return the table that is computed, not learned; longer whenever a longer one is needed.

        It is (patches, dim), or (2, patches, head_dim / 2) for rotations.
        """
        if self._table.ndim == 1 or self._table.shape[-2] < num_patches:
            # A tensor born in inference mode could not be used in training later.
            with torch.inference_mode(False):
                table = (
                    rotation_table(num_patches, self.head_dim)
                    if self.kind == "rotary"
                    else position_embedding(num_patches, self.dim)
                )
                self._table = table.to(self._table.device, self._table.dtype)
        return self._table


def _embedding(rows: int, dim: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(rows, dim), std=0.02))
