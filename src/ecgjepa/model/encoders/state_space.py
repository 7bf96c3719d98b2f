"""Diagonal state-space layers: linear recurrences over time, computed as convolutions.

S4D of Gu, Gupta, Goel and Ré (https://arxiv.org/abs/2206.11893). Each channel has N complex states
h that follow h' = A h + x and are read as y = 2 Re(C h); A starts as -1/2 + iπn (S4D-Lin). Held for
a step of length dt, the output is a convolution of the input with the kernel
K[l] = 2 Re Σ C (exp(dt A) - 1) / A exp(dt A)^l.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float, Int64
from torch import Tensor, nn

from ecgjepa.config.networks import KERNEL_BLOCK, LONGEST_PRODUCT


class StateSpace(nn.Module):
    """One linear recurrence per channel, forward in time or both ways.

    Args:
        dim: Channels.
        state_dim: Complex states per channel and direction.
        is_causal: Whether an output depends on inputs up to its own time only. Otherwise a second
            recurrence runs backward in time, from the next input on.
    """

    def __init__(self, dim: int, state_dim: int, *, is_causal: bool) -> None:
        super().__init__()
        directions = 1 if is_causal else 2
        shape = (directions, dim, state_dim)
        self.is_causal = is_causal
        self.log_step = nn.Parameter(torch.empty(directions, dim, 1))
        self.log_decay = nn.Parameter(torch.full(shape, math.log(0.5)))
        self.frequency = nn.Parameter(torch.empty(shape))
        self.readout = nn.Parameter(torch.empty(*shape, 2))
        self.skip = nn.Parameter(torch.ones(dim))
        if not self.log_step.is_meta:
            self._draw()

    @torch.no_grad()
    def _draw(self) -> None:
        """Draw the first weights.

        Not where there is no memory for them: the first product of tensors without memory makes
        PyTorch import what compiles networks, which takes a second.
        """
        low, high = math.log(1e-3), math.log(1e-1)
        self.log_step.copy_(torch.rand_like(self.log_step) * (high - low) + low)
        state_dim = self.frequency.shape[2]
        self.frequency.copy_(math.pi * torch.arange(state_dim).expand_as(self.frequency))
        self.readout.copy_(torch.randn_like(self.readout) * math.sqrt(0.5))

    def forward(self, x: Float[Tensor, "batch steps dim"]) -> Float[Tensor, "dim batch steps"]:
        """Return the outputs at all times, channels first; computed in float32."""
        batch, steps, dim = x.shape
        with torch.autocast(x.device.type, enabled=False):
            # Two dimensions: PyTorch turns a matrix several times faster than a larger array.
            channels = x.float().reshape(-1, dim).t().contiguous().view(dim, batch, steps)
            kernels = self.kernels(steps)
            convolve = by_product if steps <= LONGEST_PRODUCT else by_transform
            return convolve(channels, kernels)

    def kernels(self, steps: int) -> Float[Tensor, "directions dim steps"]:
        """Return the first values of the convolution kernel of each direction and channel."""
        rate, readout = self.discrete()
        blocks = -(-steps // KERNEL_BLOCK)
        device = self.log_step.device
        within, turned = _powers(rate, torch.arange(KERNEL_BLOCK, device=device))
        real, imaginary = _powers(rate, KERNEL_BLOCK * torch.arange(blocks, device=device))
        weight, other = (part.unsqueeze(3) for part in (readout.real, readout.imag))
        # Real part of a complex product, as one real product.
        left = torch.cat(
            (real * weight - imaginary * other, -real * other - imaginary * weight), dim=2
        )
        right = torch.cat((within, turned), dim=2)
        kernels = 2 * (left.transpose(2, 3) @ right).flatten(2)[..., :steps]
        first = torch.arange(steps, device=device) == 0  # of the first direction: the present
        skip = torch.where(first, self.skip.unsqueeze(1), 0.0)
        return torch.cat((kernels[:1] + skip, kernels[1:]))

    def discrete(
        self,
    ) -> tuple[Complex[Tensor, "directions dim states"], Complex[Tensor, "directions dim states"]]:
        """Return the logarithm of each state's factor per step, and its weight in the output."""
        poles = torch.complex(-self.log_decay.exp(), self.frequency)
        rate = poles * self.log_step.exp()
        return rate, torch.view_as_complex(self.readout) * (torch.exp(rate) - 1) / poles


def _powers(
    rate: Complex[Tensor, "directions dim states"], exponents: Int64[Tensor, " powers"]
) -> tuple[Float[Tensor, "directions dim states powers"], ...]:
    """Return real and imaginary parts of exp(rate n); PyTorch's complex exponential is slower."""
    size = torch.exp(rate.real.unsqueeze(3) * exponents)
    angle = rate.imag.unsqueeze(3) * exponents
    return size * angle.cos(), size * angle.sin()


def by_product(
    signal: Float[Tensor, "dim batch steps"], kernels: Float[Tensor, "directions dim steps"]
) -> Float[Tensor, "dim batch steps"]:
    """Return the convolution as a product with the matrix of the kernel, one per channel."""
    steps = signal.shape[2]
    forward = kernels[0]
    backward = kernels[1, :, : steps - 1] if len(kernels) == 2 else torch.zeros_like(forward[:, 1:])
    # The effect of a time on another depends on their distance: row s of the matrix is the line of
    # all distances, begun at -s.
    line = torch.cat((backward.flip(1), forward), dim=1)
    # Turned round, the rows are a copy in order; products with overlapping rows copy each again.
    matrix = line.unfold(1, steps, 1).flip(1)
    return signal @ matrix


def by_transform(
    signal: Float[Tensor, "dim batch steps"], kernels: Float[Tensor, "directions dim steps"]
) -> Float[Tensor, "dim batch steps"]:
    """Return the convolution by the Fourier transform, both directions in one."""
    steps = signal.shape[2]
    size = 2 * steps
    padded = F.pad(kernels[0], (0, steps))
    if len(kernels) == 2:
        # Distance -d is place size - d of a circular convolution.
        behind = F.pad(kernels[1, :, : steps - 1].flip(1), (steps + 1, 0))
        padded = padded + behind
    product = torch.fft.rfft(signal, size) * torch.fft.rfft(padded, size).unsqueeze(1)
    return torch.fft.irfft(product, size)[..., :steps]


class StateSpaceBlock(nn.Module):
    """A state-space layer and a gated mix of its channels, normalised before, added to its input.

    Args:
        dim: Width.
        state_dim: See `StateSpace`.
        is_causal: See `StateSpace`.
        norm_eps: Epsilon of the layer norm.
        dropout: Dropout of the branch's output, while training.
    """

    def __init__(
        self, dim: int, state_dim: int, *, is_causal: bool, norm_eps: float, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=norm_eps, bias=False)
        self.state_space = StateSpace(dim, state_dim, is_causal=is_causal)
        self.mix = nn.Linear(dim, 2 * dim, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch steps dim"]) -> Float[Tensor, "batch steps dim"]:
        """Apply the block."""
        found = F.gelu(self.state_space(self.norm(x)))
        mixed = F.glu(self.mix(found.flatten(1).t()), dim=1)
        return x + self.dropout(mixed.view(x.shape))
