"""Pre-training: build, resume, and one loop that reads from top to bottom."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ecgjepa.config import PretrainConfig, load_preset
from ecgjepa.errors import CheckpointError
from ecgjepa.locks import working_in
from ecgjepa.model.compute import autocast, keep_freed_memory, without_old_garbage
from ecgjepa.model.folder import MODEL_FOLDER
from ecgjepa.model.normalisation import Normaliser
from ecgjepa.objectives.build import objective_of
from ecgjepa.objectives.networks.base import ObjectiveNetworks, ObjectiveOutput
from ecgjepa.objectives.objective import Objective
from ecgjepa.pretraining import schedules
from ecgjepa.pretraining.checkpoint import CheckpointState
from ecgjepa.pretraining.distributed import World
from ecgjepa.pretraining.following import Follower
from ecgjepa.pretraining.optim import build_optimizer, set_hyper_parameters
from ecgjepa.pretraining.origin import origin_here
from ecgjepa.pretraining.progress import (
    Stopwatch,
    describe_step,
    finite_mean,
    log_start,
    resume,
    save,
)
from ecgjepa.pretraining.run import (
    check_run,
    claim_run,
    describe_start,
    save_encoder,
)
from ecgjepa.pretraining.selection import OnlineProbe, OpenProbe
from ecgjepa.pretraining.stopping import RunStopped, StopRequest, stop_on_signal
from ecgjepa.pretraining.trackers import check_trackers
from ecgjepa.sampling.batches import Batch, BatchReader, normalisation_tables
from ecgjepa.sampling.resident import open_resident
from ecgjepa.store.reading import Store
from ecgjepa.tasks.reserved import refuse_held_out

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
        out: Run folder: ``config.yaml``, ``objective.json``, ``store.json``, ``metrics.jsonl``,
            ``checkpoints/`` and, at the end, ``model/`` with the encoder to keep (JEPA: the target
            encoder).
        preset: Preset or YAML file.
        overrides: ``section.key=value`` items.
        device: ``auto``, ``cpu`` or ``cuda``.
        probe: Made by `ecgjepa.online_probe`: scores the encoder every ``probe.every`` steps.

    Raises:
        ConfigError: If preset, overrides, store and number of processes do not fit together, or a
            tracker is missing.
        DatabaseError: If a database has no published constants and ``data.normalisation`` is paper.
        TaskError: If the probe's records do not fit, or the store holds its validation folds.
        StoreError: If the store is unusable or holds what a database reserves for the test.
        CheckpointError: If ``out`` holds another run, or another process is at work in it.
        DivergenceError: If the loss stops being a number.
        CollapseError: If the features collapse and ``train.stop_on_collapse`` is set.
        RankDriftError: If processes that share the run no longer hold the same weights.
        RunStopped: If SIGTERM or Ctrl-C ended it; a `SystemExit`.

    Example:
        >>> import ecgjepa
        >>> ecgjepa.pretrain(
        ...     "data/store",
        ...     "runs/jepa",
        ...     preset="tiny",
        ...     overrides=["train.steps=8", "train.warmup_steps=2"],
        ... )
        PosixPath('runs/jepa')
    """
    run, objective = Path(out), objective_of(load_preset(preset, overrides))
    config = objective.config
    check_trackers(config.train.trackers)
    with Store(store) as records:
        refuse_held_out(records)
        objective.check_records(records.manifest.common_preprocessing)
        world = World.from_environment(device)
        batches = BatchReader(
            records,
            config,
            objective.draw,
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
                opened = None if probe is None else _open_probe(probe, config, records)
            is_finished = world.decide((run / MODEL_FOLDER).is_dir)
            # Before the claim: networks that cannot be made leave no folder behind.
            networks = None if is_finished else initial_networks(config)
            if world.is_first:
                claim_run(run, config, records)
            if networks is not None:
                with without_old_garbage():
                    _train(run, objective, networks, records, batches, world, stop, opened)
                if world.is_first:
                    save_encoder(run, networks.encoder_to_keep, steps=config.train.steps)
            world.barrier()
    return run


def _open_probe(probe: OpenProbe, config: PretrainConfig, store: Store) -> OnlineProbe:
    """Open the probe that follows a run, before anything is written into the run's folder."""
    with TemporaryDirectory() as folder:
        return probe(describe_start(config, store, Path(folder)))


def _occupy(run: Path, held: ExitStack) -> str:
    """Keep other processes out of an unfinished run's folder; return why that cannot be, or ''."""
    try:
        if not (run / MODEL_FOLDER).is_dir():
            held.enter_context(working_in(run, CheckpointError, "another pretrain"))
    except CheckpointError as error:
        return str(error)
    return ""


def initial_networks(config: PretrainConfig) -> ObjectiveNetworks:
    """Return the networks as they are before the first step: a function of ``train.seed``.

    Raises:
        ConfigError: If the objective is unknown, or the settings do not suit it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        return objective_of(config).networks()


def _train(
    run: Path,
    objective: Objective,
    networks: ObjectiveNetworks,
    store: Store,
    batches: BatchReader,
    world: World,
    stop: StopRequest,
    probe: OnlineProbe | None,
) -> None:
    """Run the steps that are still to do; the networks learn in place."""
    # --- build ----------------------------------------------------------------------------
    config, train, device = objective.config, objective.config.train, world.device
    if device.type == "cpu":
        keep_freed_memory()
    networks = networks.to(device)
    optimizer = build_optimizer(networks, train)
    constants = normalisation_tables(store, config.data.normalisation)
    normalise = Normaliser(*constants, clip=config.data.clip).to(device)
    torch.manual_seed(train.seed)

    # --- resume ---------------------------------------------------------------------------
    origin = origin_here(world)
    state = resume(run, networks, optimizer, store, origin, world)
    first_step = state.step
    # Since the last line of the log: of each step, the losses of its parts.
    losses = [torch.tensor(state.losses, device=device)] if state.losses else []
    world.check_same(networks.state_dict(), first_step)
    log_start(objective, networks, batches, world)
    follower = Follower(run, objective, probe, first_step=first_step) if world.is_first else None
    if follower is not None and probe is not None:
        follower.begin(initial_networks(config).encoder_to_keep.to(device))
    # Only rank 0 has a probe, but all measure what goes into the line of a probed step.
    probe_every = world.decide(lambda: config.probe.every if probe else train.steps)
    model = world.distribute(networks)
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
    watch, done, stopping = Stopwatch(first_step), first_step, False
    steps = watch.waiting(batches.steps(first_step, train.steps))
    for step, parts in enumerate(steps, start=first_step):
        set_hyper_parameters(
            optimizer,
            learning_rate=schedules.learning_rate(train, step),
            weight_decay=schedules.weight_decay(train, step),
        )
        part_losses = []
        for part in parts:
            with world.synchronising(model, part is parts[-1]):
                output = forward(part.to(device))
                (output.loss / len(parts)).backward()
            part_losses.append(output.loss.detach())
        losses.append(world.mean(torch.stack(part_losses)))
        if train.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(networks.parameters(), train.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        done = step + 1
        networks.update_target(schedules.momentum(train, done))
        stopping = world.any(stop.made) and done < train.steps

        if done % train.log_every == 0 or done % probe_every == 0 or done == train.steps:
            # Logging is the only place where the loop waits for the device.
            loss, lap = finite_mean(torch.cat(losses), done), watch.lap(done)
            signs = output.signs(world.mean)
            if follower is not None:
                values = {**describe_step(train, done, loss, lap), **signs}
                follower.look(networks.encoder_to_keep, done, values)
            losses = []
        if done % train.checkpoint_every == 0 or done == train.steps or stopping:
            pending = torch.cat(losses) if losses else torch.empty(0)
            if losses:  # else the log has just looked
                finite_mean(pending, done)
            world.check_same(networks.state_dict(), done)
            if world.is_first:
                unlogged = tuple(pending.tolist())
                state = CheckpointState(done, store.fingerprint, origin, unlogged)
                save(run, networks, optimizer, state, train)
        if stopping:
            logger.warning("stopped after step %d; the same command resumes from there", done)
            break
    if follower is not None:
        follower.close()
    if stopping:
        world.barrier()  # until rank 0 has saved
        raise RunStopped(done, stop.number)
