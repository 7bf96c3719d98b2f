"""What a run will cost, before anything is spent: counted, and on request measured.

Counting needs no torch and takes no time. The expected time comes either from a few seconds of
training on this machine, or from a rate that is given for another.
"""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ecgjepa.config import PretrainConfig, load_preset
from ecgjepa.errors import ConfigError
from ecgjepa.objectives.build import objective_of
from ecgjepa.objectives.costs import Flops, Parameters, Precision
from ecgjepa.planning.costs import (
    Disk,
    Memory,
    RecordBytes,
    count_bytes,
    count_flops,
    count_parameters,
    estimate_disk,
    estimate_memory,
)
from ecgjepa.store.amplitudes import findings_of_store
from ecgjepa.store.manifest import Manifest, read_manifest

if TYPE_CHECKING:  # measuring needs torch, counting does not
    from ecgjepa.planning.measure import Measurement


logger = logging.getLogger(__name__)


class Speed(NamedTuple):
    """How fast a run is expected to go.

    Attributes:
        seconds_per_step: Wall time.
        records_per_second: Records of the whole run per second.
        computed_per_second: Records the device could compute.
        read_per_second: Records the store could deliver; None if not measured.
        seconds: Wall time of all steps, without start, checkpoints and probes.
    """

    seconds_per_step: float
    records_per_second: float
    computed_per_second: float
    read_per_second: float | None
    seconds: float


class Plan(NamedTuple):
    """What a run needs.

    Attributes:
        preset: Name or file.
        config: All settings.
        precision: Type that products run in; bfloat16 is assumed where nothing was measured.
        parameters: Numbers of parameters.
        flops: Per record and step.
        record_bytes: Per record and step.
        memory: Bytes on the device at the peak of a step.
        disk: Checkpoints and store.
        draws_per_record: Mean number of times that a record of the store is drawn.
        memory_bytes: Memory of the device, or None if not known.
        free_disk: Bytes free in the current folder, if this machine is meant.
        measured: Timings, or None if nothing was timed.
        speed: None without a measurement or a given rate.
        limit: Words on what limits the run.
    """

    preset: str
    config: PretrainConfig
    precision: Precision
    parameters: Parameters
    flops: Flops
    record_bytes: RecordBytes
    memory: Memory
    disk: Disk
    draws_per_record: float | None
    memory_bytes: int | None
    free_disk: int | None
    measured: "Measurement | None"
    speed: Speed | None
    limit: str

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON content, with totals."""
        train = self.config.train
        content = {
            name: value._asdict() if hasattr(value, "_asdict") else value
            for name, value in self._asdict().items()
            if name != "config"
        }
        content["parameters"] |= {
            "trained": self.parameters.trained,
            "in_memory": self.parameters.in_memory,
        }
        content["flops"]["total"] = self.flops.total
        content["memory"]["total"] = self.memory.total
        return {"steps": train.steps, "batch_size": train.batch_size, **content}


def plan(
    preset: str | Path = "tiny",
    *,
    overrides: Sequence[str] = (),
    store: str | Path | None = None,
    measure: bool = False,
    tflops: float | None = None,
    memory_gb: float | None = None,
    device: str = "auto",
) -> Plan:
    """Return what a pre-training run needs, and what would limit it.

    Args:
        preset: Preset or YAML file.
        overrides: ``section.key=value`` items.
        store: Store it would read; for its size, and its speed with ``measure``.
        measure: Time a step on this machine, for a few seconds.
        tflops: In place of that, the TFLOP/s that training sustains on the machine in mind; a
            fraction of what its data sheet says.
        memory_gb: Memory of that machine's device in GB (10⁹ bytes).
        device: ``auto``, ``cpu`` or ``cuda``, for ``measure``.

    Raises:
        ConfigError: If preset, overrides and store do not fit together, or both a measurement
            and a rate are asked for.
        StoreError: If the store is unusable.

    Example:
        >>> import ecgjepa
        >>> ecgjepa.plan("tiny").parameters.encoder
        454848
    """
    config = load_preset(preset, overrides)
    objective_of(config)  # refuses what cannot be trained
    if measure and (tflops is not None or memory_gb is not None):
        raise ConfigError("measure is for this machine, tflops and memory for another; choose one")
    if tflops is not None and tflops <= 0:
        raise ConfigError(f"tflops {tflops:g}: expected a rate above 0")
    manifest = None if store is None else read_manifest(Path(store))
    stored = None if manifest is None else _stored_bytes(Path(store or ""), manifest)
    if store is not None:
        for words in findings_of_store(Path(store)):
            logger.warning("%s", words)
    measured = _measure(config, store, device) if measure else None
    precision = _precision(config) if measured is None else measured.precision
    flops = count_flops(config)
    found = Plan(
        preset=str(preset),
        config=config,
        precision=precision,
        parameters=count_parameters(config),
        flops=flops,
        record_bytes=count_bytes(config, _packed_record(manifest, stored)),
        memory=estimate_memory(config, precision, on_cpu=_is_cpu(measured)),
        disk=estimate_disk(config, stored),
        draws_per_record=None
        if manifest is None
        else config.train.steps * config.train.batch_size / max(1, manifest.num_records),
        memory_bytes=_available(measured, memory_gb),
        free_disk=shutil.disk_usage(Path.cwd()).free if measure else None,
        measured=measured,
        speed=_speed(config, flops, tflops, measured),
        limit="",
    )
    return found._replace(limit=_limit(found))


def _measure(config: PretrainConfig, store: str | Path | None, device: str) -> "Measurement":
    from ecgjepa.planning.measure import measure as run

    return run(config, None if store is None else Path(store), device)


def _stored_bytes(store: Path, manifest: Manifest) -> int:
    return sum((store / name).stat().st_size for name in manifest.shards)


def _packed_record(manifest: Manifest | None, stored: int | None) -> float | None:
    """Return the mean bytes of a record that is read whole, or None where windows are read."""
    if manifest is None or stored is None or manifest.codec == "raw":
        return None
    return stored / max(1, manifest.num_records)


def _is_cpu(measured: "Measurement | None") -> bool:
    return measured is not None and measured.device == "cpu"


def _precision(config: PretrainConfig) -> Precision:
    return "bfloat16" if config.train.precision == "auto" else config.train.precision


def _available(measured: "Measurement | None", memory_gb: float | None) -> int | None:
    if measured is not None:
        return measured.memory_bytes
    return None if memory_gb is None else round(memory_gb * 1e9)


def _speed(
    config: PretrainConfig, flops: Flops, tflops: float | None, measured: "Measurement | None"
) -> Speed | None:
    """Return the expected speed: a GPU computes while the store is read, a CPU cannot do both."""
    batch, steps = config.train.batch_size, config.train.steps
    if measured is None:
        if tflops is None:
            return None
        computing, reading, per_second = batch * flops.total / (tflops * 1e12), 0.0, None
    else:
        per_second = measured.records_read_per_second
        computing = batch * measured.seconds_per_record + measured.seconds_per_step
        reading = 0.0 if per_second is None else batch / per_second
    seconds = computing + reading if _is_cpu(measured) else max(computing, reading)
    return Speed(seconds, batch / seconds, batch / computing, per_second, steps * seconds)


def _limit(found: Plan) -> str:
    """Return in words what the run meets first: memory or disk that is too small, or a rate."""
    needed, available, speed = found.memory.total, found.memory_bytes, found.speed
    if available is not None and needed > available:
        return (
            f"memory: a step needs {needed / 1e9:.1f} GB, the device has {available / 1e9:.1f} GB; "
            + _advice(found, available)
        )
    if found.free_disk is not None and found.disk.checkpoints > found.free_disk:
        return (
            f"disk: the checkpoints need {found.disk.checkpoints / 1e9:.1f} GB, "
            f"{found.free_disk / 1e9:.1f} GB are free here; set train.keep_checkpoints"
        )
    if speed is None:
        return "not known: nothing was measured and no rate given; see --measure and --tflops"
    if speed.read_per_second is None:
        return "computing; how fast a store is read was not measured"
    if speed.read_per_second < speed.computed_per_second:
        return (
            f"reading: the store gives {speed.read_per_second:,.0f} records/s, the device could "
            f"compute {speed.computed_per_second:,.0f}"
        )
    return (
        f"computing: {speed.computed_per_second:,.0f} records/s, while the store gives "
        f"{speed.read_per_second:,.0f}"
    )


def _advice(found: Plan, available: int) -> str:
    """Return the least division of the batch that fits."""
    train = found.config.train
    for parts in range(train.gradient_accumulation_steps + 1, train.batch_size + 1):
        if train.batch_size % parts:
            continue
        divided = train.model_copy(update={"gradient_accumulation_steps": parts})
        smaller = found.config.model_copy(update={"train": divided})
        memory = estimate_memory(smaller, found.precision, on_cpu=_is_cpu(found.measured))
        if memory.total <= available:
            return f"{memory.total / 1e9:.1f} GB with train.gradient_accumulation_steps={parts}"
    return "no division of the batch makes it fit"
