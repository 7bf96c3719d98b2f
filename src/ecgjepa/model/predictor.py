"""The narrow transformer that predicts the features of masked patches."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ecgjepa.config import EncoderConfig, PredictorConfig
from ecgjepa.model.layers import initialise_weights, transformer_blocks
from ecgjepa.model.positions import Positions


class Predictor(nn.Module):
    """Sees the context features, returns features at the masked positions, all at once.

    Args:
        config: Architecture.
        encoder: The encoder whose features it reads.
        outputs: Width of the features that it predicts; the encoder's by default.
        fills_in: Whether the encoder skips patches, for which a learned token stands.
    """

    def __init__(
        self,
        config: PredictorConfig,
        encoder: EncoderConfig,
        outputs: int | None = None,
        *,
        fills_in: bool = True,
    ) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(encoder.dim, config.dim, bias=False)
        self.mask_token = nn.Parameter(torch.empty(1, 1, config.dim)) if fills_in else None
        self.blocks = transformer_blocks(config, encoder)
        self.positions = Positions(encoder, config.dim, config.num_heads)
        self.norm = nn.LayerNorm(config.dim, eps=encoder.norm_eps, bias=False)
        self.proj = nn.Linear(config.dim, outputs or encoder.dim, bias=False)
        # Its own depth scales the residual branches (the official code takes the encoder's,
        # which is the same number in every published configuration).
        initialise_weights(self, depth=config.depth)
        if self.mask_token is not None:
            nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(
        self,
        context: Float[Tensor, "batch context dim"],
        context_index: Int64[Tensor, "batch context"],
        target_index: Int64[Tensor, "batch target"],
        *,
        num_tokens: int | None = None,
        with_context: bool = False,
    ) -> Float[Tensor, "batch predicted width"]:
        """Predict the target encoder's features at ``target_index``.

        Args:
            context: Context encoder's features of the visible patches, without registers.
            context_index: Their positions.
            target_index: Positions to predict; none for a predictor that fills nothing in.
            num_tokens: How many there are in all; by default these.
            with_context: Whether features at ``context_index`` are predicted too; they come first.
        """
        num_tokens = num_tokens or context_index.shape[1] + target_index.shape[1]
        positions = self.positions(num_tokens)
        rotation = self.positions.rotation(
            num_tokens, torch.cat((context_index, target_index), dim=1)
        )
        tokens = self.embed(context) + F.embedding(context_index, positions)
        if self.mask_token is not None:
            masked = self.mask_token + F.embedding(target_index, positions)
            tokens = torch.cat((tokens, masked.to(tokens.dtype)), dim=1)
        for block in self.blocks:
            tokens = block(tokens, rotation)
        wanted = tokens if with_context else tokens[:, -target_index.shape[1] :]
        return self.proj(self.norm(wanted))
