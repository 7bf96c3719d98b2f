"""Fine-tuning: encoder and head trained together on random crops."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from ecgjepa.errors import TaskError
from ecgjepa.evaluation.classifiers import (
    MODEL_FOLDER,
    probabilities,
    random_crops,
    result_folder,
    save_classifier,
)
from ecgjepa.evaluation.data import EvaluationData, open_data
from ecgjepa.evaluation.encoders import load_encoder, refuse_leak, untrained_encoder
from ecgjepa.evaluation.features import Windows, grid_windows
from ecgjepa.evaluation.fit import fit
from ecgjepa.evaluation.probe import probe
from ecgjepa.evaluation.protocols import ProtocolConfig, load_protocol
from ecgjepa.evaluation.results import Evaluation, Outcome, write_evaluation
from ecgjepa.evaluation.tasks import PAPER_SPLIT, Split, check_split, check_task
from ecgjepa.inference.windows import average_over_windows, window_size
from ecgjepa.model.compute import choose_device
from ecgjepa.model.encoder import VisionTransformer
from ecgjepa.model.folder import CONFIG_FILE, ModelConfig, load_model_folder
from ecgjepa.model.heads import Classifier, HeadConfig, build_head

logger = logging.getLogger(__name__)

FinetuneProtocol = Literal["finetune-after-probe", "finetune"]


def finetune(
    model: str | Path,
    data: Mapping[str, str | Path],
    out: str | Path | None = None,
    *,
    task: str = "all",
    protocol: FinetuneProtocol = "finetune-after-probe",
    split: Split = PAPER_SPLIT,
    overrides: Sequence[str] = (),
    from_scratch: bool = True,
    seed: int = 0,
    cache: str | Path | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Fine-tune an encoder, beside the same architecture trained from scratch.

    Args:
        model: Run, checkpoint or model folder. ``finetune-after-probe`` starts from the head of an
            attentive probe of the same task: give the probe's folder, or it is run first.
        data: One database: name to folder.
        out: Folder for results, predictions and the trained model; beside the model by default.
        task: One of `ecgjepa.evaluation.tasks.TASKS`.
        protocol: ``finetune-after-probe`` (the paper's better one) or ``finetune``.
        split: Folds for training, selection and test.
        overrides: ``key=value`` items of the protocol.
        from_scratch: Also train the untrained encoder, with the protocol ``finetune``.
        seed: Of head weights, order, crops and dropout.
        cache: Folder for the prepared records.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Called with (done, in all) while preparing.

    Raises:
        EcgjepaError: A named subclass for each way in which model, data and task may not fit.
    """
    check_task(task)
    check_split(split)
    out = result_folder(model, out, task, protocol)
    settings = load_protocol(protocol, overrides)
    encoder, config = load_encoder(model)
    for database in data:
        refuse_leak(config, database, split)
    start = _probed(model, task)
    if protocol == "finetune-after-probe" and start is None:
        logger.info("no attentive probe of task %s given: running one first", task)
        folder = out / "probe"
        probe(model, data, folder, task=task, split=split, seed=seed, cache=cache, device=device)
        start = _probed(folder, task)
    records = open_data(data, config, task=task, split=split, cache=cache, progress=progress)
    where = choose_device(device)

    logger.info("fine-tuning the pre-trained encoder")
    head_config = HeadConfig(kind=settings.head, num_labels=len(records.task.labels))
    classifier = _classifier(encoder, head_config, settings, seed)
    if protocol == "finetune-after-probe":
        assert start is not None
        classifier.load_state_dict(start.state_dict(), strict=True)
    outcomes = {"pre-trained": train_classifier(classifier, records, config, settings, seed, where)}
    if from_scratch:
        logger.info("training the same encoder from scratch")
        length = [f"steps={settings.steps}", f"validate_every={settings.validate_every}"]
        scratch = load_protocol("finetune", length)
        fresh = _classifier(
            untrained_encoder(config),
            HeadConfig(kind=scratch.head, num_labels=len(records.task.labels)),
            scratch,
            seed,
        )
        outcomes["from scratch"] = train_classifier(fresh, records, config, scratch, seed, where)
    result = write_evaluation(
        out,
        records,
        config,
        outcomes,
        protocol=protocol,
        settings=settings.model_dump(mode="json"),
        seed=seed,
    )
    save_classifier(out, classifier.cpu(), head_config, config, records, result)
    records.store.close()
    return result


def _probed(path: str | Path, task: str) -> Classifier | None:
    """Return the classifier of an attentive probe of the task, if ``path`` holds one."""
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
    if config.task.name != task:
        raise TaskError(
            f"{folder}: is a probe of task {config.task.name!r}, not {task!r}; give the encoder, "
            "or a probe of the same task"
        )
    return model


def _classifier(
    encoder: VisionTransformer, head: HeadConfig, settings: ProtocolConfig, seed: int
) -> Classifier:
    """Return a copy of the encoder with the protocol's dropout, and a fresh head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        copied = VisionTransformer(encoder.config, dropout=settings.dropout)
        classifier = Classifier(copied, build_head(head, copied))
    copied.load_state_dict(encoder.state_dict(), strict=True)
    return classifier


def train_classifier(
    classifier: nn.Module,
    records: EvaluationData,
    config: ModelConfig,
    settings: ProtocolConfig,
    seed: int,
    device: torch.device,
) -> Outcome:
    """Train a classifier in place on random crops of the training records, and score it."""
    classifier.to(device)
    normaliser = records.normalisation.build().to(device)
    size, stride = window_size(config)
    train_rows = records.rows(records.parts.train)
    single = records.task.kind == "single-label"

    def crops(chosen: Int64[np.ndarray, " batch"], rng: np.random.Generator) -> Tensor:
        return normaliser(random_crops(records, train_rows[chosen], size, rng).to(device))

    def score(part: Int64[np.ndarray, " part"]) -> np.ndarray:
        windows = grid_windows(records.store, records.rows(part), size=size, stride=stride)
        return _score(classifier, windows, records, device, single_label=single)

    with torch.random.fork_rng():
        torch.manual_seed(seed)  # of dropout
        result = fit(
            classifier,
            settings,
            inputs=crops,
            targets=records.targets(records.parts.train),
            single_label=single,
            validate=lambda: score(records.parts.validation),
            validation_targets=records.targets(records.parts.validation),
            seed=seed,
            device=device,
        )
    return Outcome(
        validation=score(records.parts.validation),
        test=score(records.parts.test),
        fit=result,
        selected=f"step {result.best_step:,}",
    )


@torch.inference_mode()
def _score(
    classifier: nn.Module,
    windows: Windows,
    records: EvaluationData,
    device: torch.device,
    *,
    single_label: bool,
) -> np.ndarray:
    """Return probabilities: logits averaged over each record's windows."""
    normaliser = records.normalisation.build().to(device)
    logits = [
        classifier(normaliser(windows.read(records.store, chunk).to(device))).cpu()
        for chunk in windows.chunks()
    ]
    averaged = average_over_windows(
        torch.cat(logits),
        torch.from_numpy(windows.record_index),
        num_records=windows.num_records,
    )
    return probabilities(averaged, single_label=single_label)
