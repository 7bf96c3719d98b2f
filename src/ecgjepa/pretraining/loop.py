"""Pre-training: build, resume, and one loop that reads from top to bottom."""

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ecgjepa.config import PretrainConfig, load_preset
from ecgjepa.errors import CheckpointError, ConfigError, DivergenceError, StoreError
from ecgjepa.model.compute import autocast, choose_device
from ecgjepa.model.normalisation import Normaliser
from ecgjepa.objectives.jepa import Jepa
from ecgjepa.pretraining import schedules
from ecgjepa.pretraining.checkpoint import (
    CheckpointState,
    latest_checkpoint,
    remove_old_checkpoints,
    restore_checkpoint,
    save_checkpoint,
)
from ecgjepa.pretraining.collapse import CollapseWatch
from ecgjepa.pretraining.monitor import batch_signs
from ecgjepa.pretraining.optim import build_optimizer, set_hyper_parameters
from ecgjepa.pretraining.run import (
    CHECKPOINTS_FOLDER,
    MODEL_FOLDER,
    MetricsLog,
    claim_run,
    describe_start,
    save_encoder,
)
from ecgjepa.pretraining.selection import OnlineProbe, OpenProbe, Selection
from ecgjepa.pretraining.trackers import check_trackers, open_trackers
from ecgjepa.sampling.batches import BatchReader, normalisation_tables
from ecgjepa.sampling.masking import check_mask_size
from ecgjepa.store.reading import Store

logger = logging.getLogger(__name__)


def pretrain(
    store: str | Path,
    out: str | Path,
    *,
    preset: str | Path = "tiny",
    overrides: Sequence[str] = (),
    device: str = "auto",
    probe: OpenProbe | None = None,
) -> Path:
    """Pre-train an encoder with JEPA and return the run folder.

    A run folder that holds an interrupted run of the same configuration and store is continued,
    bit for bit as if it had never stopped (on the same hardware); a finished one is left alone.

    Args:
        store: Folder of a store of training records.
        out: Run folder: ``config.yaml``, ``store.json``, ``metrics.jsonl``, ``checkpoints/`` and,
            at the end, ``model/`` with the target encoder.
        preset: Preset or YAML file.
        overrides: ``section.key=value`` items.
        device: ``auto``, ``cpu`` or ``cuda``.
        probe: Made by `ecgjepa.online_probe`: scores the encoder every ``probe.every`` steps.

    Raises:
        ConfigError: If preset, overrides and store do not fit together, or a tracker is missing.
        DatabaseError: If a database has no published constants and ``data.normalisation`` is paper.
        TaskError: If the probe's records do not fit, or the store holds its validation folds.
        StoreError: If the store is unusable or holds records reserved for selection and test.
        CheckpointError: If ``out`` holds another run.
        DivergenceError: If the loss stops being a number.
        CollapseError: If the features collapse and ``train.stop_on_collapse`` is set.
    """
    config = load_preset(preset, overrides)
    run = Path(out)
    try:
        check_mask_size(config.mask, config.num_patches)
    except ValueError as error:
        raise ConfigError(f"mask: {error}") from None
    check_trackers(config.train.trackers)
    with Store(store) as records:
        refuse_held_out(records)
        opened = None if probe is None else probe(describe_start(config, records))
        claim_run(run, config, records)
        if not (run / MODEL_FOLDER).is_dir():
            jepa = _train(run, config, records, choose_device(device), opened)
            save_encoder(run, jepa.target_encoder, steps=config.train.steps)
    return run


def refuse_held_out(store: Store) -> None:
    """Refuse to pre-train on records that a database reserves for selection and test.

    Raises:
        StoreError: If there is any.
    """
    for name, summary in store.manifest.databases.items():
        leaked = sorted(set(summary.folds or ()) & set(summary.held_out_folds))
        if leaked:
            raise StoreError(
                f"{store.path}: holds folds {leaked} of {name}, which are reserved for selection "
                "and test; prepare a store for pre-training with --folds train"
            )


def initial_jepa(config: PretrainConfig) -> Jepa:
    """Return the networks as they are before the first step: a function of ``train.seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        return Jepa(
            config.encoder, config.predictor, normalise_targets=config.train.normalise_targets
        )


def _train(
    run: Path,
    config: PretrainConfig,
    store: Store,
    device: torch.device,
    probe: OnlineProbe | None,
) -> Jepa:
    """Run the steps that are still to do."""
    # --- build ----------------------------------------------------------------------------
    train = config.train
    jepa = initial_jepa(config).to(device)
    optimizer = build_optimizer(jepa, train)
    constants = normalisation_tables(store, config.data.normalisation)
    normalise = Normaliser(*constants, clip=config.data.clip).to(device)
    batches = BatchReader(store, config, pin_memory=device.type == "cuda")
    torch.manual_seed(train.seed)

    # --- resume ---------------------------------------------------------------------------
    first_step = 0
    checkpoint = latest_checkpoint(run / CHECKPOINTS_FOLDER)
    if checkpoint is not None:
        state = restore_checkpoint(checkpoint, jepa, optimizer)
        if state.store != store.fingerprint:
            raise CheckpointError(
                f"{checkpoint}: was trained on another store than {store.path}; continue with the "
                "same store, or start a new run"
            )
        first_step = state.step
        logger.info("resuming after step %d", first_step)
    trackers = open_trackers(run, config, first_step=first_step)
    metrics = MetricsLog(run, first_step=first_step, total_steps=train.steps, trackers=trackers)
    selection = Selection(run, probe, every=config.probe.every, last_step=train.steps)
    _log_start(jepa, batches, config, device)
    if probe is not None:
        selection.begin(initial_jepa(config).target_encoder.to(device))

    # --- the loop -------------------------------------------------------------------------
    losses: list[torch.Tensor] = []
    watch = CollapseWatch(dim=config.encoder.dim, stop=train.stop_on_collapse)
    waited, clock = 0.0, time.perf_counter()
    reading = time.perf_counter()
    for step, parts in enumerate(batches.steps(first_step, train.steps), start=first_step):
        waited += time.perf_counter() - reading
        set_hyper_parameters(
            optimizer,
            learning_rate=schedules.learning_rate(train, step),
            weight_decay=schedules.weight_decay(train, step),
        )
        for part in parts:
            batch = part.to(device)
            signal = normalise(batch.signal, batch.database)
            with autocast(device, train.precision):
                output = jepa(signal, batch.context_index, batch.target_index)
            (output.loss / len(parts)).backward()
            losses.append(output.loss.detach())
        if train.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(jepa.parameters(), train.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        done = step + 1
        jepa.update_target(schedules.momentum(train, done))

        if done % train.log_every == 0 or done == train.steps or selection.is_due(done):
            # Logging is the only place where the loop waits for the device.
            loss = _finite(torch.stack(losses).mean(), done)
            seconds = time.perf_counter() - clock
            signs = batch_signs(
                output,
                batch.context_index,
                batch.target_index,
                normalise_targets=train.normalise_targets,
            )
            metrics.write(
                {
                    "step": done,
                    "loss": loss,
                    "learning_rate": schedules.learning_rate(train, step),
                    "weight_decay": schedules.weight_decay(train, step),
                    "momentum": schedules.momentum(train, done),
                    "records_per_second": train.batch_size * (len(losses) // len(parts)) / seconds,
                    "data_wait": waited / seconds,
                    **signs,
                    **selection.look(jepa.target_encoder, done),
                }
            )
            watch.look(done, signs)
            losses, waited, clock = [], 0.0, time.perf_counter()
        if done % train.checkpoint_every == 0 or done == train.steps:
            _finite(output.loss, done)
            save_checkpoint(
                run / CHECKPOINTS_FOLDER, jepa, optimizer, CheckpointState(done, store.fingerprint)
            )
            remove_old_checkpoints(run / CHECKPOINTS_FOLDER, train.keep_checkpoints)
        reading = time.perf_counter()
    metrics.close()
    return jepa


def _finite(loss: torch.Tensor, step: int) -> float:
    """Return a loss as a number; what is none must be neither averaged nor saved."""
    value = float(loss.detach())
    if not math.isfinite(value):
        raise DivergenceError(
            f"the loss is {value} at step {step}; the checkpoints before it are sound. Start a new "
            "run with a lower train.learning_rate, or with train.gradient_clip=1"
        )
    return value


def _log_start(
    jepa: Jepa, batches: BatchReader, config: PretrainConfig, device: torch.device
) -> None:
    encoder = sum(parameter.numel() for parameter in jepa.context_encoder.parameters())
    predictor = sum(parameter.numel() for parameter in jepa.predictor.parameters())
    logger.info(
        "encoder %s parameters, predictor %s, on %s; %d patches of %.0f ms",
        f"{encoder:,}",
        f"{predictor:,}",
        device,
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
