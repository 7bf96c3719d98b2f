"""Two routes of attention on this machine's CPU, forward and backward.

    python benchmarks/attention.py

Milliseconds per call, minimum of several; run it on an idle machine.
"""

import json
import platform
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

SHAPES = ((64, 4, 26, 24), (64, 4, 50, 24), (64, 4, 100, 24), (32, 4, 200, 48), (32, 6, 200, 64))
REPEATS = 12

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def fused(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """PyTorch's own."""
    return F.scaled_dot_product_attention(query, key, value)


def products(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Two matrix products and a softmax."""
    weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    return weights.softmax(dim=-1) @ value


def milliseconds(attention: Attention, shape: tuple[int, ...], dtype: torch.dtype) -> float:
    """Time forward and backward through the layout of a transformer block."""
    batch, heads, tokens, head_dim = shape
    packed = torch.randn(batch, tokens, 3, heads, head_dim, dtype=dtype, requires_grad=True)
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        attended = attention(*packed.permute(2, 0, 3, 1, 4).unbind(0))
        attended.transpose(1, 2).reshape(batch, tokens, -1).sum().backward()
        best = min(best, time.perf_counter() - start)
    return 1000 * best


def main() -> None:
    """Print a table and one line of JSON."""
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads")
    print(f"{'batch, heads, tokens, head dim':<34}{'dtype':<10}{'fused':>9}{'products':>10}")
    rows = []
    for shape in SHAPES:
        for dtype in (torch.float32, torch.bfloat16):
            times = [milliseconds(route, shape, dtype) for route in (fused, products)]
            name = str(dtype).removeprefix("torch.")
            print(f"{shape!s:<34}{name:<10}{times[0]:>9.1f}{times[1]:>10.1f}")
            rows.append({"shape": shape, "dtype": name, "fused": times[0], "products": times[1]})
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
