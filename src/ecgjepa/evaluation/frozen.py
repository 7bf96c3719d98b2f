"""Heads on frozen features: the attentive and the linear probe, and nearest neighbours."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from ecgjepa.evaluation.classifiers import random_crops
from ecgjepa.evaluation.data import EvaluationData
from ecgjepa.evaluation.feature_cache import cached_features
from ecgjepa.evaluation.features import Features, grid_windows
from ecgjepa.evaluation.fit import fit
from ecgjepa.evaluation.linear import fit_linear_probe
from ecgjepa.evaluation.neighbours import fit_neighbours
from ecgjepa.evaluation.protocols import ProtocolConfig
from ecgjepa.evaluation.regression import fit_ridge
from ecgjepa.evaluation.results import Outcome
from ecgjepa.inference.windows import average_over_windows, outputs_of_logits, window_size
from ecgjepa.model.encoder import VisionTransformer
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.heads import (
    AttentiveHead,
    Classifier,
    HeadConfig,
    LinearHead,
    build_head,
    tokens_of_layers,
)


class Frozen(NamedTuple):
    """An encoder's features of all records of a task.

    Attributes:
        encoder: The encoder.
        config: Its description.
        records: Records, labels and split.
        features: Of `EvaluationData.whole`: training, validation and test records in this order.
        layers: Whose features they are.
    """

    encoder: VisionTransformer
    config: ModelConfig
    records: EvaluationData
    features: Features
    layers: tuple[int, ...]

    def places(self, part: Int64[np.ndarray, " part"]) -> Int64[np.ndarray, " part"]:
        """Return where records of the task are among the features."""
        place = np.full(len(self.records.task.rows), -1, np.int64)
        encoded = np.concatenate(self.records.whole)
        place[encoded] = np.arange(len(encoded))
        return place[part]


class Read(NamedTuple):
    """What was read from frozen features.

    Attributes:
        outcome: Predictions.
        classifier: Encoder with the trained head, or None where there is no head.
        head: Its description.
    """

    outcome: Outcome
    classifier: Classifier | None
    head: HeadConfig | None


def freeze(
    encoder: VisionTransformer,
    config: ModelConfig,
    records: EvaluationData,
    device: torch.device,
    *,
    layers: tuple[int, ...] = (),
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Frozen:
    """Return the features of all records of the task, encoded now or before."""
    size, stride = window_size(config)
    rows = records.rows(np.concatenate(records.whole))
    windows = grid_windows(records.store, rows, size=size, stride=stride)
    features = cached_features(
        encoder,
        records.normalisation,
        records.store,
        windows,
        device,
        layers=layers,
        cache=cache,
        progress=progress,
    )
    return Frozen(encoder, config, records, features, layers)


def read_linear(frozen: Frozen) -> Read:
    """Fit logistic or ridge regression on mean features."""
    records, task = frozen.records, frozen.records.task_config()
    (train, validation, test), wanted = _means(frozen)
    if task.kind == "regression":
        targets = (wanted[0] - task.centre) / task.spread
        held = (wanted[1] - task.centre) / task.spread
        fitted = fit_ridge(train, targets, validation, held)
        selected = f"penalty = {fitted.strength:g}"
    else:
        single = task.kind == "single-label"
        fitted = fit_linear_probe(train, wanted[0], validation, wanted[1], single_label=single)
        selected = f"C = {fitted.strength:g}"
    head_config = HeadConfig(
        kind="mean", num_labels=len(records.task.labels), bias=True, layers=frozen.layers
    )
    head = build_head(head_config, frozen.encoder)
    assert isinstance(head, LinearHead)
    with torch.no_grad():
        head.fc.weight.copy_(torch.from_numpy(fitted.weight))
        head.fc.bias.copy_(torch.from_numpy(fitted.bias))
    outputs = [
        outputs_of_logits(torch.from_numpy(fitted.logits(part)), task).numpy()
        for part in (validation, test)
    ]
    classifier = Classifier(frozen.encoder, head, frozen.layers)
    return Read(Outcome(outputs[0], outputs[1], None, selected), classifier, head_config)


def read_neighbours(frozen: Frozen) -> Read:
    """Let the nearest training records vote."""
    (train, validation, test), wanted = _means(frozen)
    found = fit_neighbours(train, wanted[0], validation, wanted[1], kind=frozen.records.task.kind)
    outcome = Outcome(
        validation=found.predict(validation),
        test=found.predict(test),
        fit=None,
        selected=f"k = {found.k}",
    )
    return Read(outcome, None, None)


def read_attentive(
    frozen: Frozen, settings: ProtocolConfig, seed: int, device: torch.device
) -> Read:
    """Train the paper's attentive head on stored windows, or on random crops encoded anew."""
    records, parts = frozen.records, frozen.records.parts
    head_config = HeadConfig(
        kind="attentive", num_labels=len(records.task.labels), layers=frozen.layers
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = build_head(head_config, frozen.encoder).to(device)
    assert isinstance(head, AttentiveHead)
    result = fit(
        head,
        settings,
        inputs=_token_source(frozen, settings, device),
        targets=standardised(records, parts.train),
        kind=records.task.kind,
        validate=lambda: _score_head(head, frozen, parts.validation, device),
        validation_targets=records.targets(parts.validation),
        seed=seed,
        device=device,
    )
    outcome = Outcome(
        validation=_score_head(head, frozen, parts.validation, device),
        test=_score_head(head, frozen, parts.test, device),
        fit=result,
        selected=f"step {result.best_step:,}",
    )
    classifier = Classifier(frozen.encoder.cpu(), head.cpu(), frozen.layers)
    return Read(outcome, classifier, head_config)


def standardised(
    records: EvaluationData, part: Int64[np.ndarray, " part"]
) -> Shaped[np.ndarray, "part labels"]:
    """Return what a head is trained on: labels, or a regression's values of mean 0, spread 1."""
    if records.task.kind != "regression":
        return records.targets(part)
    centre, spread = records.target_scale()
    return (records.targets(part) - centre) / spread


def _means(
    frozen: Frozen,
) -> tuple[list[np.ndarray], list[Shaped[np.ndarray, "part labels"]]]:
    """Return mean features and labels of the training, validation and test records."""
    means = frozen.features.record_means()
    parts = frozen.records.parts
    return (
        [means[frozen.places(part)] for part in parts],
        [frozen.records.targets(part) for part in parts],
    )


def stored_tokens(
    features: Features, places: Int64[np.ndarray, " train"], device: torch.device
) -> Callable[[Int64[np.ndarray, " batch"], np.random.Generator], Tensor]:
    """Return a function that gives the stored tokens of one window of each chosen record.

    Args:
        features: Where the tokens are.
        places: Where the training records are among the records of the features.
        device: Where the head is.
    """
    first, count = features.windows.first[places], features.windows.num_windows[places]

    def stored(chosen: Int64[np.ndarray, " batch"], rng: np.random.Generator) -> Tensor:
        picked = first[chosen] + (rng.random(len(chosen)) * count[chosen]).astype(np.int64)
        return torch.from_numpy(np.array(features.tokens[picked])).to(device).float()

    return stored


def _token_source(
    frozen: Frozen, settings: ProtocolConfig, device: torch.device
) -> Callable[[Int64[np.ndarray, " batch"], np.random.Generator], Tensor]:
    """Return a function that gives the tokens of one window of each chosen training record."""
    records = frozen.records
    if not settings.random_crops:
        return stored_tokens(frozen.features, frozen.places(records.parts.train), device)
    normaliser = records.normalisation.build().to(device)
    train_rows = records.rows(records.parts.train)
    size = window_size(frozen.config)[0]

    @torch.no_grad()
    def encoded_anew(chosen: Int64[np.ndarray, " batch"], rng: np.random.Generator) -> Tensor:
        signal = random_crops(records, train_rows[chosen], size, rng)
        encoder = frozen.encoder.to(device)
        return tokens_of_layers(encoder, normaliser(signal.to(device)), frozen.layers)

    return encoded_anew


@torch.inference_mode()
def _score_head(
    head: AttentiveHead, frozen: Frozen, part: Int64[np.ndarray, " part"], device: torch.device
) -> np.ndarray:
    """Return probabilities or values of some records: logits averaged over their windows."""
    tokens, windows = frozen.features.tokens, frozen.features.windows
    places = frozen.places(part)
    first, count = windows.first[places], windows.num_windows[places]
    chosen = np.concatenate([np.arange(at, at + n) for at, n in zip(first, count, strict=True)])
    logits = [
        head(torch.from_numpy(np.array(tokens[some])).to(device).float()).cpu()
        for some in np.array_split(chosen, max(1, len(chosen) // 1024))
    ]
    averaged = average_over_windows(
        torch.cat(logits),
        torch.from_numpy(np.repeat(np.arange(len(places)), count)),
        num_records=len(places),
    )
    return outputs_of_logits(averaged, frozen.records.task_config()).numpy()
