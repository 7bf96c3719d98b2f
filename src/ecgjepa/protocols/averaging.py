"""The moving average of a network's weights over its training (Polyak averaging)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class WeightAverage:
    """Follows a network that is trained; without a share it is the network itself.

    Args:
        model: Network; its parameters and its batch norms' statistics are followed.
        share: Share of the average that stays at a step, once the training is long enough: at step
            t it is (1 + t) / (10 + t) at most, so that the first weights are soon forgotten. 0 for
            no average.
    """

    def __init__(self, model: nn.Module, share: float) -> None:
        self._share = share
        self._own = list(model.state_dict().values()) if share else []
        self._average = [tensor.clone() for tensor in self._own]

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move the average towards the weights after an optimizer step, counted from 0."""
        stays = min(self._share, (1 + step) / (10 + step))
        for average, own in zip(self._average, self._own, strict=True):
            if own.is_floating_point():
                average.lerp_(own, 1 - stays)
            else:
                average.copy_(own)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network have the averaged weights in the block, and then its own again."""
        kept = [tensor.clone() for tensor in self._own]
        self._copy(self._average)
        try:
            yield
        finally:
            self._copy(kept)

    @torch.no_grad()
    def _copy(self, values: list[torch.Tensor]) -> None:
        for own, value in zip(self._own, values, strict=True):
            own.copy_(value)
