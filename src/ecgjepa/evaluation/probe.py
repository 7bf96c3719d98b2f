"""Frozen evaluation: what can be read from an encoder's features as they are.

The same probe is always run on the identical encoder without pre-training: a random transformer
is a strong feature extractor, and a score says little without its score.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from ecgjepa.evaluation.classifiers import (
    probabilities,
    random_crops,
    result_folder,
    save_classifier,
)
from ecgjepa.evaluation.data import EvaluationData, open_data
from ecgjepa.evaluation.encoders import load_encoder, refuse_leak, untrained_encoder
from ecgjepa.evaluation.features import Features, encode, grid_windows
from ecgjepa.evaluation.fit import FitResult, fit
from ecgjepa.evaluation.linear import fit_linear_probe
from ecgjepa.evaluation.protocols import ProtocolConfig, load_protocol
from ecgjepa.evaluation.results import Evaluation, Outcome, write_embeddings, write_evaluation
from ecgjepa.evaluation.tasks import PAPER_SPLIT, Split, check_split, check_task
from ecgjepa.inference.windows import average_over_windows, window_size
from ecgjepa.model.compute import choose_device
from ecgjepa.model.encoder import VisionTransformer
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.heads import AttentiveHead, Classifier, HeadConfig, LinearHead, build_head

logger = logging.getLogger(__name__)


def probe(
    model: str | Path,
    data: Mapping[str, str | Path],
    out: str | Path | None = None,
    *,
    task: str = "all",
    protocol: Literal["attentive", "linear"] = "attentive",
    split: Split = PAPER_SPLIT,
    overrides: Sequence[str] = (),
    seed: int = 0,
    cache: str | Path | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Train a head on frozen features, beside the same on the untrained encoder.

    Args:
        model: Run, checkpoint or model folder.
        data: One database: name to folder.
        out: Folder for results, predictions and the trained model; beside the model by default.
        task: One of `ecgjepa.evaluation.tasks.TASKS`.
        protocol: ``attentive`` (the paper's frozen evaluation) or ``linear`` (logistic regression
            on mean-pooled features).
        split: Folds for training, selection and test.
        overrides: ``key=value`` items of the attentive protocol.
        seed: Of the head's initial weights and the order of records.
        cache: Folder for the prepared records.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Called with (done, in all) while preparing and encoding.

    Raises:
        EcgjepaError: A named subclass for each way in which model, data and task may not fit.
    """
    check_task(task)
    check_split(split)
    out = result_folder(model, out, task, protocol)
    encoder, config = load_encoder(model)
    records = _open_checked(config, data, task, split, cache, progress)
    settings = load_protocol("attentive", overrides) if protocol == "attentive" else None
    where = choose_device(device)
    encoders = {"pre-trained": encoder, "untrained": untrained_encoder(config)}
    outcomes: dict[str, Outcome] = {}
    embeddings: dict[str, np.ndarray] = {}
    trained: dict[str, tuple[AttentiveHead | LinearHead, HeadConfig]] = {}
    for name, frozen in encoders.items():
        logger.info("%s probe of the %s encoder", protocol, name)
        features = encode_parts(frozen, config, records, where, progress)
        _, _, embeddings[name] = _divide(features.record_means(), records)
        if settings is None:
            outcomes[name], trained[name] = _linear(frozen, features, records)
        else:
            outcomes[name], trained[name] = _attentive(
                frozen, features, records, settings, config, seed, where
            )
    result = write_evaluation(
        out,
        records,
        config,
        outcomes,
        protocol=protocol,
        settings={} if settings is None else settings.model_dump(mode="json"),
        seed=seed,
    )
    write_embeddings(out, records, embeddings)
    head, head_config = trained["pre-trained"]
    save_classifier(out, Classifier(encoder, head), head_config, config, records, result)
    records.store.close()
    return result


def encode_parts(
    encoder: VisionTransformer,
    config: ModelConfig,
    records: EvaluationData,
    device: torch.device,
    progress: Callable[[int, int], None] | None,
) -> Features:
    """Encode the windows of all records of the task: training, then validation, then test."""
    size, stride = window_size(config)
    order = np.concatenate(records.parts)
    windows = grid_windows(records.store, records.rows(order), size=size, stride=stride)
    normaliser = records.normalisation.build()
    return encode(encoder, normaliser, records.store, windows, device, progress)


def _open_checked(
    config: ModelConfig,
    data: Mapping[str, str | Path],
    task: str,
    split: Split,
    cache: str | Path | None,
    progress: Callable[[int, int], None] | None,
) -> EvaluationData:
    for database in data:
        refuse_leak(config, database, split)
    return open_data(data, config, task=task, split=split, cache=cache, progress=progress)


def _linear(
    encoder: VisionTransformer, features: Features, records: EvaluationData
) -> tuple[Outcome, tuple[LinearHead, HeadConfig]]:
    means = features.record_means()
    train, validation, test = _divide(means, records)
    single = records.task.kind == "single-label"
    fitted = fit_linear_probe(
        train,
        records.targets(records.parts.train),
        validation,
        records.targets(records.parts.validation),
        single_label=single,
    )
    head_config = HeadConfig(kind="mean", num_labels=len(records.task.labels), bias=True)
    head = build_head(head_config, encoder)
    assert isinstance(head, LinearHead)
    with torch.no_grad():
        head.fc.weight.copy_(torch.from_numpy(fitted.weight))
        head.fc.bias.copy_(torch.from_numpy(fitted.bias))
    outcome = Outcome(
        validation=probabilities(torch.from_numpy(fitted.logits(validation)), single_label=single),
        test=probabilities(torch.from_numpy(fitted.logits(test)), single_label=single),
        fit=None,
        selected=f"C = {fitted.strength:g}",
    )
    return outcome, (head, head_config)


def _attentive(
    encoder: VisionTransformer,
    features: Features,
    records: EvaluationData,
    settings: ProtocolConfig,
    config: ModelConfig,
    seed: int,
    device: torch.device,
) -> tuple[Outcome, tuple[AttentiveHead, HeadConfig]]:
    head_config = HeadConfig(kind="attentive", num_labels=len(records.task.labels))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = build_head(head_config, encoder).to(device)
    assert isinstance(head, AttentiveHead)
    parts = records.parts
    num_train, num_validation = len(parts.train), len(parts.validation)
    all_records = np.arange(features.windows.num_records)

    def score(chosen: Int64[np.ndarray, " chosen"]) -> np.ndarray:
        return _score_head(head, features, chosen, records.task.kind == "single-label", device)

    result: FitResult = fit(
        head,
        settings,
        inputs=_token_source(encoder, features, records, settings, config, device),
        targets=records.targets(parts.train),
        single_label=records.task.kind == "single-label",
        validate=lambda: score(all_records[num_train : num_train + num_validation]),
        validation_targets=records.targets(parts.validation),
        seed=seed,
        device=device,
    )
    outcome = Outcome(
        validation=score(all_records[num_train : num_train + num_validation]),
        test=score(all_records[num_train + num_validation :]),
        fit=result,
        selected=f"step {result.best_step:,}",
    )
    return outcome, (head.cpu(), head_config)


def _token_source(
    encoder: VisionTransformer,
    features: Features,
    records: EvaluationData,
    settings: ProtocolConfig,
    config: ModelConfig,
    device: torch.device,
) -> Callable[[Int64[np.ndarray, " batch"], np.random.Generator], Tensor]:
    """Return a function that gives the tokens of one window of each chosen training record."""
    windows = features.windows
    first = np.searchsorted(windows.record_index, np.arange(windows.num_records))
    count = np.bincount(windows.record_index, minlength=windows.num_records)

    def stored(chosen: Int64[np.ndarray, " batch"], rng: np.random.Generator) -> Tensor:
        picked = first[chosen] + (rng.random(len(chosen)) * count[chosen]).astype(np.int64)
        return torch.from_numpy(features.tokens[picked]).to(device).float()

    normaliser = records.normalisation.build().to(device)
    train_rows = records.rows(records.parts.train)

    @torch.no_grad()
    def encoded_anew(chosen: Int64[np.ndarray, " batch"], rng: np.random.Generator) -> Tensor:
        signal = random_crops(records, train_rows[chosen], window_size(config)[0], rng)
        return encoder.to(device)(normaliser(signal.to(device)))

    return encoded_anew if settings.random_crops else stored


@torch.inference_mode()
def _score_head(
    head: AttentiveHead,
    features: Features,
    chosen: Int64[np.ndarray, " chosen"],
    single_label: bool,
    device: torch.device,
) -> np.ndarray:
    """Return probabilities of some records: logits averaged over their windows."""
    index = features.windows.record_index
    windows = np.flatnonzero((index >= chosen[0]) & (index <= chosen[-1]))
    logits = [
        head(torch.from_numpy(features.tokens[part]).to(device).float()).cpu()
        for part in np.array_split(windows, max(1, len(windows) // 1024))
    ]
    averaged = average_over_windows(
        torch.cat(logits),
        torch.from_numpy(index[windows] - chosen[0]),
        num_records=len(chosen),
    )
    return probabilities(averaged, single_label=single_label)


def _divide(values: np.ndarray, records: EvaluationData) -> tuple[np.ndarray, ...]:
    """Undo the order of `encode_parts`."""
    edges = np.cumsum([len(part) for part in records.parts])[:-1]
    return tuple(np.split(values, edges))
