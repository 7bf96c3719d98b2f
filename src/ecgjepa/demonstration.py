"""The whole way once, small: from ECG files to a report, on simulated or real records."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ecgjepa.config import load_preset
from ecgjepa.errors import ConfigError
from ecgjepa.evaluation.finetune import finetune
from ecgjepa.evaluation.probe import probe
from ecgjepa.evaluation.results import Evaluation
from ecgjepa.pretraining.loop import pretrain
from ecgjepa.reporting.page import report
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.simulation.database import holds_simulation, simulate
from ecgjepa.store.prepare import prepare
from ecgjepa.tasks.split import PAPER_SPLIT, Split, check_split
from ecgjepa.tasks.task import check_task

logger = logging.getLogger(__name__)

_STEPS = 7
# Enough for differences of a few hundredths to show at this size, within minutes on two cores.
_PROBE = ("steps=2000",)
_FINETUNE = ("steps=400", "validate_every=50", "warmup_steps=40")


class Demonstration(NamedTuple):
    """What the demo leaves behind.

    Attributes:
        report: The HTML page.
        evaluations: Results in the order of the report.
        seconds: Wall time.
    """

    report: Path
    evaluations: list[Evaluation]
    seconds: float


def demo(
    out: str | Path = "demo",
    *,
    data: Mapping[str, str | Path] | None = None,
    records: int = 2000,
    preset: str = "tiny",
    task: str = "superdiagnostic",
    split: Split = PAPER_SPLIT,
    seed: int = 0,
    overrides: Sequence[str] = (),
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Demonstration:
    """Run every step of the package, small; steps that are already done are not repeated.

    Args:
        out: Folder for everything.
        data: A real PTB-XL folder, ``{"ptb-xl": DIR}``; simulated ECGs by default.
        records: How many to simulate.
        preset: Preset of the pre-training.
        task: Task of the evaluation.
        split: Folds for training, selection and test.
        seed: Seed of simulation, pre-training and evaluation.
        overrides: ``section.key=value`` items of the pre-training.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Called with (done, in all) within a step.

    Raises:
        EcgjepaError: A named subclass for whatever is wrong with the data or settings.

    Example:
        >>> import ecgjepa
        >>> found = ecgjepa.demo(
        ...     "demo", records=300, overrides=["train.steps=4", "train.warmup_steps=1"]
        ... )
        >>> found.report
        PosixPath('demo/report.html')
    """
    out, started = Path(out), time.perf_counter()
    if data is not None and set(data) != {"ptb-xl"}:
        raise ConfigError(f"the demo runs on ptb-xl=DIR; found {', '.join(data)}")
    check_task(task)
    check_split(split)
    overrides = [f"train.seed={seed}", *overrides]
    config = load_preset(preset, overrides)
    preprocessing = PreprocessingConfig(
        sampling_rate=config.data.sampling_rate, leads=config.data.leads
    )
    if data is None:
        with _step(1, f"simulating {records:,} labelled ECGs in PTB-XL's layout"):
            source = out / "ptb-xl"
            if not holds_simulation(source, records=records, seed=seed):
                if (out / "store").exists():
                    raise ConfigError(
                        f"{out} holds a demo of other records than {records:,} simulated with "
                        f"seed {seed} by this version; choose another folder"
                    )
                simulate(records, source, seed=seed, progress=progress)
            data = {"ptb-xl": source}
    else:
        logger.info("[1/%d] using %s", _STEPS, data["ptb-xl"])
    with _step(2, f"preparing training folds {_range(split.train)} into a store"):
        store = out / "store"
        prepare(data, store, folds=split.train, preprocessing=preprocessing, progress=progress)
    with _step(3, f"pre-training with JEPA (preset {preset})"):
        run = pretrain(store, out / "pretrain", preset=preset, overrides=overrides, device=device)
    shared: dict[str, Any] = {
        "data": data,
        "task": task,
        "split": split,
        "seed": seed,
        "device": device,
        "progress": progress,
        "cache": out / "cache",
    }
    with _step(4, "linear probe of the frozen encoder, beside the untrained one"):
        linear = probe(run, out=out / "probe-linear", protocol="linear", **shared)
    with _step(5, "attentive probe of the frozen encoder, beside the untrained one"):
        attentive = probe(run, out=out / "probe-attentive", overrides=_PROBE, **shared)
    with _step(6, "fine-tuning, beside training from scratch"):
        tuned = finetune(attentive.path, out=out / "finetune", overrides=_FINETUNE, **shared)
    evaluations = [linear, attentive, tuned]
    with _step(7, "writing the report"):
        page = report([run, *(item.path for item in evaluations)], out / "report.html")
    return Demonstration(page, evaluations, time.perf_counter() - started)


@contextmanager
def _step(number: int, text: str) -> Iterator[None]:
    logger.info("[%d/%d] %s", number, _STEPS, text)
    started = time.perf_counter()
    yield
    logger.info("      %.0f s", time.perf_counter() - started)


def _range(folds: tuple[int, ...]) -> str:
    if folds == tuple(range(folds[0], folds[-1] + 1)) and len(folds) > 1:
        return f"{folds[0]} to {folds[-1]}"
    return ", ".join(map(str, folds))
