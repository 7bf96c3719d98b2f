"""Heads on frozen features: the attentive and the linear probe, and nearest neighbours."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, Shaped

from ecgjepa.inference.windows import outputs_of_logits, window_size
from ecgjepa.model.encoder import VisionTransformer
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.heads import (
    Classifier,
    HeadConfig,
    LinearHead,
    build_head,
)
from ecgjepa.protocols.feature_cache import cached_features
from ecgjepa.protocols.features import Features, grid_windows
from ecgjepa.protocols.linear import fit_linear_probe, fit_ridge
from ecgjepa.protocols.neighbours import fit_neighbours
from ecgjepa.protocols.outcome import Outcome, ProbeResult
from ecgjepa.tasks.records import EvaluationData


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


def read_linear(frozen: Frozen) -> ProbeResult:
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
    return ProbeResult(Outcome(outputs[0], outputs[1], None, selected), classifier, head_config)


def read_neighbours(frozen: Frozen) -> ProbeResult:
    """Let the nearest training records vote."""
    (train, validation, test), wanted = _means(frozen)
    found = fit_neighbours(train, wanted[0], validation, wanted[1], kind=frozen.records.task.kind)
    outcome = Outcome(
        validation=found.predict(validation),
        test=found.predict(test),
        fit=None,
        selected=f"k = {found.k}",
    )
    return ProbeResult(outcome, None, None)


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
