"""Stochastic depth: while training, a block now and then leaves a record's tokens as they are.

Huang et al. 2016 (https://arxiv.org/abs/1603.09382). The rate grows linearly from 0 in the first
block to its full value in the last one.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Sets whole records of a branch's output to 0 while training; scales the others up.

    Args:
        rate: Probability of a record to be set to 0.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of a branch (batch, …) as it is to be added."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.empty((x.shape[0], *[1] * (x.ndim - 1)), dtype=x.dtype, device=x.device)
        return x * kept.bernoulli_(1 - self.rate).div_(1 - self.rate)


def add_stochastic_depth(blocks: Iterable[nn.Module], rate: float) -> None:
    """Give the blocks of a network stochastic depth, in place; names of weights stay.

    Args:
        blocks: Blocks of any encoder, or of the residual network, from the first to the last.
        rate: Probability of a record to skip a branch of the last block; 0 changes nothing.
    """
    if rate == 0:
        return
    listed = list(blocks)
    for number, block in enumerate(listed, start=1):
        share = (number - 1) / (len(listed) - 1) if len(listed) > 1 else 1.0
        drop = DropPath(rate * share)
        branch = getattr(block, "branch", None)
        if isinstance(branch, nn.Sequential):  # of the residual network
            branch.append(drop)
        else:
            block.dropout = nn.Sequential(block.get_submodule("dropout"), drop)
