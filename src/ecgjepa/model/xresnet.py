"""Residual one-dimensional convolutional networks, the supervised rivals of a pre-trained encoder.

He et al. 2018, "Bag of Tricks" (https://arxiv.org/abs/1812.01187), over time as in the PTB-XL
benchmark (Strodthoff et al. 2020, https://arxiv.org/abs/2004.13701): a stem of three convolutions,
kernels of 5, batch norm, shortcuts by average pooling, the last norm of a branch starts at 0, and
maximum and mean over time before the classifier. ``xresnet1d50`` has as many parameters before the
classifier as the benchmark's, 886,400; the benchmark's classifier has batch norm and dropout too.
``xresnet1d18`` is wider than the benchmark's (92 channels, not 64): 0.7 M parameters, not 0.35 M.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ecgjepa.errors import ConfigError


class XResNetConfig(NamedTuple):
    """Architecture.

    Attributes:
        blocks: Residual blocks per stage; the stages after the first halve the rate.
        width: Channels of the branches.
        expansion: Channels between blocks relative to ``width``; 4 makes bottleneck blocks.
        kernel_size: Samples.
    """

    blocks: tuple[int, ...]
    width: int
    expansion: int = 1
    kernel_size: int = 5


NETWORKS = {
    "xresnet1d18": XResNetConfig((2, 2, 2, 2), width=92),
    "xresnet1d50": XResNetConfig((3, 4, 6, 3), width=64, expansion=4),
}


def build_xresnet(name: str, num_leads: int, num_labels: int) -> "XResNet":
    """Return a network with fresh weights.

    Raises:
        ConfigError: If there is none of that name.
    """
    check_network(name)
    return XResNet(NETWORKS[name], num_leads, num_labels)


def check_network(name: str) -> None:
    """Raise `ConfigError` if there is no network of that name."""
    if name not in NETWORKS:
        raise ConfigError(f"unknown network {name!r}: expected one of {', '.join(NETWORKS)}")


class XResNet(nn.Module):
    """Signals of any length in, one logit per label out."""

    def __init__(self, config: XResNetConfig, num_leads: int, num_labels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            _convolution(num_leads, 32, config.kernel_size, stride=2),
            nn.ReLU(),
            _convolution(32, 32, config.kernel_size),
            nn.ReLU(),
            _convolution(32, 64, config.kernel_size),
            nn.ReLU(),
            nn.MaxPool1d(3, stride=2, padding=1),
        )
        blocks, channels = [], 64
        for stage, count in enumerate(config.blocks):
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(_Block(channels, config, stride))
                channels = config.width * config.expansion
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(2 * channels, num_labels)

    def forward(
        self, signal: Float[Tensor, "batch leads samples"]
    ) -> Float[Tensor, "batch labels"]:
        """Return logits of normalised signals."""
        features = self.blocks(self.stem(signal))
        return self.head(torch.cat((features.amax(dim=2), features.mean(dim=2)), dim=1))


class _Block(nn.Module):
    """Two convolutions, or three with a narrow middle, added to the input."""

    def __init__(self, inputs: int, config: XResNetConfig, stride: int) -> None:
        super().__init__()
        width, outputs, kernel = config.width, config.width * config.expansion, config.kernel_size
        if config.expansion == 1:
            sizes = [(inputs, width, kernel, stride), (width, outputs, kernel, 1)]
        else:
            sizes = [
                (inputs, width, 1, 1),
                (width, width, kernel, stride),
                (width, outputs, 1, 1),
            ]
        layers: list[nn.Module] = []
        for number, (before, after, size, step) in enumerate(sizes):
            is_last = number == len(sizes) - 1
            layers.append(_convolution(before, after, size, stride=step, starts_at_zero=is_last))
            if not is_last:
                layers.append(nn.ReLU())
        self.branch = nn.Sequential(*layers)
        shortcut: list[nn.Module] = []
        if stride > 1:
            shortcut.append(nn.AvgPool1d(stride, ceil_mode=True))
        if inputs != outputs:
            shortcut.append(_convolution(inputs, outputs, 1))
        self.shortcut = nn.Sequential(*shortcut)

    def forward(
        self, x: Float[Tensor, "batch inputs samples"]
    ) -> Float[Tensor, "batch outputs shorter"]:
        """Apply the block."""
        return F.relu(self.branch(x) + self.shortcut(x))


def _convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, starts_at_zero: bool = False
) -> nn.Sequential:
    """Return a convolution without bias, and its batch norm."""
    convolution = nn.Conv1d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight)
    norm = nn.BatchNorm1d(outputs)
    if starts_at_zero:
        nn.init.zeros_(norm.weight)
    return nn.Sequential(convolution, norm)
