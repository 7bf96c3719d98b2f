"""The parts of a pre-norm Vision Transformer, without biases.

`Block` computes what ``torch.nn.TransformerEncoderLayer(norm_first=True, bias=False,
activation="gelu")`` computes. Names follow timm, so that state dicts read as people expect.

Initialisation (official code of Weimann & Conrad): normal with standard deviation 0.02 for all
linear and convolution weights, 0.02 / sqrt(2 depth) for the two projections that end a residual
branch, ones for layer norms.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ecgjepa.config import EncoderConfig, PredictorConfig

# Rotary positions: position p turns the point (x[i], x[i + head_dim / 2]) of a head by the angle
# p / 10000^(2 i / head_dim), so that the product of a turned query and a turned key depends on the
# difference of their positions (RoFormer, https://arxiv.org/abs/2104.09864, section 3.2.2).
_BASE = 10_000.0


class Rotation(NamedTuple):
    """Cosine and sine of every token's angles; the same for all heads and blocks."""

    cos: Float[Tensor, "#batch 1 tokens half"]
    sin: Float[Tensor, "#batch 1 tokens half"]


def rotation_table(num_positions: int, head_dim: int) -> Float[Tensor, "2 positions half"]:
    """Return cosines and sines for positions 0, 1, …; position 0 is the identity."""
    frequency = _BASE ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.arange(num_positions, dtype=torch.float64).unsqueeze(1) * frequency
    return torch.stack((angle.cos(), angle.sin())).float()


def rotation_at(
    table: Float[Tensor, "2 positions half"], time: Int64[Tensor, "#batch tokens"]
) -> Rotation:
    """Return the rotation of tokens at these positions."""
    return Rotation(table[0][time].unsqueeze(1), table[1][time].unsqueeze(1))


def rotate(
    x: Float[Tensor, "batch heads tokens head_dim"], rotation: Rotation
) -> Float[Tensor, "batch heads tokens head_dim"]:
    """Turn queries or keys; computed in float32, returned in their own type."""
    first, second = x.chunk(2, dim=-1)
    turned = (
        first * rotation.cos - second * rotation.sin,
        first * rotation.sin + second * rotation.cos,
    )
    return torch.cat(turned, dim=-1).to(x.dtype)


def attend(
    query: Float[Tensor, "batch heads queries head_dim"],
    key: Float[Tensor, "batch heads tokens head_dim"],
    value: Float[Tensor, "batch heads tokens head_dim"],
) -> Float[Tensor, "batch heads queries head_dim"]:
    """Return softmax(query keyᵀ / sqrt(head_dim)) value, by the faster of two routes.

    PyTorch's fused attention wins on GPUs and on CPUs in float32. In bfloat16 on a CPU its
    backward pass is several times slower than plain matrix products (benchmarks/attention.py).
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        return weights.softmax(dim=-1).to(value.dtype) @ value
    return F.scaled_dot_product_attention(query, key, value)


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim, bias=False)

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], rotation: Rotation | None = None
    ) -> Float[Tensor, "batch tokens dim"]:
        """Let every token attend to every token, queries and keys turned if there are angles."""
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.num_heads, dim // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        attended = attend(query, key, value)
        return self.proj(attended.transpose(1, 2).reshape(batch, tokens, dim))


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim, bias=False)
        self.fc2 = nn.Linear(hidden_dim, dim, bias=False)

    def forward(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        """Transform each token on its own."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and MLP, each normalised before and added to its input.

    Args:
        dim: Width.
        num_heads: Attention heads.
        mlp_ratio: Width of the MLP relative to ``dim``.
        norm_eps: Epsilon of the layer norms.
        dropout: Dropout of both branches' outputs, while training.
    """

    def __init__(
        self, dim: int, num_heads: int, *, mlp_ratio: float, norm_eps: float, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps, bias=False)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps, bias=False)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.dropout: nn.Module = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], rotation: Rotation | None = None
    ) -> Float[Tensor, "batch tokens dim"]:
        """Apply the block."""
        x = x + self.dropout(self.attn(self.norm1(x), rotation))
        return x + self.dropout(self.mlp(self.norm2(x)))


def transformer_blocks(
    size: EncoderConfig | PredictorConfig, encoder: EncoderConfig, *, dropout: float = 0.0
) -> nn.ModuleList:
    """Return the blocks of a transformer, its weights not yet as `initialise_weights` makes them.

    Args:
        size: Width, heads and number of the blocks.
        encoder: What all networks of a model share with the encoder: width of the MLPs and epsilon.
        dropout: See `Block`.
    """
    return nn.ModuleList(
        Block(
            size.dim,
            size.num_heads,
            mlp_ratio=encoder.mlp_ratio,
            norm_eps=encoder.norm_eps,
            dropout=dropout,
        )
        for _ in range(size.depth)
    )


class PatchEmbedding(nn.Module):
    """One linear map from each stretch of all leads together to a token."""

    def __init__(self, num_leads: int, patch_size: int, dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv1d(num_leads, dim, kernel_size=patch_size, stride=patch_size, bias=False)

    def forward(
        self, x: Float[Tensor, "batch leads samples"]
    ) -> Float[Tensor, "batch patches dim"]:
        """Return one token per patch."""
        return self.proj(x).transpose(1, 2)


class LeadPatchEmbedding(nn.Module):
    """One linear map, shared by all leads, from each stretch of one lead to a token."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Linear(patch_size, dim, bias=False)

    def forward(self, x: Float[Tensor, "batch leads samples"]) -> Float[Tensor, "batch tokens dim"]:
        """Return one token per patch and lead, numbered as `ecgjepa.model.positions` says."""
        patches = x.unflatten(2, (-1, self.patch_size)).transpose(1, 2)
        return self.proj(patches.flatten(1, 2))


def position_embedding(num_patches: int, dim: int) -> Float[Tensor, "patches dim"]:
    """Return fixed embeddings: sines at even, cosines at odd positions of the width.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.5.
    """
    position = torch.arange(num_patches, dtype=torch.float32).unsqueeze(1)
    frequency = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000.0) / dim))
    angle = position * frequency
    return torch.stack((angle.sin(), angle.cos()), dim=2).reshape(num_patches, dim)


def gather_tokens(
    tokens: Float[Tensor, "batch patches dim"], index: Int64[Tensor, "batch chosen"]
) -> Float[Tensor, "batch chosen dim"]:
    """Return the tokens at the given positions of each row."""
    return tokens.gather(1, index.unsqueeze(2).expand(-1, -1, tokens.shape[2]))


def initialise_weights(module: nn.Module, *, depth: int) -> None:
    """Initialise a transformer of ``depth`` blocks in place, as the module's docstring says."""
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear | nn.Conv1d):
            ends_branch = name.endswith(("attn.proj", "mlp.fc2"))
            std = 0.02 / math.sqrt(2 * depth) if ends_branch else 0.02
            nn.init.trunc_normal_(part.weight, std=std)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
