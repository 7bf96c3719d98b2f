"""Batches for pre-training: read by threads, one step ahead of the model."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int16, Int64
from torch import Tensor

from ecgjepa.config import PretrainConfig
from ecgjepa.sampling.masking import sample_masks
from ecgjepa.sampling.mixture import Mixture, masks_rng, records_rng
from ecgjepa.store.reading import Store


class Batch(NamedTuple):
    """What one forward pass needs.

    Attributes:
        signal: Crops in µV, -32768 where invalid; still integers, to be normalised on the device.
        database: Number of each record's database, in the order of `normalisation_tables`.
        context_index: Visible patches.
        target_index: Masked patches.
    """

    signal: Int16[Tensor, "batch samples leads"]
    database: Int64[Tensor, " batch"]
    context_index: Int64[Tensor, "batch context"]
    target_index: Int64[Tensor, "batch target"]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device, copied without waiting where memory is pinned."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


class BatchReader:
    """Makes the batch of any (step, part): the same one, whenever and wherever it is asked for."""

    def __init__(self, store: Store, config: PretrainConfig, *, pin_memory: bool = False) -> None:
        """Prepare to read a store as the configuration says.

        Raises:
            ConfigError: If the mixture's weights do not fit the store.
            StoreError: If the store does not fit the configuration.
        """
        self._store = store
        self._config = config
        self._pin_memory = pin_memory
        self.mixture = Mixture(store, config.data)

    def read(self, step: int, part: int) -> Batch:
        """Return one of a step's ``gradient_accumulation_steps`` parts."""
        config = self._config
        size = config.train.batch_size // config.train.gradient_accumulation_steps
        draw = self.mixture.draw(records_rng(config.train.seed, step, part), size)
        masks = sample_masks(
            config.mask,
            masks_rng(config.train.seed, step, part),
            batch_size=size,
            num_patches=config.num_patches,
        )
        signal = torch.empty(
            size,
            config.data.window_samples,
            self._store.num_leads,
            dtype=torch.int16,
            pin_memory=self._pin_memory,
        )
        self._store.read(draw.rows, draw.starts, signal.numpy())
        return Batch(
            signal,
            torch.from_numpy(self._store.database_number[draw.rows].astype(np.int64)),
            torch.from_numpy(masks.context_index),
            torch.from_numpy(masks.target_index),
        )

    def steps(self, first_step: int, last_step: int) -> Iterator[list[Batch]]:
        """Yield the parts of each step in ``range(first_step, last_step)``, reading one ahead."""
        parts = range(self._config.train.gradient_accumulation_steps)
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as reader:
            ahead = [reader.submit(self.read, first_step, part) for part in parts]
            for step in range(first_step, last_step):
                current = ahead
                if step + 1 < last_step:
                    ahead = [reader.submit(self.read, step + 1, part) for part in parts]
                yield [job.result() for job in current]


def normalisation_tables(store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and std in mV, each (databases, leads), in the manifest's order."""
    summaries = store.manifest.databases.values()
    return (
        np.array([summary.mean for summary in summaries], np.float32),
        np.array([summary.std for summary in summaries], np.float32),
    )
