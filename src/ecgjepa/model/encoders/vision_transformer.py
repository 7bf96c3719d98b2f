"""The Vision Transformer over time patches of all leads together.

One patch is 50 ms of all leads in the paper; a token therefore mixes the leads and there is no
lead axis. A register token without a position goes before the patches. With ``lead_patches``, every
lead has tokens of its own, and any of the leads can be encoded without the others.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ecgjepa.config import EncoderConfig
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.encoders.stem import ConvolutionalStem, build_stem
from ecgjepa.model.layers import (
    gather_tokens,
    initialise_weights,
    transformer_blocks,
)
from ecgjepa.model.positions import Positions, token_index


class VisionTransformer(Encoder):
    """The paper's encoder: what is hidden is left out, and costs nothing.

    Args:
        config: Architecture.
        dropout: Dropout of the blocks' branches while training; 0 in pre-training.
    """

    def __init__(self, config: EncoderConfig, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = build_stem(config)
        self.registers = nn.Parameter(torch.empty(1, config.num_registers, config.dim))
        self.blocks = transformer_blocks(config, config, dropout=dropout)
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps, bias=False)
        self.positions = Positions(config, config.dim, config.num_heads)
        initialise_weights(self, depth=config.depth)
        if isinstance(self.patch_embed, ConvolutionalStem):
            self.patch_embed.initialise()
        nn.init.trunc_normal_(self.registers, std=0.02)

    def forward(
        self,
        signal: Float[Tensor, "batch leads samples"],
        keep_index: Int64[Tensor, "batch kept"] | None = None,
        *,
        leads: Int64[Tensor, "#batch chosen"] | None = None,
    ) -> Float[Tensor, "batch tokens dim"]:
        """Encode normalised signals of any whole number of patches.

        Args:
            signal: Normalised amplitudes.
            keep_index: Patches to encode; all by default. With ``lead_patches``, numbers of tokens
                (`ecgjepa.model.positions`).
            leads: In its place, with ``lead_patches``: numbers of the leads to encode, the same for
                all records or each record's own. Nothing depends on the signal's other leads.

        Returns:
            The registers' features first, then one per (kept) patch.

        Raises:
            ValueError: If the signal does not consist of whole patches of the right leads, or
                ``leads`` cannot be had.
        """
        self.check_signal(signal)
        if leads is not None:
            keep_index = self._tokens_of(leads, signal, keep_index)
        num_tokens = signal.shape[2] // self.config.patch_size * self.config.tokens_per_patch
        tokens = self._embed(signal, keep_index, num_tokens)
        rotation = self.positions.rotation(
            num_tokens, keep_index, num_registers=self.config.num_registers
        )
        # The registers take the tokens' type, which autocast may have made bfloat16.
        registers = self.registers.expand(tokens.shape[0], -1, -1).to(tokens.dtype)
        tokens = torch.cat((registers, tokens), dim=1)
        for block in self.blocks:
            tokens = block(tokens, rotation)
        return self.norm(tokens)

    def _embed(
        self,
        signal: Float[Tensor, "batch leads samples"],
        keep_index: Int64[Tensor, "batch kept"] | None,
        num_tokens: int,
    ) -> Float[Tensor, "batch tokens dim"]:
        """Return the tokens of the (kept) patches, with what tells their places."""
        positions = self.positions(num_tokens)
        if keep_index is None:
            return self.patch_embed(signal) + positions
        if isinstance(self.patch_embed, ConvolutionalStem):  # it costs as much as a block
            places = positions.expand(signal.shape[0], -1, -1)
            return self.patch_embed(signal, keep_index) + gather_tokens(places, keep_index)
        return gather_tokens(self.patch_embed(signal) + positions, keep_index)

    def _tokens_of(
        self,
        leads: Int64[Tensor, "#batch chosen"],
        signal: Float[Tensor, "batch leads samples"],
        keep_index: Int64[Tensor, "batch kept"] | None,
    ) -> Int64[Tensor, "batch tokens"]:
        config = self.config
        if not config.lead_patches:
            raise ValueError(
                "this encoder's patches span all leads, so it cannot encode some of them; that "
                "takes one with encoder.lead_patches"
            )
        if keep_index is not None:
            raise ValueError("keep_index already says which tokens are encoded: give no leads")
        num_patches = signal.shape[2] // config.patch_size
        patches = torch.arange(num_patches, device=signal.device).unsqueeze(0)
        return token_index(patches, leads, config.num_leads).expand(signal.shape[0], -1)
