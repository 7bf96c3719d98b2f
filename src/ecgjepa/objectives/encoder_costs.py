"""Costs of encoders, by their architecture; without torch. Tests compare them with PyTorch's."""

import math

from ecgjepa.config import EncoderConfig, PredictorConfig, PretrainConfig
from ecgjepa.config.networks import CONVOLUTION_KERNEL, KERNEL_BLOCK, LONGEST_PRODUCT
from ecgjepa.errors import ConfigError
from ecgjepa.objectives.costs import (
    FLOAT_BYTES,
    Numbers,
    block_parameters,
    blocks_flops,
    part_size,
    patch_values,
    table_rows,
)

# ---------------------------------------------------------------- parameters


def encoder_parameters(config: PretrainConfig) -> int:
    """Return the parameters of one encoder."""
    size = config.encoder
    _refuse_own(size)
    stem = sum(_stem_weights(size))
    if size.architecture == "vit":
        block = block_parameters(size.dim, size.mlp_ratio)
        # 1: the final norm
        return stem + size.dim * (size.num_registers + table_rows(size) + 1) + size.depth * block
    if size.architecture == "s4d":
        # Norm and skip of a block, its recurrences, and the mix of its channels.
        block = 2 * size.dim + _recurrence_parameters(size) + 2 * size.dim**2
    else:
        block = 2 * size.dim * (CONVOLUTION_KERNEL * size.dim + 1)  # 1: the norm
    # 2: mask token and final norm
    return stem + 2 * size.dim + size.depth * block


def _refuse_own(size: EncoderConfig) -> None:
    """Refuse to count the costs of an encoder that is not of this package.

    Raises:
        ConfigError: If it is not.
    """
    if size.is_own:
        raise ConfigError(
            f"encoder.architecture {size.architecture} is not of this package, so its costs cannot "
            "be counted; train a few steps to measure them, with --set train.steps=20"
        )


def _stem_weights(size: EncoderConfig) -> list[int]:
    """Return the weights of each layer from samples to tokens."""
    leads = 1 if size.lead_patches else size.num_leads
    if size.stem == "linear":
        return [size.dim * leads * size.patch_size]
    inputs = (leads, size.dim, size.dim)
    return [
        size.dim * before * (2 * stride - 1)
        for before, stride in zip(inputs, size.stem_strides, strict=True)
    ]


def _stem_places(size: EncoderConfig) -> list[int]:
    """Return at how many places of a patch each layer from samples to tokens is applied."""
    if size.stem == "linear":
        return [size.tokens_per_patch]
    first, second, _ = size.stem_strides
    return [size.patch_size // first, size.patch_size // (first * second), 1]


def _recurrence_parameters(size: EncoderConfig) -> int:
    """Return the parameters of a layer's recurrences: a step, and of each state four numbers."""
    return size.num_directions * size.dim * (1 + 4 * size.state_dim)


# ---------------------------------------------------------------- operations


def encoder_flops(config: PretrainConfig, visible: float) -> float:
    """Return the operations of the encoder's blocks on a window, forward, without its embedding.

    Args:
        config: Settings of the run.
        visible: Tokens that the encoder sees, registers aside. Other encoders than a
            Vision Transformer compute the hidden ones too.
    """
    size = config.encoder
    _refuse_own(size)
    if size.architecture == "s4d":
        return _state_space_flops(config)
    if size.architecture == "xresnet":
        convolution = 2.0 * config.num_patches * CONVOLUTION_KERNEL * size.dim**2
        return 2 * size.depth * convolution
    return blocks_flops(size, visible + size.num_registers, size.mlp_ratio)


def _state_space_flops(config: PretrainConfig) -> float:
    """Return the operations of all state-space blocks on a window, forward.

    The kernels of a layer are computed once for all records that go through it together. A Fourier
    transform of n numbers counts as 5/2 n log2 n, which `torch.utils.flop_counter` leaves out.
    """
    size, steps = config.encoder, config.num_patches
    blocks = math.ceil(steps / KERNEL_BLOCK) * KERNEL_BLOCK
    kernels = 2 * size.num_directions * size.dim * blocks * 2 * size.state_dim
    if steps <= LONGEST_PRODUCT:
        convolution = 2.0 * size.dim * steps**2
    else:
        convolution = 2 * size.dim * 2.5 * 2 * steps * math.log2(2 * steps)
    mixing = 2 * steps * size.dim * 2 * size.dim
    return size.depth * (convolution + mixing + kernels / part_size(config))


def embedding_flops(
    config: PretrainConfig, visible: float | None = None, *, trained: bool = False
) -> float:
    """Return the operations of embedding the patches of a window.

    Args:
        config: Settings of the run.
        visible: Visible patches; all by default. Only a convolutional stem of a Vision Transformer
            leaves out the hidden ones.
        trained: Whether the backward pass counts. It is two products for each of the forward pass,
            but one for the first layer, as the signal has no gradient.
    """
    size = config.encoder
    leaves_out = size.architecture == "vit" and size.stem == "convolutional"
    patches = visible if visible is not None and leaves_out else config.num_patches
    layers = [
        2.0 * patches * places * weights
        for places, weights in zip(_stem_places(size), _stem_weights(size), strict=True)
    ]
    return 2 * layers[0] + 3 * sum(layers[1:]) if trained else sum(layers)


def stem_bytes(config: PretrainConfig, visible: float, numbers: Numbers) -> float:
    """Return what a convolutional stem saves for its backward pass beyond a linear one.

    Args:
        config: Settings of the run.
        visible: Visible patches.
        numbers: Types that the device computes in.
    """
    size = config.encoder
    if size.stem == "linear":
        return 0.0
    patches = visible if size.architecture == "vit" else config.num_patches
    # The cut samples, and the inputs of both GELUs and of the convolutions behind them.
    first, second, _ = _stem_places(size)
    # A linear stem's copy of the whole signal in the type of the products is not made.
    copied = numbers.size * patch_values(config)
    unmade = numbers.copy * config.data.window_samples * size.num_leads
    return -unmade + patches * (copied + 2 * numbers.size * size.dim * (first + second))


# ---------------------------------------------------------------- memory


def block_bytes(
    config: PretrainConfig, shape: EncoderConfig | PredictorConfig, tokens: float, numbers: Numbers
) -> float:
    """Return what a block saves for its backward pass.

    The inputs of both norms stay float32. The rest are the inputs of the linear layers and of
    GELU, query, key and value: 6 widths and 2 hidden widths in the type products run in. Each
    norm adds two numbers a token; attention one a head, or one a head and pair of tokens.
    """
    if isinstance(shape, EncoderConfig) and shape.architecture == "s4d":
        # The inputs of norm, convolution and GELU, that of the mix and both halves of its output.
        return config.num_patches * (6 * FLOAT_BYTES * shape.dim + 2 * FLOAT_BYTES)
    if isinstance(shape, EncoderConfig) and shape.architecture == "xresnet":
        # What both convolutions and both ReLUs give.
        return config.num_patches * (4 * numbers.size * shape.dim + 4 * FLOAT_BYTES)
    hidden = int(shape.dim * config.encoder.mlp_ratio)
    # Fused attention keeps its inputs: with rotary positions those are not the qkv layer's
    # outputs, which stay as long as the value, a view of them.
    is_rotary = config.encoder.positions == "rotary"
    kept = 8 if is_rotary and not numbers.keeps_weights else 6
    widths = 2 * FLOAT_BYTES * shape.dim + numbers.size * (kept * shape.dim + 2 * hidden)
    attention = numbers.size * tokens if numbers.keeps_weights else FLOAT_BYTES
    return tokens * (widths + 4 * FLOAT_BYTES + attention * shape.num_heads)


def masked_activation_bytes(
    config: PretrainConfig, narrow: PredictorConfig, context: float, numbers: Numbers
) -> float:
    """Return the activation bytes per record of an encoder and a narrower network behind it.

    Args:
        config: Settings of the run.
        narrow: Shape of the predictor or decoder.
        context: Tokens that the encoder sees.
        numbers: Types that the device computes in.
    """
    encoder, tokens = config.encoder, config.num_tokens
    seen, target = context + encoder.num_registers, tokens - context
    ends = (
        (2 + FLOAT_BYTES + numbers.copy) * config.data.window_samples * encoder.num_leads
        + 2 * FLOAT_BYTES * seen * encoder.dim  # final norm, in and out
        + FLOAT_BYTES * (tokens + target) * narrow.dim  # likewise
        + FLOAT_BYTES * (tokens + 2 * target) * encoder.dim  # targets, wanted, predicted
    )
    # The backward pass of the last MLP needs its gradients beside all that.
    hidden = int(narrow.dim * encoder.mlp_ratio)
    work = tokens * (2 * FLOAT_BYTES * narrow.dim + 2 * numbers.size * hidden)
    return (
        ends
        + stem_bytes(config, context / encoder.tokens_per_patch, numbers)
        + encoder.depth * block_bytes(config, encoder, seen, numbers)
        + narrow.depth * block_bytes(config, narrow, tokens, numbers)
        + work
    )
