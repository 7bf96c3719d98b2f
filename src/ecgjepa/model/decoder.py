"""The narrow transformer that draws a masked autoencoder's patches from its encoder's features."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ecgjepa.config import EncoderConfig, PredictorConfig
from ecgjepa.model.layers import initialise_weights, position_embedding, transformer_blocks


class Decoder(nn.Module):
    """Features of visible patches in, samples of all patches out (He et al. 2021, section 3).

    Args:
        config: Architecture.
        encoder: The encoder whose features it reads.
        skips: Whether the encoder skips patches, for which a learned token stands.
    """

    def __init__(
        self, config: PredictorConfig, encoder: EncoderConfig, *, skips: bool = True
    ) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(encoder.dim, config.dim, bias=False)
        self.mask_token = nn.Parameter(torch.empty(1, 1, config.dim)) if skips else None
        self.blocks = transformer_blocks(config, encoder)
        self.norm = nn.LayerNorm(config.dim, eps=encoder.norm_eps, bias=False)
        self.proj = nn.Linear(config.dim, encoder.num_leads * encoder.patch_size, bias=False)
        initialise_weights(self, depth=config.depth)
        if self.mask_token is not None:
            nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(
        self,
        features: Float[Tensor, "batch visible dim"],
        index: Int64[Tensor, "batch visible"] | None,
        num_patches: int,
    ) -> Float[Tensor, "batch patches values"]:
        """Return the values of all patches, of one lead after the other.

        Args:
            features: Encoder's features without registers.
            index: Their positions; None if all patches are there, in order.
            num_patches: Of a window.
        """
        tokens = self.embed(features)
        if self.mask_token is not None:
            assert index is not None
            masked = self.mask_token.to(tokens.dtype).expand(tokens.shape[0], num_patches, -1)
            places = index.unsqueeze(2).expand(-1, -1, tokens.shape[2])
            tokens = masked.scatter(1, places, tokens)
        tokens = tokens + position_embedding(num_patches, self.config.dim).to(tokens.device)
        for block in self.blocks:
            tokens = block(tokens)
        return self.proj(self.norm(tokens))
