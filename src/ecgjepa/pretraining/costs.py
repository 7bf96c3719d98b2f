"""What a pre-training run costs, by arithmetic on its configuration alone: no torch needed.

Tests compare every figure with what PyTorch counts or allocates.
"""

from typing import Literal, NamedTuple

from ecgjepa.config import EncoderConfig, PredictorConfig, PretrainConfig
from ecgjepa.sampling.lead_dropout import mean_leads

Precision = Literal["float32", "bfloat16"]

_FLOAT = 4  # bytes; weights, gradients, optimizer and residual stream are float32 throughout
_INDEX = 8  # bytes of an int64


class Parameters(NamedTuple):
    """Numbers of parameters; the target encoder has as many as the context encoder."""

    encoder: int
    predictor: int

    @property
    def trained(self) -> int:
        """What the optimizer moves."""
        return self.encoder + self.predictor

    @property
    def in_memory(self) -> int:
        """With the target encoder, which the optimizer does not move."""
        return 2 * self.encoder + self.predictor


class Flops(NamedTuple):
    """Floating-point operations per record and step, two to a multiplication with addition.

    Only matrix products and convolutions count, as in `torch.utils.flop_counter`. The trained
    parts go forward and backward, the target encoder forward only. A fused attention that computes
    its weights again in the backward pass does a few per cent more.
    """

    context_encoder: float
    target_encoder: float
    predictor: float

    @property
    def total(self) -> float:
        """Of all three."""
        return self.context_encoder + self.target_encoder + self.predictor


class RecordBytes(NamedTuple):
    """Bytes that move per record and step: read from the store, and copied to the device."""

    store: float
    device: int


class Memory(NamedTuple):
    """Bytes on the device at the peak of a step."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """Of all four."""
        return sum(self)


class Disk(NamedTuple):
    """Bytes on disk; ``checkpoints`` counts all that a run keeps at the same time."""

    store: int | None
    checkpoint: int
    checkpoints: int


def count_parameters(config: PretrainConfig) -> Parameters:
    """Return the exact numbers."""
    encoder, predictor = config.encoder, config.predictor
    inputs = encoder.patch_size if encoder.lead_patches else encoder.num_leads * encoder.patch_size
    # Learned tables, in encoder and predictor alike.
    tables = encoder.num_positions + (encoder.num_leads if encoder.lead_patches else 0)
    return Parameters(
        encoder=encoder.dim * (inputs + encoder.num_registers + tables + 1)  # 1: the final norm
        + encoder.depth * _block_parameters(encoder.dim, encoder.mlp_ratio),
        predictor=predictor.dim * (2 * encoder.dim + tables + 2)  # 2: mask token and final norm
        + predictor.depth * _block_parameters(predictor.dim, encoder.mlp_ratio),
    )


def count_flops(config: PretrainConfig, num_context: float | None = None) -> Flops:
    """Return the operations per record, with ``num_context`` visible patches (default: mean)."""
    encoder, predictor, patches = config.encoder, config.predictor, config.num_patches
    visible = mean_context(config) if num_context is None else num_context
    context = visible * _mean_context_leads(config)
    tokens = context + (patches - visible) * encoder.tokens_per_patch  # of the predictor
    seen, whole = context + encoder.num_registers, config.num_tokens + encoder.num_registers
    embedding = 2 * patches * encoder.num_leads * encoder.patch_size * encoder.dim
    blocks = encoder.depth * _block_flops(seen, encoder.dim, encoder.mlp_ratio)
    projections = 2 * encoder.dim * predictor.dim * tokens  # visible in, masked out
    inner = predictor.depth * _block_flops(tokens, predictor.dim, encoder.mlp_ratio)
    return Flops(
        # A backward pass is two products for each of the forward pass; the signal has no gradient.
        context_encoder=2 * embedding + 3 * blocks,
        target_encoder=embedding
        + encoder.depth * _block_flops(whole, encoder.dim, encoder.mlp_ratio),
        predictor=3 * (projections + inner),
    )


def count_bytes(config: PretrainConfig, stored_record: float | None = None) -> RecordBytes:
    """Return what moves per record; ``stored_record``: bytes of a packed record, read whole."""
    window = 2 * config.data.window_samples * len(config.data.leads)  # int16
    return RecordBytes(
        store=window if stored_record is None else stored_record,
        device=window + _INDEX * (config.num_tokens + 1),  # positions, and the database's number
    )


def estimate_memory(
    config: PretrainConfig, precision: Precision, *, on_cpu: bool = False
) -> Memory:
    """Return the bytes on the device when a forward pass has ended and the backward pass begins.

    Weights are 4 bytes each (both encoders and predictor), gradients 4 and AdamW's moments 8 per
    trained parameter. Activations are what the backward pass needs of each record of a part of
    the batch, plus the work space of one block.
    """
    parameters, part = count_parameters(config), part_size(config)
    # A CPU in bfloat16 keeps the attention weights: docs/decisions/0002.
    keeps_weights = on_cpu and precision == "bfloat16"
    casts = 2 * parameters.trained if precision == "bfloat16" else 0  # saved for the backward pass
    return Memory(
        weights=_FLOAT * parameters.in_memory,
        gradients=_FLOAT * parameters.trained,
        optimizer=2 * _FLOAT * parameters.trained,
        activations=round(part * _activation_bytes(config, precision, keeps_weights)) + casts,
    )


def estimate_disk(config: PretrainConfig, store: int | None) -> Disk:
    """Return the bytes of checkpoints, each with weights and AdamW's moments, and of the store."""
    parameters, train = count_parameters(config), config.train
    checkpoint = _FLOAT * (parameters.in_memory + 2 * parameters.trained)
    written = -(-train.steps // train.checkpoint_every)
    # One more is there for a moment, before the oldest goes.
    kept = min(written, train.keep_checkpoints + 1) if train.keep_checkpoints else written
    return Disk(store, checkpoint, kept * checkpoint)


def mean_context(config: PretrainConfig) -> float:
    """Return the mean number of visible patches: a uniform share of all, rounded up."""
    ratio = (config.mask.min_keep_ratio + config.mask.max_keep_ratio) / 2
    return ratio * config.num_patches + 0.5


def _mean_context_leads(config: PretrainConfig) -> float:
    """Return the mean number of the context's tokens for a visible patch."""
    if not config.encoder.lead_patches:
        return 1
    return mean_leads(config.train.lead_dropout, config.encoder.num_leads)


def part_size(config: PretrainConfig) -> int:
    """Return the records that go through the networks at once."""
    return config.train.batch_size // config.train.gradient_accumulation_steps


def _block_parameters(dim: int, mlp_ratio: float) -> int:
    return dim * (4 * dim + 2 * int(dim * mlp_ratio) + 2)


def _block_flops(tokens: float, dim: int, mlp_ratio: float) -> float:
    linear = 2 * tokens * dim * (4 * dim + 2 * int(dim * mlp_ratio))
    attention = 4 * tokens**2 * dim
    return linear + attention


def _activation_bytes(config: PretrainConfig, precision: Precision, keeps_weights: bool) -> float:
    """Return the bytes per record at the largest number of visible patches."""
    encoder, predictor, patches = config.encoder, config.predictor, config.num_tokens
    context = config.mask.max_keep_ratio * patches + encoder.tokens_per_patch
    seen, target = context + encoder.num_registers, patches - context
    size = _FLOAT if precision == "float32" else 2
    copy = 0 if precision == "float32" else size  # as the convolution takes the signal
    ends = (
        (2 + _FLOAT + copy) * config.data.window_samples * encoder.num_leads
        + 2 * _FLOAT * seen * encoder.dim  # final norm, in and out
        + _FLOAT * (patches + target) * predictor.dim  # likewise
        + _FLOAT * (patches + 2 * target) * encoder.dim  # targets, wanted, predicted
    )

    def block(shape: EncoderConfig | PredictorConfig, tokens: float) -> float:
        """Return what a block saves for its backward pass.

        The inputs of both norms stay float32. The rest are the inputs of the linear layers and of
        GELU, query, key and value: 6 widths and 2 hidden widths in the type products run in. Each
        norm adds two numbers a token; attention one a head, or one a head and pair of tokens.
        """
        hidden = int(shape.dim * encoder.mlp_ratio)
        # Fused attention keeps its inputs: with rotary positions those are not the qkv layer's
        # outputs, which stay as long as the value, a view of them.
        kept = 8 if encoder.positions == "rotary" and not keeps_weights else 6
        widths = 2 * _FLOAT * shape.dim + size * (kept * shape.dim + 2 * hidden)
        attention = size * tokens if keeps_weights else _FLOAT
        return tokens * (widths + 4 * _FLOAT + attention * shape.num_heads)

    # The backward pass of the last MLP needs its gradients beside all that.
    work = patches * (
        2 * _FLOAT * predictor.dim + 2 * size * int(predictor.dim * encoder.mlp_ratio)
    )
    return (
        ends
        + encoder.depth * block(encoder, seen)
        + predictor.depth * block(predictor, patches)
        + work
    )
