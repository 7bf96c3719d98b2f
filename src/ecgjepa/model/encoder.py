"""The Vision Transformer over time patches of all leads together.

One patch is 50 ms of all leads in the paper; a token therefore mixes the leads and there is no
lead axis. A register token without a position goes before the patches.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ecgjepa.config import EncoderConfig
from ecgjepa.model.layers import (
    Block,
    PatchEmbedding,
    gather_tokens,
    initialise_weights,
    position_embedding,
)


class VisionTransformer(nn.Module):
    """The encoder; context and target encoder are two of these.

    Args:
        config: Architecture.
        dropout: Of the blocks' branches while training; 0 in pre-training.
    """

    def __init__(self, config: EncoderConfig, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbedding(config.num_leads, config.patch_size, config.dim)
        self.registers = nn.Parameter(torch.empty(1, config.num_registers, config.dim))
        self.blocks = nn.ModuleList(
            Block(
                config.dim,
                config.num_heads,
                mlp_ratio=config.mlp_ratio,
                norm_eps=config.norm_eps,
                dropout=dropout,
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps, bias=False)
        self._positions: Tensor
        self.register_buffer("_positions", torch.empty(0, config.dim), persistent=False)
        initialise_weights(self, depth=config.depth)
        nn.init.trunc_normal_(self.registers, std=0.02)

    def forward(
        self,
        signal: Float[Tensor, "batch leads samples"],
        keep_index: Int64[Tensor, "batch kept"] | None = None,
    ) -> Float[Tensor, "batch tokens dim"]:
        """Encode normalised signals of any whole number of patches.

        Args:
            signal: Normalised amplitudes.
            keep_index: Patches to encode; all by default.

        Returns:
            The registers' features first, then one per (kept) patch.

        Raises:
            ValueError: If the signal does not consist of whole patches of the right leads.
        """
        self._check(signal)
        tokens = self.patch_embed(signal)
        tokens = tokens + self.positions(tokens.shape[1])
        if keep_index is not None:
            tokens = gather_tokens(tokens, keep_index)
        # The registers take the tokens' type, which autocast may have made bfloat16.
        registers = self.registers.expand(len(tokens), -1, -1).to(tokens.dtype)
        tokens = torch.cat((registers, tokens), dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def positions(self, num_patches: int) -> Float[Tensor, "patches dim"]:
        """Return the position embeddings, computed for any length when first needed."""
        if len(self._positions) < num_patches:
            self._positions = position_embedding(num_patches, self.config.dim).to(
                self._positions.device, self._positions.dtype
            )
        return self._positions[:num_patches]

    def _check(self, signal: Tensor) -> None:
        config = self.config
        if signal.shape[1] != config.num_leads or signal.shape[2] % config.patch_size:
            raise ValueError(
                f"signal of shape {tuple(signal.shape)}: expected (batch, {config.num_leads} "
                f"leads, a multiple of {config.patch_size} samples)"
            )
