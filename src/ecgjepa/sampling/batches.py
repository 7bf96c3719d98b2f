"""Batches for pre-training: read by threads, one step ahead of the model."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int16, Int64
from torch import Tensor

from ecgjepa.config import PretrainConfig
from ecgjepa.databases.paper_statistics import paper_statistics
from ecgjepa.errors import ConfigError
from ecgjepa.sampling.inputs import DrawInputs
from ecgjepa.sampling.mixture import Mixture
from ecgjepa.sampling.resident import ResidentStore
from ecgjepa.signals.leads import LEADS
from ecgjepa.store.reading import Store

# One that is read into, one that is computed with, one whose copy to the device may be under way.
_BUFFERS = 3


class Batch(NamedTuple):
    """What one forward pass needs.

    Attributes:
        signal: Crops in µV, -32768 where invalid; still integers, to be normalised on the device.
        database: Number of each record's database, in the order of `normalisation_tables`.
        inputs: Tensors that the objective drew; its networks take them after the normalised signal.
    """

    signal: Int16[Tensor, "batch samples leads"]
    database: Int64[Tensor, " batch"]
    inputs: tuple[Tensor, ...]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device, copied without waiting where memory is pinned."""
        return Batch(
            self.signal.to(device, non_blocking=True),
            self.database.to(device, non_blocking=True),
            tuple(tensor.to(device, non_blocking=True) for tensor in self.inputs),
        )


class BatchReader:
    """Makes the batch of any (step, part): the same one, whenever and wherever it is asked for.

    The records and crops of a step depend on (seed, step) alone, what the objective draws on
    (seed, step, part), such as one share of visible patches per part. Each of ``world_size``
    processes reads its share of the rows of every part; together they read what one process would.
    """

    def __init__(
        self,
        store: Store,
        config: PretrainConfig,
        draw: DrawInputs,
        *,
        pin_memory: bool = False,
        rank: int = 0,
        world_size: int = 1,
        resident: ResidentStore | None = None,
    ) -> None:
        """Prepare to read a store as the configuration says.

        Args:
            store: Open store.
            config: Settings of the run.
            draw: Draws what the run's objective needs beside the signals.
            pin_memory: Let `steps` read into a few buffers in turn, page-locked where there is a
                CUDA device, instead of new memory for every batch.
            rank: Number of this process.
            world_size: Processes that share each batch.
            resident: Copy of the store in the memory of the device, which signals then come from.

        Raises:
            ConfigError: If the mixture's weights do not fit the store, or the processes cannot
                share a part of the batch evenly.
            StoreError: If the store does not fit the configuration.
        """
        assert 0 <= rank < world_size
        self._store = store
        self._config = config
        self._draw = draw
        self._resident = resident
        self._reuse = pin_memory and resident is None
        self._pinned = pin_memory and torch.cuda.is_available()
        self._num_parts = config.train.gradient_accumulation_steps
        self._part_size = config.train.batch_size // self._num_parts
        if self._part_size % world_size:
            raise ConfigError(
                f"train.batch_size {config.train.batch_size} in {self._num_parts} parts is not a "
                f"multiple of {world_size} processes"
            )
        share = self._part_size // world_size
        self._share = slice(rank * share, (rank + 1) * share)
        self._shape = (self._num_parts, share, config.data.window_samples, store.num_leads)
        self.mixture = Mixture(store, config.data)

    def read(self, step: int, part: int) -> Batch:
        """Return this process's share of one of a step's ``gradient_accumulation_steps`` parts."""
        if self._resident:
            return self._read(step, part, None)
        return self._read(step, part, torch.empty(self._shape[1:], dtype=torch.int16))

    def steps(self, first_step: int, last_step: int) -> Iterator[list[Batch]]:
        """Yield the parts of each step in ``range(first_step, last_step)``, reading one ahead.

        With ``pin_memory``, a step's signals belong to the caller until it asks for the next step:
        until then they are to be used, or their copy to the device begun on the current stream.
        A copy that has begun is waited for before its source is overwritten.
        """
        ring = [_Buffer(self._shape, self._pinned) for _ in range(_BUFFERS if self._reuse else 0)]
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as reader:
            ahead = reader.submit(self._read_step, first_step, ring)
            for step in range(first_step, last_step):
                current = ahead
                if step + 1 < last_step:
                    ahead = reader.submit(self._read_step, step + 1, ring)
                yield current.result()
                if ring:
                    ring[step % _BUFFERS].release()

    def _read_step(self, step: int, ring: list["_Buffer"]) -> list[Batch]:
        if self._resident:
            return [self._read(step, part, None) for part in range(self._num_parts)]
        buffer = ring[step % _BUFFERS] if ring else _Buffer(self._shape, self._pinned)
        buffer.wait()
        return [self._read(step, part, signal) for part, signal in enumerate(buffer.signals)]

    def _read(
        self, step: int, part: int, signal: Int16[Tensor, "batch samples leads"] | None
    ) -> Batch:
        """Fill ``signal``, or take the signal from the resident store."""
        assert 0 <= part < self._num_parts
        config = self._config
        seed = config.train.seed
        draw = self.mixture.draw(seed, step, config.train.batch_size)
        inputs = self._draw(seed, step, part, size=self._part_size)
        first = part * self._part_size
        rows = draw.rows[first : first + self._part_size][self._share]
        starts = draw.starts[first : first + self._part_size][self._share]
        if self._resident:
            signal = self._resident.read(rows, starts, config.data.window_samples)
        else:
            assert signal is not None
            self._store.read(rows, starts, signal.numpy())
        return Batch(
            signal,
            self._pin(torch.from_numpy(self._store.database_number[rows].astype(np.int64))),
            tuple(self._pin(values[self._share]) for values in inputs),
        )

    def _pin(self, tensor: Tensor) -> Tensor:
        # From memory that is not pinned, a copy would wait for all that the device has to do.
        return tensor.pin_memory() if self._pinned else tensor


class _Buffer:
    """Memory for the signals of one step, used again and again."""

    def __init__(self, shape: tuple[int, ...], pinned: bool) -> None:
        self.signals = torch.empty(shape, dtype=torch.int16, pin_memory=pinned)
        self._copied = torch.cuda.Event() if pinned else None

    def release(self) -> None:
        """Note on the device's queue that every copy of the signals has been asked for."""
        if self._copied is not None:
            self._copied.record()

    def wait(self) -> None:
        """Wait until those copies are done."""
        if self._copied is not None:
            self._copied.synchronize()


def normalisation_tables(
    store: Store, constants: Literal["store", "paper"] = "store"
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and std in mV, each (databases, leads), in the manifest's order.

    Args:
        store: Open store, with the databases and leads to scale.
        constants: ``store`` takes what is measured over its training records, ``paper`` what the
            paper publishes.

    Raises:
        DatabaseError: If the paper gives no constants for one of the databases.
    """
    summaries = store.manifest.databases
    if constants == "store":
        mean = np.array([summary.mean for summary in summaries.values()], np.float32)
        std = np.array([summary.std for summary in summaries.values()], np.float32)
        return mean, std
    published = [paper_statistics(name) for name in summaries]
    columns = [LEADS.index(lead) for lead in store.manifest.preprocessing.leads]
    mean = np.array([statistics.mean for statistics in published], np.float32)
    std = np.array([statistics.std for statistics in published], np.float32)
    return mean[:, columns], std[:, columns]
