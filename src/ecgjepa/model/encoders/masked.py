"""What encoders share whose layers pass information from patch to patch.

A hidden patch cannot be left out, as a Vision Transformer leaves it out: a learned token stands in
its place, as in data2vec (https://arxiv.org/abs/2202.03555).
"""

from abc import abstractmethod

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ecgjepa.config import EncoderConfig
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.encoders.stem import build_stem
from ecgjepa.model.layers import gather_tokens


class MaskedEncoder(Encoder):
    """Layers that all see whole windows, without registers.

    Args:
        config: Architecture.
        dropout: Dropout of the blocks' branches while training; 0 in pre-training.
    """

    def __init__(self, config: EncoderConfig, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = build_stem(config)
        self.mask_token = nn.Parameter(torch.empty(1, 1, config.dim))
        self.blocks = nn.ModuleList(self.make_block(config, dropout) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps, bias=False)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    @staticmethod
    @abstractmethod
    def make_block(config: EncoderConfig, dropout: float) -> nn.Module:
        """Return one block, (batch, patches, dim) in and out."""

    def forward(
        self,
        signal: Float[Tensor, "batch leads samples"],
        keep_index: Int64[Tensor, "batch kept"] | None = None,
        *,
        leads: Int64[Tensor, "#batch chosen"] | None = None,
    ) -> Float[Tensor, "batch tokens dim"]:
        """Return one feature vector per (kept) patch: see `Encoder.forward`."""
        self.check_signal(signal)
        if leads is not None:
            raise ValueError("this encoder's patches span all leads, so it cannot encode some")
        features = self.contextualise(self.embed(signal, keep_index))
        return features if keep_index is None else gather_tokens(features, keep_index)

    def embed(
        self,
        signal: Float[Tensor, "batch leads samples"],
        keep_index: Int64[Tensor, "batch kept"] | None = None,
    ) -> Float[Tensor, "batch patches dim"]:
        """Return one vector per patch, of the samples of that patch alone or, if hidden, of none.

        Args:
            signal: Normalised amplitudes.
            keep_index: Patches that are not hidden; all by default.
        """
        tokens = self.patch_embed(signal)
        if keep_index is None and not torch.is_grad_enabled():
            return tokens
        hidden = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        # Where nothing is hidden the mask token has a gradient too, of 0: processes that share a
        # batch wait for the gradient of every parameter.
        hidden = (
            torch.zeros_like(hidden) if keep_index is None else hidden.scatter(1, keep_index, 0)
        )
        return torch.where(hidden.unsqueeze(2), self.mask_token.to(tokens.dtype), tokens)

    def contextualise(
        self, tokens: Float[Tensor, "batch patches dim"]
    ) -> Float[Tensor, "batch patches dim"]:
        """Return the features of embedded patches; of a causal encoder, from the past alone."""
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)
