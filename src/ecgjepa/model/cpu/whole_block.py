"""A transformer's block as one function with a backward pass that is written down, for CPUs.

It computes what `ecgjepa.model.layers.Block` computes. With tokens as few and narrow as those of an
ECG, most of a block's time on a CPU goes into calls and copies: PyTorch's own backward pass needs
three times as many, and its softmax is several times slower in bfloat16 than in float32.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

_LayerNormBackward = torch.ops.aten.native_layer_norm_backward.default
_GeluBackward = torch.ops.aten.gelu_backward.default


class BlockWeights(NamedTuple):
    """The parameters of a block, in the order of `Block`'s modules."""

    norm1: Float[Tensor, " dim"]
    qkv: Float[Tensor, "three_dim dim"]
    proj: Float[Tensor, "dim dim"]
    norm2: Float[Tensor, " dim"]
    fc1: Float[Tensor, "hidden dim"]
    fc2: Float[Tensor, "dim hidden"]


def whole_block(
    x: Float[Tensor, "batch tokens dim"],
    weights: BlockWeights,
    *,
    num_heads: int,
    norm_eps: float,
    factors: tuple[Tensor | None, Tensor | None] = (None, None),
) -> Float[Tensor, "batch tokens dim"]:
    """Return the output of a block.

    Args:
        x: Tokens.
        weights: Parameters.
        num_heads: Attention heads.
        norm_eps: Epsilon of the layer norms.
        factors: What the outputs of both branches are multiplied by, as dropout does it.
    """
    dtype = product_type(x)
    with torch.autocast("cpu", enabled=False):
        return _WholeBlock.apply(  # type: ignore[no-untyped-call]
            x, *factors, *weights, num_heads, norm_eps, dtype
        )


def product_type(x: Tensor) -> torch.dtype:
    """Return the type in which matrix products of tokens on a CPU are computed."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


class _WholeBlock(torch.autograd.Function):
    """Products in ``dtype``; sums, norms and the softmax in the type of the tokens."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        factor1: Tensor | None,
        factor2: Tensor | None,
        *rest: Any,  # noqa: ANN401 (weights, heads, epsilon, type)
    ) -> Tensor:
        norm1, *matrices, num_heads, norm_eps, dtype = rest
        qkv, proj, norm2, fc1, fc2 = matrices
        qkv, proj, fc1, fc2 = (each.to(dtype) for each in (qkv, proj, fc1, fc2))
        tokens = x.flatten(0, 1)
        seen, mean1, scale1 = torch.native_layer_norm(tokens, norm1.shape, norm1, None, norm_eps)
        seen = seen.to(dtype)
        parts = _split(seen @ qkv.t(), x.shape, num_heads)
        shares = (torch.bmm(parts[0], parts[1].transpose(1, 2)).to(x.dtype)).mul_(
            parts.shape[3] ** -0.5
        )
        shares = torch.softmax(shares, dim=2).to(dtype)
        mixed = _join(torch.bmm(shares, parts[2]).unsqueeze(0), x.shape, num_heads)
        middle = tokens + _times(mixed @ proj.t(), factor1).to(x.dtype)
        read, mean2, scale2 = torch.native_layer_norm(middle, norm2.shape, norm2, None, norm_eps)
        read = read.to(dtype)
        hidden = read @ fc1.t()
        active = F.gelu(hidden)
        out = middle + _times(active @ fc2.t(), factor2).to(x.dtype)
        kept: tuple[Any, ...] = (
            *(tokens, norm1, mean1, scale1, seen, qkv, parts, shares, mixed, proj, factor1),
            *(middle, norm2, mean2, scale2, read, fc1, hidden, active, fc2, factor2),
        )
        ctx.save_for_backward(*kept)
        ctx.shape, ctx.num_heads = x.shape, num_heads  # type: ignore[attr-defined]
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # type: ignore[attr-defined]
        tokens, norm1, mean1, scale1, seen, qkv, parts, shares, mixed, proj, factor1 = saved[:11]
        middle, norm2, mean2, scale2, read, fc1, hidden, active, fc2, factor2 = saved[11:]
        shape, num_heads = ctx.shape, ctx.num_heads  # type: ignore[attr-defined]
        own, dtype = tokens.dtype, seen.dtype
        gradient = gradient.reshape(tokens.shape)

        of_branch = _times(gradient.to(dtype), factor2)
        of_fc2 = of_branch.t() @ active
        of_hidden = _GeluBackward(of_branch @ fc2, hidden)
        of_fc1 = of_hidden.t() @ read
        of_middle, of_norm2, _ = _LayerNormBackward(
            (of_hidden @ fc1).to(own),
            *(middle, norm2.shape, mean2, scale2, norm2, None, [True, True, False]),
        )
        of_middle += gradient

        of_branch = _times(of_middle.to(dtype), factor1)
        of_proj = of_branch.t() @ mixed
        of_mixed = _split(of_branch @ proj, shape, num_heads)[0]
        of_parts = torch.empty_like(parts)
        torch.bmm(shares.transpose(1, 2), of_mixed, out=of_parts[2])
        of_shares = torch.bmm(of_mixed, parts[2].transpose(1, 2)).to(own).mul_(shares)
        # Through the softmax: shares (gradient - the gradient's mean, weighted by the shares).
        of_shares.addcmul_(shares.to(own), of_shares.sum(dim=2, keepdim=True), value=-1)
        of_shares = of_shares.mul_(parts.shape[3] ** -0.5).to(dtype)
        torch.bmm(of_shares, parts[1], out=of_parts[0])
        torch.bmm(of_shares.transpose(1, 2), parts[0], out=of_parts[1])
        of_joined = _join(of_parts, shape, num_heads)
        of_qkv = of_joined.t() @ seen
        of_tokens, of_norm1, _ = _LayerNormBackward(
            (of_joined @ qkv).to(own),
            *(tokens, norm1.shape, mean1, scale1, norm1, None, [True, True, False]),
        )
        of_tokens += of_middle
        of_matrices = (each.to(own) for each in (of_qkv, of_proj, of_fc1, of_fc2))
        of_qkv, of_proj, of_fc1, of_fc2 = of_matrices
        found = (of_norm1, of_qkv, of_proj, of_norm2, of_fc1, of_fc2)
        return (of_tokens.view(shape), None, None, *found, None, None, None)


def _split(x: Tensor, shape: torch.Size, num_heads: int) -> Tensor:
    """Return (parts, batch and heads, tokens, head_dim) of (batch and tokens, parts and dim)."""
    batch, tokens, dim = shape
    cut = x.view(batch, tokens, -1, num_heads, dim // num_heads)
    return cut.permute(2, 0, 3, 1, 4).reshape(-1, batch * num_heads, tokens, dim // num_heads)


def _join(x: Tensor, shape: torch.Size, num_heads: int) -> Tensor:
    """Return (batch and tokens, parts and dim) of what `_split` returns."""
    batch, tokens, dim = shape
    cut = x.view(-1, batch, num_heads, tokens, dim // num_heads)
    return cut.permute(1, 3, 0, 2, 4).reshape(batch * tokens, -1)


def _times(x: Tensor, factor: Tensor | None) -> Tensor:
    """Return what dropout leaves of a branch; (batch and tokens, dim)."""
    return x if factor is None else x * factor
