"""How fast this machine is: a few seconds of the real thing, for `ecgjepa.plan`."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

import numpy as np
import torch

from ecgjepa.config import PretrainConfig
from ecgjepa.model.compute import (
    autocast,
    choose_device,
    has_fast_bfloat16,
    keep_freed_memory,
)
from ecgjepa.model.normalisation import Normaliser
from ecgjepa.objectives.build import objective_of
from ecgjepa.objectives.costs import Precision, part_size
from ecgjepa.pretraining.optim import build_optimizer
from ecgjepa.sampling.batches import Batch, BatchReader, normalisation_tables
from ecgjepa.store.reading import Store

# Seconds that a timed pass should take at least, and how often it is repeated.
_ENOUGH = 1.5
_REPEATS = 3
# Seconds of whole steps at the final size: short steps vary more.
_LONG_ENOUGH = 4.0


class Measurement(NamedTuple):
    """What was timed.

    Attributes:
        device: ``cpu``, or the GPU's name.
        precision: Precision that the configuration means on this device.
        matmul_tflops: Rate of a large matrix product, by precision.
        seconds_per_record: Forward and backward pass.
        seconds_per_step: Optimizer and target update, whatever the batch.
        records_read_per_second: From the store, by all its threads; None without a store.
        memory_bytes: Memory of the device.
        records_at_once: Batch size of the timing.
    """

    device: str
    precision: Precision
    matmul_tflops: dict[str, float]
    seconds_per_record: float
    seconds_per_step: float
    records_read_per_second: float | None
    memory_bytes: int
    records_at_once: int


def measure(config: PretrainConfig, store: Path | None, device: str = "auto") -> Measurement:
    """Time a training step on this machine, on as many records as take a second or two.

    Raises:
        ConfigError: If the device cannot be used or the configuration does not fit the store.
        StoreError: If the store is unusable.
    """
    where = choose_device(device)
    is_cuda = where.type == "cuda"
    if not is_cuda:
        keep_freed_memory()  # as a run does
    precision: Precision = config.train.precision if config.train.precision != "auto" else (
        "bfloat16" if has_fast_bfloat16(where) else "float32"
    )  # fmt: skip
    seconds, size, per_step = _time_step(config, where)
    return Measurement(
        device=torch.cuda.get_device_name(where) if is_cuda else "cpu",
        precision=precision,
        matmul_tflops={
            name: matmul_rate(where, kind) / 1e12
            for name, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
        },
        seconds_per_record=seconds / size,
        seconds_per_step=per_step,
        records_read_per_second=None if store is None else _reading_rate(config, store),
        memory_bytes=torch.cuda.get_device_properties(where).total_memory
        if is_cuda
        else physical_memory(),
        records_at_once=size,
    )


def physical_memory() -> int:
    """Return the bytes of main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _time_step(config: PretrainConfig, device: torch.device) -> tuple[float, int, float]:
    """Return the seconds of a forward and backward pass, its records, and the seconds of the rest.

    The batch is doubled until a pass takes long enough, or is as large as in the run.
    """
    networks = objective_of(config).networks().to(device)
    optimizer = build_optimizer(networks, config.train)
    leads = len(config.data.leads)
    normalise = Normaliser(
        np.zeros((1, leads), np.float32), np.ones((1, leads), np.float32), clip=config.data.clip
    ).to(device)

    def forward_backward(batch: Batch) -> None:
        moved = batch.to(device)
        with autocast(device, config.train.precision):
            output = networks(normalise(moved.signal, moved.database), *moved.inputs)
        output.loss.backward()
        output.loss.item()  # waits for the device

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        networks.update_target(0.99)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    size, passes = min(2, part_size(config)), [0.0]
    while min(passes) < _ENOUGH and size < part_size(config):
        size = min(2 * size, part_size(config))
        batch = _noise(config, size)
        passes = [_seconds(partial(forward_backward, batch)) for _ in range(2)]
    batch = _noise(config, size)
    passes, updates = [], []
    while len(passes) < _REPEATS or sum(passes) < _LONG_ENOUGH:
        passes.append(_seconds(partial(forward_backward, batch)))
        updates.append(_seconds(update))
    # The mean, not the median: a run has its slow steps too.
    return fmean(passes), size, fmean(updates)


def _noise(config: PretrainConfig, size: int) -> Batch:
    rng = np.random.default_rng(0)
    shape = (size, config.data.window_samples, len(config.data.leads))
    return Batch(
        torch.from_numpy(rng.integers(-500, 500, shape, dtype=np.int16)),
        torch.zeros(size, dtype=torch.int64),
        objective_of(config).draw(0, 0, 0, size=size),
    )


def _reading_rate(config: PretrainConfig, path: Path) -> float:
    """Return the records per second that the store's threads read, masks drawn."""
    with Store(path) as store:
        normalisation_tables(store)
        reader = BatchReader(store, config, objective_of(config).draw)
        steps, started = 0, time.perf_counter()
        while (seconds := time.perf_counter() - started) < _ENOUGH or steps < 2:
            reader.read(steps, 0)
            steps += 1
    return steps * part_size(config) / seconds


def matmul_rate(device: torch.device, kind: torch.dtype) -> float:
    """Return floating-point operations per second of a large product."""
    size = 4096 if device.type == "cuda" else 1024
    left = torch.randn(size, size, device=device).to(kind)

    def multiply() -> None:
        product = left @ left
        product[0, 0].item()

    multiply()
    return 2 * size**3 / median(_seconds(multiply) for _ in range(_REPEATS + 2))


def _seconds(job: Callable[[], None]) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started
