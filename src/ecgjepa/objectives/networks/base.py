"""What the training loop asks of an objective's networks and of their output."""

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.objectives.networks.signs import MeanOverProcesses


@runtime_checkable  # the tests check types as they run
class ObjectiveOutput(Protocol):
    """What ``forward`` of an objective's networks returns; a NamedTuple, for `torch.compile`."""

    @property
    def loss(self) -> Float[Tensor, ""]:
        """What is minimised."""

    def signs(self, mean: MeanOverProcesses) -> dict[str, float]:
        """Return the numbers that tell whether the run is failing, ``spread`` among them.

        They wait for the device, so they are for the steps that are logged. The output is of this
        process' share of the batch; what is returned is the same on all processes.
        """


class ObjectiveNetworks(nn.Module, ABC):
    """The networks of an objective.

    ``forward(signal, *inputs)`` takes normalised signals (batch, leads, samples) and what the
    objective's ``draw`` gives, and returns an `ObjectiveOutput`.
    """

    @property
    @abstractmethod
    def encoder_to_keep(self) -> Encoder:
        """The encoder that probing and fine-tuning start from."""

    @abstractmethod
    def update_target(self, momentum: float) -> None:
        """Move a target network, if there is one: once per optimizer step."""


@torch.no_grad()
def move_average(average: nn.Module, online: nn.Module, momentum: float) -> None:
    """Move a network's parameters towards those of another one of the same shape, in place.

    Args:
        average: Network that follows.
        online: Network that is trained.
        momentum: Share of the average that stays.
    """
    torch._foreach_lerp_(list(average.parameters()), list(online.parameters()), 1.0 - momentum)
