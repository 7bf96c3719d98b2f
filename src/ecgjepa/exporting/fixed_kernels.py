"""State-space layers whose kernels no longer change, as convolutions.

A kernel depends on the weights alone. ONNX has no complex numbers to compute it with, and need not
have them: once trained, a layer is one convolution of each channel with a constant.
"""

import functools
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ecgjepa.config.networks import LONGEST_PRODUCT
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.encoders.state_space import StateSpace
from ecgjepa.model.heads import Classifier

Network = TypeVar("Network", Encoder, Classifier, Encoder | Classifier)


class FixedKernel(nn.Module):
    """What a `StateSpace` computes, for signals of one length.

    Args:
        layer: The layer.
        steps: Length of the signals.
    """

    def __init__(self, layer: StateSpace, steps: int) -> None:
        super().__init__()
        kernels = layer.kernels(steps)
        forward = kernels[0]
        backward = kernels[1, :, : steps - 1] if len(kernels) == 2 else forward[:, 1:] * 0
        # Effect of one time on another, by their distance; the farthest ahead comes first.
        line = torch.cat((backward.flip(1), forward), dim=1)
        self.line = nn.Parameter(line.contiguous(), requires_grad=False)
        self.steps = steps
        # Runtimes convolve channel by channel slowly. Short signals are multiplied with a matrix of
        # the kernel, which is made when the file is opened, so that the file stays small.
        self.is_short = steps <= LONGEST_PRODUCT

    def forward(self, x: Float[Tensor, "batch steps dim"]) -> Float[Tensor, "dim batch steps"]:
        """Return the outputs at all times, channels first."""
        if self.is_short:
            times = torch.arange(self.steps)
            distance = times.unsqueeze(0) - times.unsqueeze(1) + self.steps - 1
            return x.permute(2, 0, 1) @ self.line[:, distance]
        kernel = self.line.flip(1).unsqueeze(1)
        found = F.conv1d(x.transpose(1, 2), kernel, padding=self.steps - 1, groups=len(self.line))
        return found.transpose(0, 1)


@torch.no_grad()
def with_fixed_kernels(model: Network, windows: Float[Tensor, "batch leads samples"]) -> Network:
    """Replace a model's state-space layers in place, and return it.

    Args:
        model: Encoder or classifier, in evaluation mode.
        windows: Normalised windows of the length that it will get. Running them also computes the
            tables of positions, which are then constants.
    """
    steps: dict[str, int] = {}
    layers = {name: part for name, part in model.named_modules() if isinstance(part, StateSpace)}
    hooks = [
        layer.register_forward_pre_hook(functools.partial(_note, steps, name))
        for name, layer in layers.items()
    ]
    model(windows)
    for hook in hooks:
        hook.remove()
    for name, layer in layers.items():
        model.set_submodule(name, FixedKernel(layer, steps[name]))
    return model


def _note(steps: dict[str, int], name: str, _layer: nn.Module, inputs: tuple[Tensor]) -> None:
    steps[name] = inputs[0].shape[1]
