"""Fine-tuning: encoder and head trained together on random crops."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from ecgjepa.errors import TaskError
from ecgjepa.evaluation.out_of_distribution import fit_outlier_detector
from ecgjepa.evaluation.probe import probe
from ecgjepa.evaluation.results import Evaluation, TrainingRecipe, write_evaluation
from ecgjepa.evaluation.saving import (
    MODEL_FOLDER,
    refuse_to_overwrite,
    result_folder,
    save_classifier,
)
from ecgjepa.evaluation.spoiled import evaluate_spoiled
from ecgjepa.model.compute import choose_device
from ecgjepa.model.folder import CONFIG_FILE, ModelConfig, load_model_folder
from ecgjepa.model.heads import Classifier, HeadConfig, check_head
from ecgjepa.model.outputs import TaskKind
from ecgjepa.protocols.encoders import load_encoder, untrained_encoder
from ecgjepa.protocols.features import encode_parts
from ecgjepa.protocols.finetuning import build_classifier, train_classifier
from ecgjepa.protocols.settings import load_protocol, load_rival
from ecgjepa.tasks.leakage import open_unseen
from ecgjepa.tasks.records import Data, EvaluationData
from ecgjepa.tasks.split import PAPER_SPLIT, Split
from ecgjepa.tasks.task import is_table

logger = logging.getLogger(__name__)

# How much of the labels a probe was given, where it does not say.
_ALL_LABELS = {"label_fraction": 1.0, "label_draw": 0}

FinetuneProtocol = Literal["finetune-after-probe", "finetune"]


def finetune(
    model: str | Path,
    data: Data,
    out: str | Path | None = None,
    *,
    task: str = "all",
    protocol: FinetuneProtocol = "finetune-after-probe",
    split: Split = PAPER_SPLIT,
    overrides: Sequence[str] = (),
    from_scratch: bool = True,
    seed: int = 0,
    kind: TaskKind = "multi-label",
    label_fraction: float = 1.0,
    label_draw: int = 0,
    test_on: Sequence[str] = (),
    allow_seen: bool = False,
    cache: str | Path | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Fine-tune an encoder, beside the same architecture trained from scratch.

    Args:
        model: Run, checkpoint or model folder. ``finetune-after-probe`` starts from the head of an
            attentive probe of the same task: give the probe's folder, or it is run first.
        data: Databases, name to folder; or the folder of a store prepared as the encoder needs it.
        out: Folder for results, predictions and the trained model; beside the model by default.
        task: One of `ecgjepa.tasks.task.TASKS` or ``INDEX_TASKS``, or a CSV of labels.
        protocol: ``finetune-after-probe`` (the paper's better one) or ``finetune``.
        split: Folds for training, selection and test.
        overrides: ``key=value`` items of the protocol.
        from_scratch: Also train the untrained encoder, with the protocol ``finetune``: see
            `ecgjepa.protocols.settings.load_rival`.
        seed: Of head weights, order, crops and dropout.
        kind: What the columns of a CSV of labels hold.
        label_fraction: Share of the training patients whose labels are used.
        label_draw: Another one chooses other patients.
        test_on: Databases that are tested and not trained on; the others are trained on.
        allow_seen: See `ecgjepa.evaluation.probe.probe`.
        cache: Folder for the prepared records.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Called with (done, in all) while preparing.

    Raises:
        EcgjepaError: A named subclass for each way in which model, data and task may not fit.
    """
    out = result_folder(model, out, task, protocol)
    refuse_to_overwrite(out, model, task, protocol)
    settings = load_protocol(protocol, overrides)
    encoder, config = load_encoder(model)
    check_head(settings.head, config.encoder.num_registers)
    rival = load_rival(protocol, overrides, num_registers=config.encoder.num_registers)
    start = _probed(model, task)
    records = open_unseen(
        data,
        config,
        task=task,
        split=split,
        kind=kind,
        label_fraction=label_fraction,
        label_draw=label_draw,
        test_on=test_on,
        allow_seen=allow_seen,
        cache=cache,
        progress=progress,
    )
    if protocol == "finetune-after-probe" and start is None:
        logger.info("no attentive probe of task %s given: running one first", task)
        probe(
            model,
            data,
            out / "probe",
            task=task,
            split=split,
            seed=seed,
            kind=kind,
            label_fraction=label_fraction,
            label_draw=label_draw,
            test_on=test_on,
            allow_seen=allow_seen,
            cache=cache,
            device=device,
        )
        start = _probed(out / "probe", task)
    where = choose_device(device)

    logger.info("fine-tuning the pre-trained encoder")
    head_config = HeadConfig(kind=settings.head, num_labels=len(records.task.labels))
    if protocol == "finetune-after-probe":
        assert start is not None
        probed, described = start
        _check_fits(model, described, records)
        head_config = head_config.model_copy(update={"layers": probed.layers})
    classifier = build_classifier(encoder, head_config, settings, seed)
    if protocol == "finetune-after-probe":
        classifier.load_state_dict(probed.state_dict(), strict=True)
    outcomes = {"pre-trained": train_classifier(classifier, records, config, settings, seed, where)}
    if from_scratch:
        logger.info("training the same encoder from scratch")
        fresh = build_classifier(
            untrained_encoder(config),
            HeadConfig(kind=rival.head, num_labels=len(records.task.labels)),
            rival,
            seed,
        )
        outcomes["from scratch"] = train_classifier(fresh, records, config, rival, seed, where)
    means = encode_parts(classifier.encoder, config, records, where, classifier.layers)
    known = fit_outlier_detector(means.train, means.validation)
    detection = evaluate_spoiled(
        classifier, config, records, known, means.test, device=where, cache=cache
    )
    used = settings.model_dump(mode="json")
    if head_config.layers:
        used["layers"] = list(head_config.layers)
    result = write_evaluation(
        out,
        records,
        config,
        outcomes,
        trained={
            "pre-trained": TrainingRecipe(protocol, used),
            "from scratch": TrainingRecipe("finetune", rival.model_dump(mode="json")),
        },
        seed=seed,
        out_of_distribution=detection,
    )
    save_classifier(out, classifier.cpu(), head_config, config, records, result, known)
    records.store.close()
    return result


def _probed(path: str | Path, task: str) -> tuple[Classifier, ModelConfig] | None:
    """Return the classifier of an attentive probe of the task, if ``path`` holds one.

    Raises:
        TaskError: If it is a probe of another task.
    """
    folder = Path(path)
    if not (folder / CONFIG_FILE).is_file():
        folder = folder / MODEL_FOLDER
    if not (folder / CONFIG_FILE).is_file():
        return None
    model, config = load_model_folder(folder)
    if not isinstance(model, Classifier) or config.head is None or config.task is None:
        return None
    if config.head.kind != "attentive":
        return None
    name = Path(task).stem if is_table(task) else task
    if config.task.name != name:
        raise TaskError(
            f"{folder}: is a probe of task {config.task.name!r}, not {name!r}; give the encoder, "
            "or a probe of the same task"
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
    asked = [records.facts[key] for key in _ALL_LABELS]
    if used != asked:
        raise TaskError(
            f"{path}: is a probe with {100 * used[0]:g} % of the labels, draw {used[1]}; asked is "
            f"{100 * asked[0]:g} %, draw {asked[1]}. Give the encoder, or a probe of the same"
        )
