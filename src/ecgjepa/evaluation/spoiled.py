"""What a distance from the training records detects: test records, spoiled as happens in archives.

Each fault is done to the stored record of whole µV, before normalisation, as if the file had come
that way; -32768 stays "no sample". Some leave every amplitude plausible: with the arms' electrodes
exchanged, a record looks like that of another heart.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int16, Int64
from torch import Tensor

from ecgjepa.evaluation.data import EvaluationData
from ecgjepa.evaluation.feature_cache import cached_means, digest_request
from ecgjepa.evaluation.features import encode_means, grid_windows
from ecgjepa.evaluation.out_of_distribution import Known, evaluate_detection
from ecgjepa.inference.windows import cut_windows, window_size
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.heads import Classifier
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.units import INVALID_MICROVOLT

# Test records that are spoiled, in each way.
MAX_RECORDS = 500
# Below this share at the threshold a fault counts as hardly detected.
HARDLY = 0.5
# Changes when the same request would give other numbers.
_VERSION = 1
# Records encoded at once.
_CHUNK = 32
# What the store can hold, in µV.
_MOST = 32767

# Samples of all of `LEADS`, in this order.
Samples = Int16[np.ndarray, "samples leads"]


class Fault(NamedTuple):
    """A way in which a record may be spoiled.

    Attributes:
        description: For people.
        spoil: From samples in µV and a generator to the spoiled samples.
    """

    description: str
    spoil: Callable[[Samples, np.random.Generator], Samples]


def swap_arms(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return what is recorded with the electrodes of both arms exchanged (Einthoven's triangle)."""
    swapped = samples.copy()
    swapped[:, _columns("I")] = _scaled(samples[:, _columns("I")], -1)
    order = _columns("II", "III", "aVR", "aVL")
    swapped[:, order] = samples[:, _columns("III", "II", "aVL", "aVR")]
    return swapped


def reverse_chest(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return V6 to V1 in the place of V1 to V6."""
    swapped = samples.copy()
    chest = _columns("V1", "V2", "V3", "V4", "V5", "V6")
    swapped[:, chest] = samples[:, chest[::-1]]
    return swapped


def shuffle_leads(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return the leads in a random order, none in its place."""
    places = np.arange(len(LEADS))
    order = places
    while (order == places).any():
        order = rng.permutation(places)
    return samples[:, order]


def invert(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return all leads upside down."""
    return _scaled(samples, -1)


def amplify(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return ten times the amplitudes, as far as the store can hold them."""
    return _scaled(samples, 10)


def weaken(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return a tenth of the amplitudes."""
    return _scaled(samples, 0.1)


def leave_one(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return lead II alone; the others are flat."""
    left = np.where(samples == INVALID_MICROVOLT, samples, np.int16(0))
    left[:, _columns("II")] = samples[:, _columns("II")]
    return left


def add_noise(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return each lead with white noise of the same power as itself (0 dB)."""
    valid = samples != INVALID_MICROVOLT
    power = np.var(samples, axis=0, where=valid, dtype=np.float64) if len(samples) else 0.0
    noise = rng.standard_normal(samples.shape) * np.sqrt(np.nan_to_num(power))
    return _kept(samples + noise, samples)


FAULTS = {
    "arms swapped": Fault("electrodes of right and left arm exchanged", swap_arms),
    "chest reversed": Fault("V1 to V6 in reverse order", reverse_chest),
    "leads shuffled": Fault("leads in a random order, none in its place", shuffle_leads),
    "upside down": Fault("all leads inverted", invert),
    "gain 10": Fault("amplitudes ten times too large", amplify),
    "gain 0.1": Fault("amplitudes ten times too small", weaken),
    "one lead left": Fault("all leads flat but II", leave_one),
    "noise 0 dB": Fault("white noise as strong as each lead", add_noise),
}


def evaluate_spoiled(
    classifier: Classifier,
    config: ModelConfig,
    records: EvaluationData,
    known: Known,
    test: Float32[np.ndarray, "test dim"],
    *,
    device: torch.device,
    cache: str | Path | None = None,
) -> dict[str, Any]:
    """Return how well spoiled test records are told from the same records as they are.

    At most 500 test records are spoiled, evenly chosen. Encoded once: see `cached_means`.

    Args:
        classifier: Whose features are judged.
        config: Of its encoder: window and leads.
        records: Records and split.
        known: The training records' features, and the threshold.
        test: Mean features of all test records.
        device: Where to encode.
        cache: Folder.

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
    features = _spoiled_means(classifier, config, records, records.rows(part), device, cache)
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
    device: torch.device,
    cache: str | Path | None,
) -> Float32[np.ndarray, "faults chosen dim"]:
    encoder, layers = classifier.encoder, classifier.layers
    size, stride = window_size(config)

    def compute() -> np.ndarray:
        return np.stack(
            [
                encode_means(
                    encoder,
                    records.normalisation.build(),
                    _spoiled_windows(records, rows, number, size, stride),
                    len(rows),
                    device,
                    layers=layers,
                )
                for number in range(len(FAULTS))
            ]
        )

    windows = grid_windows(records.store, rows, size=size, stride=stride)
    digest = digest_request(encoder, records.normalisation, records.store, windows, layers)
    return cached_means(f"{digest}-spoiled-{_VERSION}", compute, cache=cache)


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


def _columns(*leads: str) -> list[int]:
    return [LEADS.index(lead) for lead in leads]


def _scaled(samples: Samples, factor: float) -> Samples:
    return _kept(samples.astype(np.float64) * factor, samples)


def _kept(changed: np.ndarray, samples: Samples) -> Samples:
    """Return changed amplitudes as `to_microvolt` stores them: beyond its range, no sample."""
    rounded = np.rint(changed)
    kept = (samples != INVALID_MICROVOLT) & (np.abs(rounded) <= _MOST)
    return np.where(kept, rounded, INVALID_MICROVOLT).astype(np.int16)
