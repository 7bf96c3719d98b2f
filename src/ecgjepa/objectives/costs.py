"""Arithmetic of costs that the objectives share: parameters, operations, bytes; without torch.

Tests compare every figure with what PyTorch counts or allocates.
"""

import math
from typing import Literal, NamedTuple

from ecgjepa.config import EncoderConfig, PredictorConfig, PretrainConfig
from ecgjepa.config.networks import KERNEL_BLOCK, LONGEST_PRODUCT

Precision = Literal["float32", "bfloat16"]

FLOAT_BYTES = 4  # weights, gradients, optimizer and residual stream are float32 throughout
INDEX_BYTES = 8  # an int64


class Parameters(NamedTuple):
    """Numbers of parameters.

    Attributes:
        encoder: Parameters of the trained encoder.
        predictor: Parameters of whatever else is trained: predictor, projection heads or decoder.
        target: Parameters of moving averages.
    """

    encoder: int
    predictor: int
    target: int

    @property
    def trained(self) -> int:
        """Parameters that the optimizer moves."""
        return self.encoder + self.predictor

    @property
    def in_memory(self) -> int:
        """All parameters, with the moving averages that the optimizer does not move."""
        return self.encoder + self.predictor + self.target


class Flops(NamedTuple):
    """Floating-point operations per record and step, two to a multiplication with addition.

    Only matrix products and convolutions count, as in `torch.utils.flop_counter`. The trained
    parts go forward and backward, the target encoder forward only. A fused attention that computes
    its weights again in the backward pass does a few per cent more.

    Attributes:
        context_encoder: Operations of the trained encoder.
        target_encoder: Operations of its moving average, with that of a projector; 0 without one.
        predictor: Operations of whatever else is trained.
    """

    context_encoder: float
    target_encoder: float
    predictor: float

    @property
    def total(self) -> float:
        """Operations of all three."""
        return self.context_encoder + self.target_encoder + self.predictor


class Numbers(NamedTuple):
    """How the device computes.

    Attributes:
        precision: Type of the products.
        keeps_weights: Whether attention keeps its weights for the backward pass.
    """

    precision: Precision
    keeps_weights: bool = False

    @property
    def size(self) -> int:
        """Bytes of a number in the type of the products."""
        return FLOAT_BYTES if self.precision == "float32" else 2

    @property
    def copy(self) -> int:
        """Bytes of a sample's copy in that type, which the patch embedding takes."""
        return 0 if self.precision == "float32" else self.size


def part_size(config: PretrainConfig) -> int:
    """Return the records that go through the networks at once."""
    return config.train.batch_size // config.train.gradient_accumulation_steps


def patch_values(config: PretrainConfig) -> int:
    """Return the samples of a patch, over all leads."""
    return config.encoder.num_leads * config.encoder.patch_size


# ---------------------------------------------------------------- parameters


def encoder_parameters(config: PretrainConfig) -> int:
    """Return the parameters of one encoder."""
    size = config.encoder
    inputs = size.patch_size if size.lead_patches else patch_values(config)
    if size.architecture == "s4d":
        # 2: mask token and final norm; of a block, its norm and the skip
        blocks = size.depth * (2 * size.dim + _recurrence_parameters(size) + 2 * size.dim**2)
        return size.dim * (inputs + 2) + blocks
    return size.dim * (
        inputs + size.num_registers + _table_rows(size) + 1  # 1: the final norm
    ) + size.depth * _block_parameters(size.dim, size.mlp_ratio)


def narrow_parameters(config: PretrainConfig, shape: PredictorConfig, outputs: int) -> int:
    """Return the parameters of a predictor or decoder with this many outputs per token."""
    size = config.encoder
    blocks = shape.depth * _block_parameters(shape.dim, size.mlp_ratio)
    # 2: mask token and final norm
    return shape.dim * (size.dim + outputs + _table_rows(size) + 2) + blocks


def head_parameters(dim: int, hidden_dim: int, out_dim: int) -> int:
    """Return the parameters of a projection head."""
    return hidden_dim * (dim + out_dim + 2)  # 2: scale and shift of the batch norm


def _table_rows(size: EncoderConfig) -> int:
    """Return the rows of learned tables, in encoder and predictor alike."""
    return size.num_positions + (size.num_leads if size.lead_patches else 0)


def _block_parameters(dim: int, mlp_ratio: float) -> int:
    return dim * (4 * dim + 2 * int(dim * mlp_ratio) + 2)


def _recurrence_parameters(size: EncoderConfig) -> int:
    """Return the parameters of a layer's recurrences: a step, and of each state four numbers."""
    return size.num_directions * size.dim * (1 + 4 * size.state_dim)


# ---------------------------------------------------------------- operations


def encoder_flops(config: PretrainConfig, visible: float) -> float:
    """Return the operations of the encoder's blocks on a window, forward, without its embedding.

    Args:
        config: Settings of the run.
        visible: Tokens that the encoder sees, registers aside. A state-space encoder computes the
            hidden ones too.
    """
    size = config.encoder
    if size.architecture == "s4d":
        return _state_space_flops(config)
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


def embedding_flops(config: PretrainConfig) -> int:
    """Return the operations of embedding all patches of a window."""
    return 2 * config.num_patches * patch_values(config) * config.encoder.dim


def blocks_flops(shape: EncoderConfig | PredictorConfig, tokens: float, mlp_ratio: float) -> float:
    """Return the operations of all blocks of a transformer, forward."""
    linear = 2 * tokens * shape.dim * (4 * shape.dim + 2 * int(shape.dim * mlp_ratio))
    attention = 4 * tokens**2 * shape.dim
    return shape.depth * (linear + attention)


def head_flops(dim: int, hidden_dim: int, out_dim: int) -> int:
    """Return the operations of a projection head for one vector, forward."""
    return 2 * hidden_dim * (dim + out_dim)


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
        + encoder.depth * block_bytes(config, encoder, seen, numbers)
        + narrow.depth * block_bytes(config, narrow, tokens, numbers)
        + work
    )
