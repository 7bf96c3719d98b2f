"""Compare a training step of the state-space encoder with one that computes it plainly.

    python benchmarks/state_space.py --out benchmarks/results/DATE-state-space.json

Plainly means: all powers of all states, then two Fourier transforms per direction, as S4D's paper
writes it. Both compute the same function; the largest difference of their outputs is printed. The
steps alternate, and times are of this process' own CPU use.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median

import torch
from jaxtyping import Float
from torch import Tensor

from ecgjepa.config import EncoderConfig
from ecgjepa.environment import doctor
from ecgjepa.model.encoders.s4d import StateSpaceEncoder
from ecgjepa.model.encoders.state_space import StateSpace, by_product, by_transform

LENGTHS = (125, 250, 500, 1000)


class PlainStateSpace(StateSpace):
    """The same layer, as the paper writes it."""

    def forward(self, x: Float[Tensor, "batch steps dim"]) -> Float[Tensor, "dim batch steps"]:
        """Return the outputs at all times, channels first."""
        steps = x.shape[1]
        signal = x.transpose(1, 2)
        rate, weight = self.discrete()
        powers = torch.exp(rate.unsqueeze(3) * torch.arange(steps))
        kernels = 2 * (weight.unsqueeze(3) * powers).sum(dim=2).real
        found = _convolve(signal, kernels[0])
        if not self.is_causal:
            ahead = _convolve(signal.flip(2), kernels[1]).flip(2)[..., 1:]
            found = found + torch.nn.functional.pad(ahead, (0, 1))
        return (found + signal * self.skip.unsqueeze(1)).transpose(0, 1)


def _convolve(signal: Tensor, kernel: Tensor) -> Tensor:
    size = 2 * signal.shape[2]
    product = torch.fft.rfft(signal, size) * torch.fft.rfft(kernel, size)
    return torch.fft.irfft(product, size)[..., : signal.shape[2]]


def step_seconds(model: torch.nn.Module, signal: Tensor) -> float:
    """Return the CPU time of a forward and a backward pass."""
    start = time.process_time()
    model.zero_grad()
    model(signal).square().mean().backward()
    return time.process_time() - start


def encoders(config: EncoderConfig) -> tuple[StateSpaceEncoder, StateSpaceEncoder]:
    """Return the encoder, and a plain one of the same weights."""
    torch.manual_seed(0)
    ours, plain = StateSpaceEncoder(config), StateSpaceEncoder(config)
    for block in plain.blocks:
        block.state_space = PlainStateSpace(config.dim, config.state_dim, is_causal=config.causal)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def convolution_seconds(steps: int, batch: int, dim: int) -> dict[str, float]:
    """Return the CPU times of both ways to convolve, forward and backward."""
    kernels = torch.randn(2, dim, steps, requires_grad=True)
    signal = torch.randn(dim, batch, steps, requires_grad=True)
    times: dict[str, list[float]] = {"product": [], "transform": []}
    for _ in range(5):
        for name, way in (("product", by_product), ("transform", by_transform)):
            start = time.process_time()
            way(signal, kernels).square().mean().backward()
            times[name].append(time.process_time() - start)
    return {name: min(found) for name, found in times.items()}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = EncoderConfig(architecture="s4d", patch_size=2, dim=96, depth=4, num_heads=4)
    ours, plain = encoders(config)
    signal = torch.randn(arguments.batch, 12, 250)
    with torch.no_grad():
        difference = float((ours(signal) - plain(signal)).abs().max())
    pairs = [
        (step_seconds(ours, signal), step_seconds(plain, signal)) for _ in range(arguments.rounds)
    ]
    ratios = sorted(slow / fast for fast, slow in pairs)
    found = {
        "crops": arguments.batch,
        "steps_of_a_crop": 125,
        "parameters": sum(parameter.numel() for parameter in ours.parameters()),
        "largest_difference": difference,
        "seconds": median(fast for fast, _ in pairs),
        "seconds_plain": median(slow for _, slow in pairs),
        "ratio": median(ratios),
        "ratio_range": [ratios[0], ratios[-1]],
        "convolution_seconds": {
            length: convolution_seconds(length, 16_000 // length, config.dim) for length in LENGTHS
        },
        "machine": doctor().get("processor"),
    }
    print(json.dumps(found, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
