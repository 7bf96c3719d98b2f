"""Pre-training: build, resume, and one loop that reads from top to bottom."""

import logging
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch

from ecgjepa.config import PretrainConfig, load_preset
from ecgjepa.errors import CheckpointError, DivergenceError, StoreError
from ecgjepa.locks import working_in
from ecgjepa.model.compute import autocast, keep_freed_memory
from ecgjepa.model.folder import MODEL_FOLDER
from ecgjepa.model.normalisation import Normaliser
from ecgjepa.objectives.build import Objective, ObjectiveOutput, build_objective
from ecgjepa.pretraining import schedules
from ecgjepa.pretraining.checkpoint import (
    CheckpointState,
    latest_checkpoint,
    remove_old_checkpoints,
    restore_checkpoint,
    save_checkpoint,
)
from ecgjepa.pretraining.distributed import World
from ecgjepa.pretraining.following import Follower
from ecgjepa.pretraining.monitor import batch_signs
from ecgjepa.pretraining.optim import build_optimizer, set_hyper_parameters
from ecgjepa.pretraining.origin import describe_changes, origin_here
from ecgjepa.pretraining.run import (
    CHECKPOINTS_FOLDER,
    check_run,
    claim_run,
    describe_start,
    save_encoder,
)
from ecgjepa.pretraining.selection import OnlineProbe, OpenProbe
from ecgjepa.pretraining.stopping import RunStopped, StopRequest, stop_on_signal
from ecgjepa.pretraining.trackers import check_trackers
from ecgjepa.sampling.batches import Batch, BatchReader, normalisation_tables
from ecgjepa.sampling.masking import check_masks
from ecgjepa.sampling.resident import open_resident
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
    """Pre-train an encoder, by default with JEPA, and return the run folder.

    A run folder that holds an interrupted run of the same configuration and store is continued,
    bit for bit as if it had never stopped (on the same hardware); a finished one is left alone.
    SIGTERM or Ctrl-C saves the run at the next step and ends the program. Under ``torchrun``, all
    processes share each batch: the run is the same, to rounding, whatever their number.

    Args:
        store: Folder of a store of training records.
        out: Run folder: ``config.yaml``, ``store.json``, ``metrics.jsonl``, ``checkpoints/`` and,
            at the end, ``model/`` with the encoder to keep (JEPA: the target encoder).
        preset: Preset or YAML file.
        overrides: ``section.key=value`` items.
        device: ``auto``, ``cpu`` or ``cuda``.
        probe: Made by `ecgjepa.online_probe`: scores the encoder every ``probe.every`` steps.

    Raises:
        ConfigError: If preset, overrides, store and number of processes do not fit together, or a
            tracker is missing.
        DatabaseError: If a database has no published constants and ``data.normalisation`` is paper.
        TaskError: If the probe's records do not fit, or the store holds its validation folds.
        StoreError: If the store is unusable or holds records reserved for selection and test.
        CheckpointError: If ``out`` holds another run, or another process is at work in it.
        DivergenceError: If the loss stops being a number.
        CollapseError: If the features collapse and ``train.stop_on_collapse`` is set.
        RankDriftError: If processes that share the run no longer hold the same weights.
        RunStopped: If SIGTERM or Ctrl-C ended it; a `SystemExit`.
    """
    config = load_preset(preset, overrides)
    run = Path(out)
    check_masks(config)
    check_trackers(config.train.trackers)
    with Store(store) as records:
        refuse_held_out(records)
        world = World.from_environment(device)
        batches = BatchReader(
            records,
            config,
            pin_memory=world.device.type == "cuda",
            rank=world.rank,
            world_size=world.size,
            resident=open_resident(records, config, world.device),
        )
        check_run(run, config, records)
        # SIGTERM ends a process that waits for the others at once: there is nothing to save yet.
        with world.group(), stop_on_signal() as stop, ExitStack() as held:
            world.barrier()  # nothing is written before all processes have looked
            if refusal := world.decide(partial(_occupy, run, held)):
                raise CheckpointError(refusal)
            opened = None
            if world.is_first:
                opened = None if probe is None else probe(describe_start(config, records))
                claim_run(run, config, records)
            if not world.decide((run / MODEL_FOLDER).is_dir):
                objective = _train(run, config, records, batches, world, stop, opened)
                if world.is_first:
                    save_encoder(run, objective.encoder_to_keep, steps=config.train.steps)
            world.barrier()
    return run


def _occupy(run: Path, held: ExitStack) -> str:
    """Keep other processes out of an unfinished run's folder; return why that cannot be, or ''."""
    try:
        if not (run / MODEL_FOLDER).is_dir():
            held.enter_context(working_in(run, CheckpointError, "another pretrain"))
    except CheckpointError as error:
        return str(error)
    return ""


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


def initial_objective(config: PretrainConfig) -> Objective:
    """Return the networks as they are before the first step: a function of ``train.seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        return build_objective(config)


def _train(
    run: Path,
    config: PretrainConfig,
    store: Store,
    batches: BatchReader,
    world: World,
    stop: StopRequest,
    probe: OnlineProbe | None,
) -> Objective:
    """Run the steps that are still to do."""
    # --- build ----------------------------------------------------------------------------
    train, device = config.train, world.device
    if device.type == "cpu":
        keep_freed_memory()
    objective = initial_objective(config).to(device)
    optimizer = build_optimizer(objective, train)
    constants = normalisation_tables(store, config.data.normalisation)
    normalise = Normaliser(*constants, clip=config.data.clip).to(device)
    torch.manual_seed(train.seed)

    # --- resume ---------------------------------------------------------------------------
    first_step, origin = 0, origin_here(world)
    losses: list[torch.Tensor] = []  # since the last line of the log: of each step, its parts'
    checkpoint = world.decide(lambda: latest_checkpoint(run / CHECKPOINTS_FOLDER))
    if checkpoint is not None:
        state = restore_checkpoint(checkpoint, objective, optimizer)
        if state.store != store.fingerprint:
            raise CheckpointError(
                f"{checkpoint}: was trained on another store than {store.path}; continue with the "
                "same store, or start a new run"
            )
        first_step, losses = state.step, [torch.tensor(state.losses, device=device)]
        logger.info("resuming after step %d", first_step)
        if changes := describe_changes(state.origin, origin):
            logger.warning(
                "%s was computed by something else (%s): what follows will not be bit for bit what "
                "an uninterrupted run gives",
                checkpoint.name,
                changes,
            )
    world.check_same(objective.state_dict(), first_step)
    _log_start(objective, batches, config, world)
    follower = Follower(run, config, probe, first_step=first_step) if world.is_first else None
    if follower is not None and probe is not None:
        follower.begin(initial_objective(config).encoder_to_keep.to(device))
    # Only rank 0 has a probe, but all measure what goes into the line of a probed step.
    probe_every = world.decide(lambda: config.probe.every if probe else train.steps)
    model = world.distribute(objective)
    if train.compile:
        # Dynamic, for the number of visible patches differs from step to step.
        model = torch.compile(model, dynamic=True)  # type: ignore[assignment]

    def forward(batch: Batch) -> ObjectiveOutput:
        signal = normalise(batch.signal, batch.database)
        with autocast(device, train.precision):
            return model(signal, *batch.inputs)

    if world.size > 1:
        # DDP arranges its buffers anew after its first backward pass, and with them the order in
        # which three or more gradients are added. So that a resumed run adds as one that never
        # stopped, both begin with a pass whose gradients nobody uses (docs/decisions/0016).
        forward(batches.read(first_step, 0).to(device)).loss.backward()
        optimizer.zero_grad(set_to_none=True)

    # --- the loop -------------------------------------------------------------------------
    waited, clock, timed_from = 0.0, time.perf_counter(), first_step
    done, stopping, reading = first_step, False, time.perf_counter()
    for step, parts in enumerate(batches.steps(first_step, train.steps), start=first_step):
        waited += time.perf_counter() - reading
        set_hyper_parameters(
            optimizer,
            learning_rate=schedules.learning_rate(train, step),
            weight_decay=schedules.weight_decay(train, step),
        )
        part_losses = []
        for part in parts:
            with world.synchronising(model, part is parts[-1]):
                batch = part.to(device)
                output = forward(batch)
                (output.loss / len(parts)).backward()
            part_losses.append(output.loss.detach())
        losses.append(world.mean(torch.stack(part_losses)))
        if train.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(objective.parameters(), train.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        done = step + 1
        objective.update_target(schedules.momentum(train, done))
        stopping = world.any(stop.made) and done < train.steps

        if done % train.log_every == 0 or done % probe_every == 0 or done == train.steps:
            # Logging is the only place where the loop waits for the device.
            loss = _finite(torch.cat(losses), done)
            seconds = time.perf_counter() - clock
            signs = batch_signs(
                output,
                batch.context_index,
                batch.target_index,
                normalise_targets=train.normalise_targets,
                loss=train.loss,
                mean_over_processes=world.mean,
            )
            if follower is not None:
                values = {
                    "step": done,
                    "loss": loss,
                    "learning_rate": schedules.learning_rate(train, step),
                    "weight_decay": schedules.weight_decay(train, step),
                    "momentum": schedules.momentum(train, done),
                    "records_per_second": train.batch_size * (done - timed_from) / seconds,
                    "data_wait": waited / seconds,
                    **signs,
                }
                follower.look(objective.encoder_to_keep, done, values)
            losses, waited, clock, timed_from = [], 0.0, time.perf_counter(), done
        if done % train.checkpoint_every == 0 or done == train.steps or stopping:
            pending = torch.cat(losses) if losses else torch.empty(0)
            if losses:  # else the log has just looked
                _finite(pending, done)
            world.check_same(objective.state_dict(), done)
            if world.is_first:
                state = CheckpointState(done, store.fingerprint, origin, tuple(pending.tolist()))
                save_checkpoint(run / CHECKPOINTS_FOLDER, objective, optimizer, state)
                remove_old_checkpoints(
                    run / CHECKPOINTS_FOLDER,
                    train.keep_checkpoints,
                    newest=done,
                    milestone_every=train.milestone_every,
                )
        if stopping:
            logger.warning("stopped after step %d; the same command goes on from there", done)
            break
        reading = time.perf_counter()
    if follower is not None:
        follower.close()
    if stopping:
        world.barrier()  # until rank 0 has saved
        raise RunStopped(done, stop.number)
    return objective


def _finite(losses: torch.Tensor, step: int) -> float:
    """Return the mean loss; what is no number must be neither averaged nor saved."""
    value = float(losses.mean())
    if not math.isfinite(value):
        raise DivergenceError(
            f"the loss is {value} at step {step}; the checkpoints before it are sound. Start a new "
            "run with a lower train.learning_rate, or with train.gradient_clip=1"
        )
    return value


def _log_start(
    objective: Objective, batches: BatchReader, config: PretrainConfig, world: World
) -> None:
    encoder = sum(parameter.numel() for parameter in objective.encoder_to_keep.parameters())
    trained = sum(part.numel() for part in objective.parameters() if part.requires_grad)
    logger.info(
        "%s: encoder %s parameters, %s %s, on %s; %d patches of %.0f ms",
        config.objective,
        f"{encoder:,}",
        {"jepa": "predictor", "mae": "decoder"}.get(config.objective, "heads"),
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
