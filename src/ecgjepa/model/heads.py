"""Heads: from an encoder's tokens to one logit per label."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn

from ecgjepa.config import Section
from ecgjepa.errors import ConfigError
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.layers import attend

HeadKind = Literal["attentive", "register", "mean", "pooled", "statistics"]
_EPS = 1e-6  # added to a variance, so that its root has a gradient where nothing varies


class HeadConfig(Section):
    """Which head, and its size.

    Attributes:
        kind: ``attentive`` is the paper's "linear" evaluation: one learned query attends to all
            tokens. ``register`` is a linear layer on the register token (the paper's fine-tuning).
            The others are linear layers on what patches have in common: ``mean`` on their mean (a
            true linear probe), ``pooled`` on mean and maximum, ``statistics`` on mean and standard
            deviation.
        num_labels: Outputs.
        bias: Whether the linear layer has one; the paper's heads have none.
        layers: Blocks, counted from 1, whose normalised outputs are its input; none for the
            encoder's output as it is.
        beside: Whether the outputs of the blocks stand side by side, not averaged.
    """

    kind: HeadKind
    num_labels: int = Field(ge=1, le=100_000)
    bias: bool = False
    layers: tuple[int, ...] = ()
    beside: bool = False

    @property
    def reading(self) -> "Reading":
        """What the head sees of the encoder."""
        return Reading(self.layers, self.beside)


class Reading(NamedTuple):
    """What is read of an encoder.

    Attributes:
        layers: Blocks, counted from 1, whose normalised outputs are read; none for the encoder's
            output as it is.
        beside: Whether their outputs stand side by side in each token, not averaged.
    """

    layers: tuple[int, ...] = ()
    beside: bool = False

    @property
    def widths(self) -> int:
        """Width of a token relative to the encoder's."""
        return max(1, len(self.layers)) if self.beside else 1


LAST_BLOCK = Reading()


class AttentiveHead(nn.Module):
    """One learned query, cross-attention over all tokens with registers, straight to the labels.

    No norm, no residual, no MLP. ViT-S and 71 labels give 470,016 parameters, as published.
    """

    def __init__(self, dim: int, num_heads: int, num_labels: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_token = nn.Parameter(torch.empty(1, 1, dim))
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.proj = nn.Linear(dim, num_labels, bias=False)
        for weight in self.parameters():
            nn.init.trunc_normal_(weight, std=0.02)

    def forward(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch labels"]:
        """Return logits."""
        query, key, value = self._parts(tokens)
        return self.proj(attend(query, key, value).transpose(1, 2).flatten(1))

    def attention(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens"]:
        """Return how much the query attends to each token: the mean over the heads; sums to 1."""
        query, key, _ = self._parts(tokens)
        weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        return weights.softmax(dim=-1).mean(dim=1).squeeze(1)

    def _parts(self, tokens: Float[Tensor, "batch tokens dim"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the query, and key and value of each token: (batch, heads, tokens, head_dim)."""
        batch, num_tokens, dim = tokens.shape
        head_dim = dim // self.num_heads
        query = self.q(self.query_token.expand(batch, -1, -1))
        query = query.view(batch, 1, self.num_heads, head_dim).transpose(1, 2)
        key_value = self.kv(tokens).view(batch, num_tokens, 2, self.num_heads, head_dim)
        key, value = key_value.permute(2, 0, 3, 1, 4).unbind(0)
        return query, key, value


class LinearHead(nn.Module):
    """A linear layer on the register token, or on what the patches have in common."""

    def __init__(
        self, dim: int, num_labels: int, *, num_registers: int, pool: HeadKind, bias: bool
    ) -> None:
        super().__init__()
        check_head(pool, num_registers)
        self.num_registers = num_registers
        self.pool = pool
        inputs = 2 * dim if pool in ("pooled", "statistics") else dim
        self.fc = nn.Linear(inputs, num_labels, bias=bias)
        nn.init.trunc_normal_(self.fc.weight, std=0.02)
        if bias:
            nn.init.zeros_(self.fc.bias)

    def forward(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch labels"]:
        """Return logits."""
        if self.pool == "register":
            return self.fc(tokens[:, 0])
        patches = tokens[:, self.num_registers :]
        if self.pool == "statistics":
            return self.fc(patch_statistics(patches))
        mean = patches.mean(dim=1)
        return self.fc(mean if self.pool == "mean" else torch.cat((mean, patches.amax(1)), dim=1))


def patch_statistics(
    patches: Float[Tensor, "batch patches dim"],
) -> Float[Tensor, "batch statistics"]:
    """Return mean and standard deviation over the patches: two numbers per dimension."""
    deviation = (patches.var(dim=1, unbiased=False) + _EPS).sqrt()
    return torch.cat((patches.mean(dim=1), deviation), dim=1)


def build_head(config: HeadConfig, encoder: Encoder) -> AttentiveHead | LinearHead:
    """Return a freshly initialised head for what is read of an encoder."""
    size = encoder.config
    dim = size.dim * config.reading.widths
    if config.kind == "attentive":
        return AttentiveHead(dim, size.num_heads, config.num_labels)
    return LinearHead(
        dim,
        config.num_labels,
        num_registers=size.num_registers,
        pool=config.kind,
        bias=config.bias,
    )


def tokens_of_layers(
    encoder: Encoder,
    signal: Float[Tensor, "batch leads samples"],
    reading: Reading = LAST_BLOCK,
) -> Float[Tensor, "batch tokens width"]:
    """Return some blocks' outputs, each after the encoder's last normalisation.

    They are averaged, or side by side with the last block last. Without layers, or with the last
    alone, that is the encoder's output.

    Args:
        encoder: Encoder.
        signal: Normalised amplitudes.
        reading: Blocks, and how they are joined; see `check_layers`.
    """
    layers = reading.layers
    if not layers or layers == (len(encoder.blocks),):
        return encoder(signal)
    outputs = outputs_of_layers(encoder, signal, layers)
    return torch.cat(outputs, dim=2) if reading.beside else torch.stack(outputs).mean(dim=0)


def outputs_of_layers(
    encoder: Encoder,
    signal: Float[Tensor, "batch leads samples"],
    layers: tuple[int, ...],
    leads: Int64[Tensor, "#batch chosen"] | None = None,
    *,
    normalised: bool = True,
) -> list[Float[Tensor, "batch tokens dim"]]:
    """Return some blocks' outputs, each after the encoder's last normalisation.

    Args:
        encoder: Encoder.
        signal: Normalised amplitudes.
        layers: Blocks, counted from 1; see `check_layers`.
        normalised: Whether they pass through the encoder's last norm, or are as the blocks gave
            them.
        leads: See `ecgjepa.model.encoders.encoder.Encoder.forward`.
    """
    found: dict[int, Tensor] = {}
    hooks = [
        encoder.blocks[number - 1].register_forward_hook(
            lambda _module, _inputs, output, number=number: found.__setitem__(number, output)
        )
        for number in layers
    ]
    try:
        encoder(signal, leads=leads)
    finally:
        for hook in hooks:
            hook.remove()
    outputs = [found[number] for number in layers]
    return [encoder.norm(output) for output in outputs] if normalised else outputs


def check_layers(layers: tuple[int, ...], depth: int) -> None:
    """Raise `ConfigError` if one is none of an encoder's blocks, or comes twice."""
    if wrong := [number for number in layers if not 1 <= number <= depth]:
        raise ConfigError(f"layer {wrong[0]}: the encoder has layers 1 to {depth}")
    if len(set(layers)) < len(layers):
        raise ConfigError(f"layers {list(layers)}: one comes twice")


def check_head(kind: str, num_registers: int) -> None:
    """Raise `ConfigError` if a head is to read the register token of an encoder without one."""
    if kind == "register" and num_registers == 0:
        raise ConfigError(
            "head=register needs an encoder with num_registers of at least 1, and this one has 0; "
            "use --set head=attentive, or protocol finetune-after-probe"
        )


class Classifier(nn.Module):
    """An encoder with a head, on the output of all or of chosen layers."""

    def __init__(
        self,
        encoder: Encoder,
        head: AttentiveHead | LinearHead,
        reading: Reading = LAST_BLOCK,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.reading = reading

    def forward(
        self, signal: Float[Tensor, "batch leads samples"]
    ) -> Float[Tensor, "batch labels"]:
        """Return logits of normalised signals."""
        return self.head(self.tokens(signal))

    def tokens(
        self, signal: Float[Tensor, "batch leads samples"]
    ) -> Float[Tensor, "batch tokens width"]:
        """Return what the head sees: tokens of the chosen layers, registers first."""
        return tokens_of_layers(self.encoder, signal, self.reading)


def patch_means(
    encoder: Encoder, tokens: Float[Tensor, "batch tokens width"]
) -> Float[Tensor, "batch dim"]:
    """Return the mean over the patches of the last block that was read, without registers."""
    size = encoder.config
    return tokens[:, size.num_registers :, -size.dim :].mean(dim=1)
