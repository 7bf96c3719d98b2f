"""From samples to tokens: one linear map of a patch, or convolutions over each patch alone.

No token depends on samples of another patch: whatever hides a patch hides its samples.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ecgjepa.config import EncoderConfig
from ecgjepa.model.layers import LeadPatchEmbedding, PatchEmbedding


class ConvolutionalStem(nn.Module):
    """Three strided convolutions with GELU between; the product of the strides is the patch.

    A convolution of stride s sees 2 s - 1 samples, s - 1 of them before and behind its place. At
    the ends of a patch zeros stand there, not the samples of its neighbours.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        layers: list[nn.Module] = []
        inputs = config.num_leads
        for stride in config.stem_strides:
            layers += [
                nn.Conv1d(inputs, config.dim, 2 * stride - 1, stride, stride - 1, bias=False)
            ]
            layers += [nn.GELU()]
            inputs = config.dim
        self.layers = nn.Sequential(*layers[:-1])
        self.initialise()

    def initialise(self) -> None:
        """Draw weights that keep the size of what passes (He et al. 2015)."""
        for layer in self.layers:
            if isinstance(layer, nn.Conv1d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(
        self,
        x: Float[Tensor, "batch leads samples"],
        keep_index: Int64[Tensor, "batch kept"] | None = None,
    ) -> Float[Tensor, "batch chosen dim"]:
        """Return one token per patch, or per patch of ``keep_index``: others cost nothing."""
        patches = x.unflatten(2, (-1, self.patch_size)).transpose(1, 2)
        if keep_index is not None:
            rows = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
            patches = patches[rows, keep_index]
        tokens = self.layers(patches.flatten(0, 1)).squeeze(2)
        return tokens.view(patches.shape[0], patches.shape[1], -1)


def build_stem(config: EncoderConfig) -> ConvolutionalStem | PatchEmbedding | LeadPatchEmbedding:
    """Return what makes an encoder's tokens, with fresh weights."""
    if config.stem == "convolutional":
        return ConvolutionalStem(config)
    if config.lead_patches:
        return LeadPatchEmbedding(config.patch_size, config.dim)
    return PatchEmbedding(config.num_leads, config.patch_size, config.dim)
