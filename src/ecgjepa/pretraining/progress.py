"""Where a run stands: what it resumes from, what it logs and saves, and where its time goes."""

import logging
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

from ecgjepa.config import TrainConfig
from ecgjepa.errors import CheckpointError, DivergenceError
from ecgjepa.objectives.networks.base import ObjectiveNetworks
from ecgjepa.objectives.objective import Objective
from ecgjepa.pretraining import schedules
from ecgjepa.pretraining.checkpoint import (
    CheckpointState,
    latest_checkpoint,
    remove_old_checkpoints,
    restore_checkpoint,
    save_checkpoint,
)
from ecgjepa.pretraining.distributed import World
from ecgjepa.pretraining.origin import describe_changes
from ecgjepa.pretraining.run import CHECKPOINTS_FOLDER
from ecgjepa.sampling.batches import BatchReader
from ecgjepa.store.reading import Store

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


class Lap(NamedTuple):
    """What was measured since the last lap.

    Attributes:
        seconds: Wall time.
        waited: Seconds of it spent waiting for batches.
        steps: Optimizer steps done.
    """

    seconds: float
    waited: float
    steps: int


class Stopwatch:
    """Measures laps, and within them the time spent waiting for batches."""

    def __init__(self, first_step: int) -> None:
        """Start at a step."""
        self._started, self._waited, self._step = time.perf_counter(), 0.0, first_step

    def waiting(self, batches: Iterable[Item]) -> Iterator[Item]:
        """Yield the batches and note how long each was waited for."""
        asked = time.perf_counter()
        for batch in batches:
            self._waited += time.perf_counter() - asked
            yield batch
            asked = time.perf_counter()

    def lap(self, step: int) -> Lap:
        """End a lap after a step and begin the next one."""
        now = time.perf_counter()
        lap = Lap(now - self._started, self._waited, step - self._step)
        self._started, self._waited, self._step = now, 0.0, step
        return lap


def resume(
    run: Path,
    networks: ObjectiveNetworks,
    optimizer: torch.optim.Optimizer,
    store: Store,
    origin: dict[str, str],
    world: World,
) -> CheckpointState:
    """Restore the newest checkpoint, if there is one, and return where the run stands.

    Raises:
        CheckpointError: If the checkpoint is of another store.
    """
    checkpoint = world.decide(lambda: latest_checkpoint(run / CHECKPOINTS_FOLDER))
    if checkpoint is None:
        return CheckpointState(0, store.fingerprint, origin)
    state = restore_checkpoint(checkpoint, networks, optimizer)
    if state.store != store.fingerprint:
        raise CheckpointError(
            f"{checkpoint}: was trained on another store than {store.path}; continue with the "
            "same store, or start a new run"
        )
    logger.info("resuming after step %d", state.step)
    if changes := describe_changes(state.origin, origin):
        logger.warning(
            "%s was computed by something else (%s): what follows will not be bit for bit what "
            "an uninterrupted run gives",
            checkpoint.name,
            changes,
        )
    return state


def save(
    run: Path,
    networks: ObjectiveNetworks,
    optimizer: torch.optim.Optimizer,
    state: CheckpointState,
    train: TrainConfig,
) -> None:
    """Write a checkpoint of the run and remove those that need not be kept."""
    folder = run / CHECKPOINTS_FOLDER
    save_checkpoint(folder, networks, optimizer, state)
    remove_old_checkpoints(
        folder,
        train.keep_checkpoints,
        newest=state.step,
        milestone_every=train.milestone_every,
    )


def describe_step(train: TrainConfig, done: int, loss: float, lap: Lap) -> dict[str, float]:
    """Return what a line of the log says beside the objective's signs."""
    return {
        "step": done,
        "loss": loss,
        "learning_rate": schedules.learning_rate(train, done - 1),
        "weight_decay": schedules.weight_decay(train, done - 1),
        "momentum": schedules.momentum(train, done),
        "records_per_second": train.batch_size * lap.steps / lap.seconds,
        "data_wait": lap.waited / lap.seconds,
    }


def finite_mean(losses: torch.Tensor, step: int) -> float:
    """Return the mean loss; one that is not finite must be neither averaged nor saved.

    Raises:
        DivergenceError: If it is not finite.
    """
    value = float(losses.mean())
    if not math.isfinite(value):
        raise DivergenceError(
            f"the loss is {value} at step {step}; the checkpoints before it are sound. Start a new "
            "run with a lower train.learning_rate, or with train.gradient_clip=1"
        )
    return value


def log_start(
    objective: Objective, networks: ObjectiveNetworks, batches: BatchReader, world: World
) -> None:
    """Log what is trained, where, and on which records."""
    config = objective.config
    encoder = sum(parameter.numel() for parameter in networks.encoder_to_keep.parameters())
    trained = sum(part.numel() for part in networks.parameters() if part.requires_grad)
    logger.info(
        "%s: encoder %s parameters, %s %s, on %s; %d patches of %.0f ms",
        config.objective,
        f"{encoder:,}",
        objective.others,
        f"{trained - encoder:,}",
        world.device.type if world.size == 1 else f"{world.size} x {world.device.type}",
        config.num_patches,
        1000 * config.encoder.patch_size / config.data.sampling_rate,
    )
    mixture = batches.mixture
    for name, weight in mixture.weights.items():
        logger.info(
            "%s: %d records, %.1f %% of batches", name, mixture.num_records[name], 100 * weight
        )
    if mixture.num_too_short:
        logger.warning(
            "%d records are shorter than the window of %g s and are not used",
            mixture.num_too_short,
            config.data.window_seconds,
        )
