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
        # From the farthest future to the farthest past, as a convolution of PyTorch reads it.
        line = torch.cat((backward.flip(1), forward), dim=1).flip(1)
        self.weight = nn.Parameter(line.unsqueeze(1).contiguous(), requires_grad=False)
        self.steps = steps

    def forward(self, x: Float[Tensor, "batch steps dim"]) -> Float[Tensor, "dim batch steps"]:
        """Return the outputs at all times, channels first."""
        channels = x.transpose(1, 2)
        found = F.conv1d(channels, self.weight, padding=self.steps - 1, groups=len(self.weight))
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
