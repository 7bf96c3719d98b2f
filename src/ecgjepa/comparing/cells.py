"""The pieces of a comparison: pre-training runs, and cells, the evaluations of its table."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ecgjepa.comparing.plan import ComparisonPlan, file_name, task_folder
from ecgjepa.evaluation.predictions import predictions_table
from ecgjepa.files import as_json, replacing, write_json
from ecgjepa.metrics.classification import macro_auroc
from ecgjepa.model.folder import CONFIG_FILE, MODEL_FOLDER
from ecgjepa.pretraining.loop import pretrain
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.protocols.outcome import EvaluationResult
from ecgjepa.protocols.request import (
    ProtocolRequest,
    ReadingName,
    Workspace,
    request_protocol,
)
from ecgjepa.protocols.run import run
from ecgjepa.protocols.settings import Protocol
from ecgjepa.results.layout import PREDICTIONS_FILE
from ecgjepa.results.predictions import write_table
from ecgjepa.tasks.leakage import unseen_records
from ecgjepa.tasks.records import EvaluationData
from ecgjepa.version import __version__

logger = logging.getLogger(__name__)

CELL_FILE = "cell.json"


class Run(NamedTuple):
    """One pre-training of one arm."""

    arm: str
    seed: int

    @property
    def folder(self) -> Path:
        """Where it is, below the comparison's folder."""
        return Path("runs") / f"{file_name(self.arm)}-{self.seed}"

    def is_done(self, out: Path) -> bool:
        """Whether it is finished: its model folder is written last."""
        return (out / self.folder / MODEL_FOLDER / CONFIG_FILE).is_file()


class Cell(NamedTuple):
    """One evaluation of one arm."""

    arm: str
    seed: int
    task: str
    protocol: Protocol
    label_fraction: float
    reading: ReadingName = "paper"

    @property
    def folder(self) -> Path:
        """Where its results go, below the comparison's folder."""
        read = "" if self.reading == "paper" else f"-{self.reading}"
        share = f"{self.protocol}{read}-{100 * self.label_fraction:g}"
        arm = f"{file_name(self.arm)}-{self.seed}"
        return Path("results") / task_folder(self.task) / share / arm

    def is_done(self, out: Path) -> bool:
        """Whether it is finished."""
        return (out / self.folder / CELL_FILE).is_file()


def list_runs(plan: ComparisonPlan) -> Iterator[Run]:
    """Yield all pre-trainings of a plan."""
    for seed in plan.pretraining_seeds or plan.seeds:
        for arm in plan.arms:
            yield Run(arm, seed)


def list_cells(plan: ComparisonPlan) -> Iterator[Cell]:
    """Yield all evaluations of a plan."""
    for task in plan.tasks:
        for protocol in plan.protocols:
            for fraction in protocol.label_fractions:
                for seed in plan.seeds:
                    for arm in plan.arms_of(protocol.name):
                        yield Cell(arm, seed, task, protocol.name, fraction, protocol.reading)


def run_of(plan: ComparisonPlan, cell: Cell) -> Run:
    """Return the pre-training whose encoder a cell has, or whose architecture or windows."""
    return Run(plan.encoder_of(cell.arm), plan.pretraining_seed(cell.seed))


def pretrain_arm(plan: ComparisonPlan, run: Run, store: Path, out: Path, device: str) -> None:
    """Pre-train an arm with a seed, or go on with it."""
    logger.info("pre-training %s, seed %d", run.arm, run.seed)
    preset, overrides = plan.arms[run.arm].preset, plan.overrides(run.arm, run.seed)
    pretrain(store, out / run.folder, preset=preset, overrides=overrides, device=device)


def evaluate(
    plan: ComparisonPlan,
    cell: Cell,
    records: EvaluationData,
    out: Path,
    work: Workspace,
) -> None:
    """Evaluate a cell on the records of its task and write its predictions.

    The share of the labels is drawn by the seed: it is the same for all arms.
    """
    folder = out / cell.folder
    logger.info("%s, seed %d: %s", cell.arm, cell.seed, cell.folder.parent.relative_to("results"))
    begin = time.monotonic()
    encoder = load_encoder(out / run_of(plan, cell).folder)
    request = request_of(plan, cell)
    request.check_encoder(encoder.config)
    labelled = unseen_records(records, encoder.config).with_labels(cell.label_fraction, cell.seed)
    result = run(encoder, labelled, request, work)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / PREDICTIONS_FILE) as stream:
        table = predictions_table(result.records, {cell.arm: result.outcome})
        write_table(table, stream)
    content = {**cell._asdict(), **_describe_result(result), "seconds": time.monotonic() - begin}
    write_json(folder / CELL_FILE, as_json(content))  # last: it says that the cell is done


def request_of(plan: ComparisonPlan, cell: Cell) -> ProtocolRequest:
    """Return what a cell asks of its protocol."""
    baseline = plan.baselines.get(cell.arm)
    protocol: Protocol = cell.protocol
    if baseline is not None and baseline.kind == "scratch":
        protocol = "scratch"
    return request_protocol(
        protocol,
        plan.specification(cell.protocol, cell.reading).overrides,
        seed=cell.seed,
        reading=cell.reading,
        untrained=baseline is not None and baseline.kind == "untrained",
        network="" if baseline is None else baseline.network,
        probe_overrides=plan.specification("attentive", cell.reading).overrides,
    )


def read_cell(out: Path, cell: Cell) -> dict[str, Any]:
    """Return what is written of a finished cell."""
    return json.loads((out / cell.folder / CELL_FILE).read_text(encoding="utf-8"))


def _describe_result(result: EvaluationResult) -> dict[str, Any]:
    records, outcome = result.records, result.outcome
    parts = records.parts
    return {
        "software_version": __version__,
        "settings": result.settings,
        "counts": {name: len(part) for name, part in parts._asdict().items()},
        "selected": outcome.selected,
        "validation_macro_auroc": macro_auroc(
            records.targets(parts.validation), outcome.validation
        ),
        "test_macro_auroc": macro_auroc(records.targets(parts.test), outcome.test),
        "history": outcome.history("macro_auroc"),
    }
