"""Which records and crops make a batch: databases by weight, records and crops uniformly.

As published, records are drawn with replacement and there are no epochs; shuffling is the other
way. A step's draws depend on (seed, step) alone, so a resumed run continues as if it had never
stopped, and any number of processes shares the same batch.
"""

import logging
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from ecgjepa.config import DataConfig
from ecgjepa.errors import ConfigError, StoreError
from ecgjepa.sampling.shuffle import shuffled_draws
from ecgjepa.store.reading import Store

logger = logging.getLogger(__name__)

# Independent random streams of one seed.
_RECORDS, _MASKS, _SHUFFLE, _LEADS, _VIEWS, _DIRECTIONS = 0, 1, 2, 3, 4, 5


class Draw(NamedTuple):
    """Store rows and the first sample of each crop."""

    rows: Int64[np.ndarray, " batch"]
    starts: Int64[np.ndarray, " batch"]


def records_rng(seed: int, step: int) -> np.random.Generator:
    """Return the generator of a step's records and crops."""
    return np.random.default_rng([seed, _RECORDS, step, 0])


def masks_rng(seed: int, step: int, part: int = 0) -> np.random.Generator:
    """Return the generator of masks for a part of a step's batch."""
    return np.random.default_rng([seed, _MASKS, step, part])


def leads_rng(seed: int, step: int, part: int = 0) -> np.random.Generator:
    """Return the generator of the leads that a part of a step's batch keeps."""
    return np.random.default_rng([seed, _LEADS, step, part])


def views_rng(seed: int, step: int, part: int = 0) -> np.random.Generator:
    """Return the generator of the augmentations of a part of a step's batch."""
    return np.random.default_rng([seed, _VIEWS, step, part])


def directions_rng(seed: int, step: int, part: int = 0) -> np.random.Generator:
    """Return the generator of the directions that a part of a step's batch is projected on."""
    return np.random.default_rng([seed, _DIRECTIONS, step, part])


def shuffle_rng(seed: int) -> np.random.Generator:
    """Return the generator of a run's shuffled orders."""
    return np.random.default_rng([seed, _SHUFFLE])


class Mixture:
    """The records that may be drawn, and how likely each database is.

    Attributes:
        weights: Share of each database in the batches.
        num_records: Records that may be drawn, per database.
        num_too_short: Records left out because they are shorter than a window.
    """

    def __init__(self, store: Store, data: DataConfig) -> None:
        """Find what of a store can be drawn.

        Raises:
            ConfigError: If weights name a database that the store lacks.
            StoreError: If rate or leads differ from the configuration, or nothing is long enough.
        """
        _check_signals(store, data)
        self._window = data.window_samples
        self._shuffled = data.sampling == "shuffle"
        self._num_samples = store.num_samples
        long_enough = store.num_samples >= self._window
        self.num_too_short = int((~long_enough).sum())
        rows = {
            name: np.flatnonzero((store.database_number == number) & long_enough)
            for number, name in enumerate(store.manifest.databases)
        }
        weights = _weights(data.weights, {name: len(found) for name, found in rows.items()}, store)
        total = sum(weights.values())
        self.weights = {name: weight / total for name, weight in weights.items()}
        self.num_records = {name: len(rows[name]) for name in weights}
        self._rows = np.concatenate([rows[name] for name in weights])
        self._sizes = np.array(list(self.num_records.values()))
        self._firsts = np.cumsum(self._sizes) - self._sizes

    def draw(self, seed: int, step: int, size: int) -> Draw:
        """Draw the ``size`` records and crops of a step; the same whenever it is asked for."""
        rng = records_rng(seed, step)
        if self._shuffled:
            database, place = shuffled_draws(
                shuffle_rng(seed), self._shares, self._sizes, step * size, (step + 1) * size
            )
        else:
            edges = np.cumsum(self._shares)
            database = np.searchsorted(edges, rng.random(size), side="right")
            database = np.minimum(database, len(edges) - 1)
            place = (rng.random(size) * self._sizes[database]).astype(np.int64)
        rows = self._rows[self._firsts[database] + place]
        starts = rng.integers(0, self._num_samples[rows] - self._window + 1)
        return Draw(rows, starts)

    @property
    def _shares(self) -> Float64[np.ndarray, " databases"]:
        return np.array(list(self.weights.values()))


def _check_signals(store: Store, data: DataConfig) -> None:
    preprocessing = store.manifest.preprocessing
    if preprocessing.sampling_rate != data.sampling_rate:
        raise StoreError(
            f"{store.path}: holds {preprocessing.sampling_rate:g} Hz, but the preset needs "
            f"{data.sampling_rate:g} Hz; prepare it with --sampling-rate {data.sampling_rate:g}"
        )
    if preprocessing.leads != data.leads:
        raise StoreError(
            f"{store.path}: holds leads {', '.join(preprocessing.leads)}, but the preset needs "
            f"{', '.join(data.leads)}"
        )


def _weights(given: dict[str, float], counts: dict[str, int], store: Store) -> dict[str, float]:
    """Return positive weights of databases with records; proportional to size by default."""
    if not given:
        given = {name: float(count) for name, count in counts.items()}
    unknown = sorted(set(given) - set(counts))
    if unknown:
        raise ConfigError(
            f"data.weights names {', '.join(unknown)}, but {store.path} holds only "
            f"{', '.join(sorted(counts))}; prepare the missing databases, or give other weights, "
            f"e.g. --set 'data.weights={{{next(iter(counts))}: 1}}'"
        )
    for name in sorted(set(counts) - set(given)):
        logger.warning("%s is in the store but has no weight: it is not used", name)
    weights = {name: weight for name, weight in given.items() if weight > 0}
    empty = sorted(name for name in weights if counts[name] == 0)
    if empty or not weights:
        raise StoreError(
            f"{store.path}: no record of {', '.join(empty or sorted(counts))} is as long as a "
            "training window; use a shorter data.window_seconds"
        )
    return weights
