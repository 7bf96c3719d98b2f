"""Arithmetic of costs that the objectives share: parameters, operations, bytes; without torch.

Tests compare every figure with what PyTorch counts or allocates.
"""

from typing import Literal, NamedTuple

from ecgjepa.config import EncoderConfig, PredictorConfig, PretrainConfig

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


def narrow_parameters(config: PretrainConfig, shape: PredictorConfig, outputs: int) -> int:
    """Return the parameters of a predictor or decoder with this many outputs per token."""
    size = config.encoder
    blocks = shape.depth * block_parameters(shape.dim, size.mlp_ratio)
    # 2: mask token and final norm
    return shape.dim * (size.dim + outputs + table_rows(size) + 2) + blocks


def head_parameters(dim: int, hidden_dim: int, out_dim: int) -> int:
    """Return the parameters of a projection head."""
    return hidden_dim * (dim + out_dim + 2)  # 2: scale and shift of the batch norm


def table_rows(size: EncoderConfig) -> int:
    """Return the rows of learned tables, in encoder and predictor alike."""
    return size.num_positions + (size.num_leads if size.lead_patches else 0)


def block_parameters(dim: int, mlp_ratio: float) -> int:
    """Return the parameters of a transformer's block."""
    return dim * (4 * dim + 2 * int(dim * mlp_ratio) + 2)


# ---------------------------------------------------------------- operations


def blocks_flops(shape: EncoderConfig | PredictorConfig, tokens: float, mlp_ratio: float) -> float:
    """Return the operations of all blocks of a transformer, forward."""
    linear = 2 * tokens * shape.dim * (4 * shape.dim + 2 * int(shape.dim * mlp_ratio))
    attention = 4 * tokens**2 * shape.dim
    return shape.depth * (linear + attention)


def head_flops(dim: int, hidden_dim: int, out_dim: int) -> int:
    """Return the operations of a projection head for one vector, forward."""
    return 2 * hidden_dim * (dim + out_dim)
