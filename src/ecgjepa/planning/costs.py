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
    """Numbers of parameters.

    Attributes:
        encoder: The trained encoder.
        predictor: Whatever else is trained: predictor, projection heads or decoder.
        target: Moving averages of trained parameters.
    """

    encoder: int
    predictor: int
    target: int

    @property
    def trained(self) -> int:
        """What the optimizer moves."""
        return self.encoder + self.predictor

    @property
    def in_memory(self) -> int:
        """With the moving averages, which the optimizer does not move."""
        return self.encoder + self.predictor + self.target


class Flops(NamedTuple):
    """Floating-point operations per record and step, two to a multiplication with addition.

    Only matrix products and convolutions count, as in `torch.utils.flop_counter`. The trained
    parts go forward and backward, the target encoder forward only. A fused attention that computes
    its weights again in the backward pass does a few per cent more.

    Attributes:
        context_encoder: The trained encoder.
        target_encoder: Its moving average, with that of a projector; 0 where there is none.
        predictor: Predictor; projection heads and the comparison of all views; or decoder.
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
    size, predictor = config.encoder, config.predictor
    inputs = size.patch_size if size.lead_patches else _patch_values(config)
    # Learned tables, in encoder and predictor alike.
    tables = size.num_positions + (size.num_leads if size.lead_patches else 0)
    encoder = size.dim * (
        inputs + size.num_registers + tables + 1  # 1: the final norm
    ) + size.depth * _block_parameters(size.dim, size.mlp_ratio)

    def narrow(shape: PredictorConfig, outputs: int) -> int:
        """Return those of a predictor or decoder; 2: mask token and final norm."""
        blocks = shape.depth * _block_parameters(shape.dim, size.mlp_ratio)
        return shape.dim * (size.dim + outputs + tables + 2) + blocks

    match config.objective:
        case "jepa":
            return Parameters(encoder, narrow(predictor, size.dim), encoder)
        case "mae":
            decoder = config.mae.decoder
            unused = decoder.dim if config.mae.masking == "lead-time" else 0  # the mask token
            return Parameters(encoder, narrow(decoder, _patch_values(config)) - unused, 0)
        case "simclr":
            simclr = config.simclr
            head = _head_parameters(size.dim, simclr.hidden_dim, simclr.projection_dim)
            return Parameters(encoder, head, 0)
        case "byol":
            byol = config.byol
            head = _head_parameters(size.dim, byol.hidden_dim, byol.projection_dim)
            second = _head_parameters(byol.projection_dim, byol.hidden_dim, byol.projection_dim)
            return Parameters(encoder, head + second, encoder + head)


def count_flops(config: PretrainConfig, num_context: float | None = None) -> Flops:
    """Return the operations per record, with ``num_context`` visible patches (default: mean).

    So that objectives can be compared at equal compute, what a step really does is counted:
    SimCLR encodes two views forward and backward, BYOL also both by its target networks, and a
    masked autoencoder the visible patches, with all of them in its decoder.
    """
    if config.compares_views:
        return _flops_of_views(config)
    if config.objective == "mae":
        return _flops_of_reconstruction(config)
    encoder, predictor, patches = config.encoder, config.predictor, config.num_patches
    visible = mean_context(config) if num_context is None else num_context
    context = visible * _mean_context_leads(config)
    tokens = context + (patches - visible) * encoder.tokens_per_patch  # of the predictor
    seen, whole = context + encoder.num_registers, config.num_tokens + encoder.num_registers
    embedding = _embedding_flops(config)
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


def _flops_of_views(config: PretrainConfig) -> Flops:
    encoder = config.encoder
    embedding = _embedding_flops(config)
    blocks = encoder.depth * _block_flops(
        config.num_patches + encoder.num_registers, encoder.dim, encoder.mlp_ratio
    )
    online = 2 * (2 * embedding + 3 * blocks)
    if config.objective == "simclr":
        simclr = config.simclr
        head = _head_flops(encoder.dim, simclr.hidden_dim, simclr.projection_dim)
        # Each of a record's two views against both views of all records of a part.
        compared = 2 * 2 * 2 * part_size(config) * simclr.projection_dim
        return Flops(online, 0.0, 3 * (2 * head + compared))
    byol = config.byol
    head = _head_flops(encoder.dim, byol.hidden_dim, byol.projection_dim)
    second = _head_flops(byol.projection_dim, byol.hidden_dim, byol.projection_dim)
    return Flops(online, 2 * (embedding + blocks + head), 2 * 3 * (head + second))


def _flops_of_reconstruction(config: PretrainConfig) -> Flops:
    encoder, decoder, patches = config.encoder, config.mae.decoder, config.num_patches
    visible = patches if config.mae.masking == "lead-time" else visible_patches(config)
    blocks = encoder.depth * _block_flops(
        visible + encoder.num_registers, encoder.dim, encoder.mlp_ratio
    )
    ends = 2 * decoder.dim * (visible * encoder.dim + patches * _patch_values(config))
    inner = decoder.depth * _block_flops(patches, decoder.dim, encoder.mlp_ratio)
    return Flops(2 * _embedding_flops(config) + 3 * blocks, 0.0, 3 * (ends + inner))


def visible_patches(config: PretrainConfig) -> int:
    """Return how many patches a masked autoencoder sees; see `sample_random_masks`."""
    patches = config.num_patches
    return min(max(1, int(patches * (1 - config.mae.mask_ratio))), patches - 1)


def count_bytes(config: PretrainConfig, stored_record: float | None = None) -> RecordBytes:
    """Return what moves per record; ``stored_record``: bytes of a packed record, read whole."""
    window = 2 * config.data.window_samples * len(config.data.leads)  # int16
    return RecordBytes(
        store=window if stored_record is None else stored_record,
        device=window + _INDEX + _input_bytes(config),  # the number of its database
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


def _input_bytes(config: PretrainConfig) -> int:
    """Return the bytes of positions, or of the augmentation of two views."""
    if config.compares_views:
        return 2 * (6 * _FLOAT + _INDEX + config.encoder.num_leads)
    return _INDEX * (config.num_maskable if config.objective == "mae" else config.num_tokens)


def _patch_values(config: PretrainConfig) -> int:
    return config.encoder.num_leads * config.encoder.patch_size


def _embedding_flops(config: PretrainConfig) -> int:
    return 2 * config.num_patches * _patch_values(config) * config.encoder.dim


def _head_parameters(dim: int, hidden_dim: int, out_dim: int) -> int:
    return hidden_dim * (dim + out_dim + 2)  # 2: scale and shift of the batch norm


def _head_flops(dim: int, hidden_dim: int, out_dim: int) -> int:
    return 2 * hidden_dim * (dim + out_dim)


def _block_parameters(dim: int, mlp_ratio: float) -> int:
    return dim * (4 * dim + 2 * int(dim * mlp_ratio) + 2)


def _block_flops(tokens: float, dim: int, mlp_ratio: float) -> float:
    linear = 2 * tokens * dim * (4 * dim + 2 * int(dim * mlp_ratio))
    attention = 4 * tokens**2 * dim
    return linear + attention


def _activation_bytes(config: PretrainConfig, precision: Precision, keeps_weights: bool) -> float:
    """Return the bytes per record at the largest number of visible patches.

    Of other objectives than JEPA this is an estimate that leaves out heads and augmentation.
    """
    encoder, predictor, patches = config.encoder, config.predictor, config.num_tokens
    context = config.mask.max_keep_ratio * patches + encoder.tokens_per_patch
    if config.objective == "mae":
        predictor = config.mae.decoder
        context = patches if config.mae.masking == "lead-time" else visible_patches(config)
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

    if config.compares_views:
        whole = patches + encoder.num_registers
        view = (_FLOAT + copy) * config.data.window_samples * encoder.num_leads
        return 2 * (view + 2 * _FLOAT * whole * encoder.dim + encoder.depth * block(encoder, whole))

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
