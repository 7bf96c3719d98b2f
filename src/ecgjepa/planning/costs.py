"""What a pre-training run costs, by arithmetic on its configuration alone: no torch needed.

What depends on the objective, the objective counts itself.
"""

from typing import NamedTuple

from ecgjepa.config import PretrainConfig
from ecgjepa.objectives.build import objective_of
from ecgjepa.objectives.costs import (
    FLOAT_BYTES,
    INDEX_BYTES,
    Flops,
    Numbers,
    Parameters,
    Precision,
    part_size,
)


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
    """Return the exact numbers of parameters."""
    return objective_of(config).parameters()


def count_flops(config: PretrainConfig) -> Flops:
    """Return the operations per record and step.

    So that objectives can be compared at equal compute, what a step really does is counted:
    SimCLR encodes two views forward and backward, BYOL also both by its target networks, and a
    masked autoencoder the visible patches, with all of them in its decoder.
    """
    return objective_of(config).flops()


def count_bytes(config: PretrainConfig, stored_record: float | None = None) -> RecordBytes:
    """Return what moves per record; ``stored_record``: bytes of a packed record, read whole."""
    window = 2 * config.data.window_samples * len(config.data.leads)  # int16
    return RecordBytes(
        store=window if stored_record is None else stored_record,
        # With the number of the record's database.
        device=window + INDEX_BYTES + objective_of(config).input_bytes(),
    )


def estimate_memory(
    config: PretrainConfig, precision: Precision, *, on_cpu: bool = False
) -> Memory:
    """Return the bytes on the device when a forward pass has ended and the backward pass begins.

    Weights are 4 bytes each (moving averages too), gradients 4 and AdamW's moments 8 per trained
    parameter. Activations are what the backward pass needs of each record of a part of the batch,
    plus the work space of one block.
    """
    objective, part = objective_of(config), part_size(config)
    parameters = objective.parameters()
    # A CPU in bfloat16 keeps the attention weights: docs/decisions/0002.
    numbers = Numbers(precision, keeps_weights=on_cpu and precision == "bfloat16")
    casts = 2 * parameters.trained if precision == "bfloat16" else 0  # saved for the backward pass
    return Memory(
        weights=FLOAT_BYTES * parameters.in_memory,
        gradients=FLOAT_BYTES * parameters.trained,
        optimizer=2 * FLOAT_BYTES * parameters.trained,
        activations=round(part * objective.activation_bytes(numbers)) + casts,
    )


def estimate_disk(config: PretrainConfig, store: int | None) -> Disk:
    """Return the bytes of checkpoints, each with weights and AdamW's moments, and of the store."""
    parameters, train = count_parameters(config), config.train
    checkpoint = FLOAT_BYTES * (parameters.in_memory + 2 * parameters.trained)
    written = -(-train.steps // train.checkpoint_every)
    # One more is there for a moment, before the oldest goes.
    kept = min(written, train.keep_checkpoints + 1) if train.keep_checkpoints else written
    return Disk(store, checkpoint, kept * checkpoint)
