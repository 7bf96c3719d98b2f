"""What a distance from the training records detects: test records, spoiled as happens in archives.

Each fault is done to the stored record of whole µV, before normalisation, as if the file had come
that way; -32768 stays "no sample". Some leave every amplitude plausible: with the arms' electrodes
exchanged, a record looks like that of another heart.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int16, Int64
from torch import Tensor

from ecgjepa.evaluation.out_of_distribution import OutlierDetector, evaluate_detection
from ecgjepa.inference.windows import cut_windows, window_size
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.heads import Classifier
from ecgjepa.protocols.feature_cache import cached_means, digest_request
from ecgjepa.protocols.features import encode_means, grid_windows
from ecgjepa.protocols.request import Workspace
from ecgjepa.signals.faults import FAULTS
from ecgjepa.signals.leads import LEADS
from ecgjepa.tasks.records import EvaluationData

# Test records that are spoiled, in each way.
MAX_RECORDS = 500
# Below this share at the threshold a fault counts as hardly detected.
HARDLY = 0.5
# Changes when the same request would give other numbers.
_VERSION = 1
# Records encoded at once.
_CHUNK = 32


def evaluate_spoiled(
    classifier: Classifier,
    config: ModelConfig,
    records: EvaluationData,
    known: OutlierDetector,
    test: Float32[np.ndarray, "test dim"],
    work: Workspace,
) -> dict[str, Any]:
    """Return how well spoiled test records are detected beside the same records unspoiled.

    At most 500 test records are spoiled, evenly chosen. Encoded once: see `cached_means`.

    Args:
        classifier: Whose features are judged.
        config: Description of the encoder, which has window and leads.
        records: Records and split.
        known: The training records' features, and the threshold.
        test: Mean features of all test records.
        work: Device and cache.

    Returns:
        For ``results.json``: the threshold, the share of all test records above it, the detection
        of each fault, and which are ``hardly_detected``.
    """
    inside = known.distribution.distances(test)
    threshold = known.config.threshold
    facts = {
        **known.config.model_dump(mode="json", exclude={"sha256"}),
        "share_above_threshold": float((inside > threshold).mean()),
    }
    if config.preprocessing.leads != LEADS:
        return {**facts, "spoiled": {}, "hardly_detected": []}
    chosen = np.linspace(0, len(test) - 1, min(len(test), MAX_RECORDS)).round().astype(np.int64)
    part = records.parts.test[chosen]
    features = _spoiled_means(classifier, config, records, records.rows(part), work)
    patients = records.patients(part)
    spoiled = {
        name: {
            "description": fault.description,
            **evaluate_detection(
                inside[chosen],
                known.distribution.distances(means),
                inside_patients=patients,
                outside_patients=patients,
                same_patients=True,
                threshold=threshold,
            ),
        }
        for (name, fault), means in zip(FAULTS.items(), features, strict=True)
    }
    missed = [name for name, found in spoiled.items() if found["share_detected"] < HARDLY]
    return {**facts, "spoiled": spoiled, "hardly_detected": missed}


def _spoiled_means(
    classifier: Classifier,
    config: ModelConfig,
    records: EvaluationData,
    rows: Int64[np.ndarray, " chosen"],
    work: Workspace,
) -> Float32[np.ndarray, "faults chosen dim"]:
    encoder, reading = classifier.encoder, classifier.reading
    size, stride = window_size(config)

    def compute() -> np.ndarray:
        return np.stack(
            [
                encode_means(
                    encoder,
                    records.normalisation.build(),
                    _spoiled_windows(records, rows, number, size, stride),
                    len(rows),
                    work.device,
                    reading=reading,
                )
                for number in range(len(FAULTS))
            ]
        )

    windows = grid_windows(records.store, rows, size=size, stride=stride)
    digest = digest_request(encoder, records.normalisation, windows, reading)
    return cached_means(f"{digest}-spoiled-{_VERSION}", compute, cache=work.cache)


def _spoiled_windows(
    records: EvaluationData,
    rows: Int64[np.ndarray, " chosen"],
    number: int,
    size: int,
    stride: int,
) -> Iterator[tuple[Int16[Tensor, "_ samples leads"], Int64[np.ndarray, " _"]]]:
    """Yield the windows of some records at a time; a fault's draws depend on the record alone."""
    spoil = list(FAULTS.values())[number].spoil
    for start in range(0, len(rows), _CHUNK):
        windows = [
            cut_windows(
                spoil(records.store.read_record(row), np.random.default_rng([number, row])),
                size=size,
                stride=stride,
            )
            for row in rows[start : start + _CHUNK].tolist()
        ]
        index = np.repeat(np.arange(start, start + len(windows)), [len(some) for some in windows])
        yield torch.cat(windows), index
