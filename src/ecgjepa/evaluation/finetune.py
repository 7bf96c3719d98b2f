"""Fine-tuning: encoder and head trained together on random crops."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ecgjepa.errors import ConfigError, TaskError
from ecgjepa.evaluation.probe import probe_records
from ecgjepa.evaluation.requests import describe_model, describe_request
from ecgjepa.evaluation.results import Evaluation
from ecgjepa.evaluation.saving import result_folder, save_evaluation, writing_results
from ecgjepa.model.compute import choose_device
from ecgjepa.model.folder import CONFIG_FILE, ModelConfig, load_model_folder
from ecgjepa.model.heads import Classifier
from ecgjepa.model.outputs import TaskKind
from ecgjepa.protocols.encoders import DescribedEncoder, load_encoder, refuse_training
from ecgjepa.protocols.request import ProtocolRequest, Workspace, request_protocol
from ecgjepa.protocols.run import run
from ecgjepa.protocols.settings import TUNING, TuningProtocol, check_protocol
from ecgjepa.results.layout import FROM_SCRATCH, PRE_TRAINED, PROBE_FOLDER
from ecgjepa.sharing.references import find_model
from ecgjepa.tasks.cohort import Cohort, database_names
from ecgjepa.tasks.early.refusing import refuse_early
from ecgjepa.tasks.leakage import open_unseen
from ecgjepa.tasks.opening import Data
from ecgjepa.tasks.records import EvaluationData
from ecgjepa.tasks.split import PAPER_SPLIT, Split

logger = logging.getLogger(__name__)

# How much of the labels a probe was given, where it does not say.
_ALL_LABELS = {"label_fraction": 1.0, "label_draw": 0}


def finetune(
    model: str | Path | DescribedEncoder,
    data: Data,
    out: str | Path | None = None,
    *,
    task: str = "all",
    protocol: TuningProtocol = "finetune-after-probe",
    split: Split = PAPER_SPLIT,
    overrides: Sequence[str] = (),
    from_scratch: bool = True,
    seed: int = 0,
    kind: TaskKind = "multi-label",
    label_fraction: float = 1.0,
    label_draw: int = 0,
    test_on: Sequence[str] = (),
    allow_seen: bool = False,
    decision: str = "best-f1",
    cache: str | Path | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Fine-tune an encoder, beside the same architecture trained from scratch.

    Args:
        model: Run, checkpoint or model folder. ``finetune-after-probe`` starts from the head of an
            attentive probe of the same task: give the probe's folder, or it is run first.
        data: Databases, name to folder; or the folder of a store prepared as the encoder needs it.
        out: Folder for results, predictions and the trained model; beside the model by default. If
            this very fine-tuning is finished there, it is read and not run again; of one that was
            interrupted, a finished probe is.
        task: One of `ecgjepa.tasks.task.TASKS` or ``INDEX_TASKS``, or a CSV of labels.
        protocol: ``finetune-after-probe`` (the paper's better one) or ``finetune``.
        split: Folds for training, selection and test.
        overrides: ``key=value`` items of the protocol; ``probe.key=value`` items are of the probe
            that ``finetune-after-probe`` runs first where none is given.
        from_scratch: Also train the untrained encoder, with the protocol ``finetune``: see
            `ecgjepa.protocols.settings.load_rival`.
        seed: Seed of head weights, order, crops and dropout.
        kind: What the columns of a CSV of labels hold.
        label_fraction: Share of the training patients whose labels are used.
        label_draw: Another one chooses other patients.
        test_on: Databases that are tested and not trained on; the others are trained on.
        allow_seen: See `ecgjepa.evaluation.probe.probe`.
        decision: See `ecgjepa.evaluation.probe.probe`.
        cache: Folder for the prepared records.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Called with (done, in all) while preparing.

    Raises:
        EcgjepaError: A named subclass for each way in which model, data and task may not fit.

    Example:
        >>> import ecgjepa
        >>> tuned = ecgjepa.finetune(
        ...     "runs/jepa",
        ...     {"ptb-xl": "data/ptb-xl"},
        ...     "runs/tuned",
        ...     task="superdiagnostic",
        ...     protocol="finetune",
        ...     overrides=["steps=4", "warmup_steps=1", "validate_every=2"],
        ... )
        >>> sorted(tuned.results["models"])
        ['from scratch', 'pre-trained']
    """
    check_protocol(protocol, TUNING)
    cohort = Cohort(
        task=task,
        kind=kind,
        split=split,
        label_fraction=label_fraction,
        label_draw=label_draw,
        test_on=database_names(test_on),
        allow_seen=allow_seen,
    )
    request = request_protocol(protocol, overrides, seed=seed, decision=decision)
    if isinstance(model, DescribedEncoder):
        refuse_training(model, protocol)
        raise ConfigError("fine-tuning takes the folder of a model, to know it again")
    work = Workspace(choose_device(device), cache, progress)
    return finetune_cohort(model, data, out, cohort, request, work, from_scratch=from_scratch)


def _announce_probe(task: str, request: ProtocolRequest) -> None:
    """Say that a probe comes first, how long it is, and how to have a shorter one."""
    assert request.probe is not None
    assert request.probe.settings is not None
    logger.info(
        "no attentive probe of task %s given: one is run first, of %s steps for the pre-trained "
        "encoder and as many for the untrained one (--set probe.steps=… or probe.patience=… "
        "shortens it)",
        task,
        f"{request.probe.settings.steps:,}",
    )


def finetune_cohort(
    model: str | Path,
    data: Data,
    out: str | Path | None,
    cohort: Cohort,
    request: ProtocolRequest,
    work: Workspace,
    *,
    from_scratch: bool = True,
) -> Evaluation:
    """Do what `finetune` does, for a request that was checked already."""
    folder = result_folder(model, out, cohort.task, request.protocol)
    encoder = load_encoder(model)
    request.check_encoder(encoder.config)
    rival = request.rival(encoder.config)
    refuse_early(data, encoder.config, cohort)
    given = None if request.probe is None else _find_probe(model, cohort, request.probe)
    settings = tuning_settings(request, from_scratch=from_scratch)
    asked = describe_request(model, encoder.config, data, cohort, settings, work, folder=folder)
    with writing_results(folder, model, asked) as place:
        if place.finished is not None:
            return place.finished
        with open_unseen(
            data, encoder.config, cohort, cache=work.cache, progress=work.progress
        ) as records:
            if given is not None:
                _check_fits(model, given[1], records)
            place.begin()
            named = describe_model(model, encoder.config)
            if request.probe is not None and given is None:
                inner, asked_first = folder / PROBE_FOLDER, request.probe
                settings = asked_first.as_request()
                asked = describe_request(model, encoder.config, data, cohort, settings, work)
                with writing_results(inner, model, asked) as probing:
                    if probing.finished is None:
                        probing.begin()
                        _announce_probe(cohort.task, request)
                        probe_records(encoder, records, inner, asked_first, work, named)
                given = _find_probe(inner, cohort, request.probe)
            start = None
            if given is not None:
                start = given[0]
                request = replace(request, **_as_read(start, encoder.config))
            logger.info("fine-tuning the pre-trained encoder")
            results = {PRE_TRAINED: run(encoder, records, request, work, start=start)}
            if from_scratch:
                logger.info("training the same encoder from scratch")
                results[FROM_SCRATCH] = run(encoder, records, rival, work)
            return save_evaluation(folder, encoder.config, results, work, named)


def tuning_settings(request: ProtocolRequest, *, from_scratch: bool) -> dict[str, Any]:
    """Return what decides how an encoder is fine-tuned, as JSON content; its probe has the layers.

    Args:
        request: Protocol, settings and seed.
        from_scratch: Whether the untrained encoder is trained beside it.
    """
    settings = request.as_request()
    del settings["layers"]
    return {**settings, "from_scratch": from_scratch}


def _find_probe(
    path: str | Path, cohort: Cohort, asked: ProtocolRequest
) -> tuple[Classifier, ModelConfig] | None:
    """Return the classifier of a probe of the task with the head asked for, if ``path`` has one.

    Raises:
        TaskError: If it is a probe of another task.
    """
    folder = find_model(path)
    if not (folder / CONFIG_FILE).is_file():
        return None
    model, config = load_model_folder(folder)
    if not isinstance(model, Classifier) or config.head is None or config.task is None:
        return None
    assert asked.settings is not None
    if config.head.kind != asked.settings.head or config.head.bias:
        return None
    if config.task.name != cohort.task_name:
        raise TaskError(
            f"{folder}: is a probe of task {config.task.name!r}, not {cohort.task_name!r}; give "
            "the encoder, or a probe of the same task"
        )
    return model, config


def _check_fits(path: str | Path, config: ModelConfig, records: EvaluationData) -> None:
    """Raise `TaskError` if a probe was of other labels, or of another share of them."""
    assert config.task is not None
    if (config.task.labels, config.task.kind) != (records.task.labels, records.task.kind):
        raise TaskError(
            f"{path}: is a probe of {config.task.kind} {', '.join(config.task.labels)}; the "
            f"records have {records.task.kind} {', '.join(records.task.labels)}"
        )
    used = [config.training.get(key, value) for key, value in _ALL_LABELS.items()]
    asked = [records.cohort.label_fraction, records.cohort.label_draw]
    if used != asked:
        raise TaskError(
            f"{path}: is a probe with {100 * used[0]:g} % of the labels, draw {used[1]}; asked is "
            f"{100 * asked[0]:g} %, draw {asked[1]}. Give the encoder, or a probe of the same"
        )


def _as_read(probe: Classifier, config: ModelConfig) -> dict[str, Any]:
    """Return what a request must say so that the encoder is read as its probe reads it."""
    reading = probe.reading
    if not reading.beside:
        return {"layers": reading.layers}
    assert len(reading.layers) == config.encoder.depth, "only all blocks are read side by side"
    return {"reading": "all-blocks"}
