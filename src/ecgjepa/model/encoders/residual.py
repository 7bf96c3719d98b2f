"""A stack of residual convolutions over time patches of all leads together.

The blocks are those of `ecgjepa.model.xresnet` (two convolutions of 5, the last norm of a branch
starts at 0), but for their norm: a layer norm of each token in place of a batch norm, so that a
record's features depend on that record alone. All blocks work at the rate of the patches.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ecgjepa.config import EncoderConfig
from ecgjepa.config.networks import CONVOLUTION_KERNEL
from ecgjepa.model.encoders.masked import MaskedEncoder


class ResidualEncoder(MaskedEncoder):
    """Residual convolutions; how far a token sees grows with the number of blocks."""

    @staticmethod
    def make_block(config: EncoderConfig, dropout: float) -> "ResidualBlock":
        """Return one block."""
        return ResidualBlock(config.dim, norm_eps=config.norm_eps, dropout=dropout)


class ResidualBlock(nn.Module):
    """Two convolutions, each with a layer norm, added to their input.

    Args:
        dim: Width.
        norm_eps: Epsilon of the layer norms.
        dropout: Dropout of the branch's output, while training.
    """

    def __init__(self, dim: int, *, norm_eps: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            nn.Conv1d(dim, dim, CONVOLUTION_KERNEL, padding="same", bias=False) for _ in range(2)
        )
        self.norm1, self.norm2 = (nn.LayerNorm(dim, eps=norm_eps, bias=False) for _ in range(2))
        self.dropout = nn.Dropout(dropout)
        for layer in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch patches dim"]:
        """Apply the block."""
        found = F.relu(self.norm1(self.conv1(x.transpose(1, 2)).transpose(1, 2)))
        found = self.norm2(self.conv2(found.transpose(1, 2)).transpose(1, 2))
        return F.relu(x + self.dropout(found))
