"""The cells of a comparison: one run, or one evaluation of an arm. None is repeated."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ecgjepa import __version__
from ecgjepa.comparing.plan import ComparisonPlan, Evaluated
from ecgjepa.evaluation.metrics import as_json, macro_auroc
from ecgjepa.evaluation.results import PREDICTIONS_FILE, predictions_table
from ecgjepa.evaluation.running import EvaluationResult, Protocol, run_protocol
from ecgjepa.files import replacing, write_json
from ecgjepa.pretraining.loop import pretrain

logger = logging.getLogger(__name__)

CELL_FILE = "cell.json"


class Cell(NamedTuple):
    """One evaluation of one arm."""

    arm: str
    seed: int
    task: str
    protocol: Evaluated
    label_fraction: float

    @property
    def folder(self) -> Path:
        """Where its results go, below the comparison's folder."""
        share = f"{self.protocol}-{100 * self.label_fraction:g}"
        return Path("results") / self.task / share / f"{_file_name(self.arm)}-{self.seed}"


def list_cells(plan: ComparisonPlan) -> Iterator[Cell]:
    """Yield all evaluations of a plan."""
    for seed in plan.seeds:
        for task in plan.tasks:
            for protocol in plan.protocols:
                for fraction in protocol.label_fractions:
                    for arm in plan.arms_of(protocol.name):
                        yield Cell(arm, seed, task, protocol.name, fraction)


def pretrain_arm(
    plan: ComparisonPlan, arm: str, seed: int, store: Path, out: Path, device: str
) -> Path:
    """Pre-train an arm with a seed, or go on with it, and return its run."""
    run = run_folder(out, arm, seed)
    preset, overrides = plan.arms[arm].preset, plan.overrides(arm, seed)
    return pretrain(store, run, preset=preset, overrides=overrides, device=device)


def run_folder(out: Path, arm: str, seed: int) -> Path:
    """Return where an arm's run is."""
    return out / "runs" / f"{_file_name(arm)}-{seed}"


def evaluate(
    plan: ComparisonPlan,
    cell: Cell,
    data: Mapping[str, str | Path],
    out: Path,
    *,
    cache: Path | None,
    device: str,
) -> None:
    """Evaluate a cell and write its predictions, unless that is done.

    The share of the labels is drawn by the seed: it is the same for all arms.
    """
    folder = out / cell.folder
    if (folder / CELL_FILE).is_file():
        return
    logger.info("%s, seed %d: %s", cell.arm, cell.seed, cell.folder.parent.relative_to("results"))
    begin = time.monotonic()
    baseline = plan.baselines.get(cell.arm)
    protocol: Protocol = cell.protocol
    if baseline is not None and baseline.kind == "scratch":
        protocol = "scratch"
    result = run_protocol(
        run_folder(out, plan.encoder_of(cell.arm), cell.seed),
        data,
        task=cell.task,
        protocol=protocol,
        split=plan.split,
        seed=cell.seed,
        untrained=baseline is not None and baseline.kind == "untrained",
        label_fraction=cell.label_fraction,
        label_draw=cell.seed,
        network="" if baseline is None else baseline.network,
        overrides=plan.protocol(cell.protocol).overrides,
        cache=cache,
        device=device,
    )
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / PREDICTIONS_FILE) as stream:
        table = predictions_table(result.records, {cell.arm: result.outcome})
        table.to_parquet(stream, index=False)
    content = {**cell._asdict(), **_describe(result), "seconds": time.monotonic() - begin}
    write_json(folder / CELL_FILE, as_json(content))  # last: it says that the cell is done
    result.records.store.close()


def read_cell(out: Path, cell: Cell) -> dict[str, Any]:
    """Return what is written of a finished cell."""
    return json.loads((out / cell.folder / CELL_FILE).read_text(encoding="utf-8"))


def _describe(result: EvaluationResult) -> dict[str, Any]:
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
        "history": [] if outcome.fit is None else [v._asdict() for v in outcome.fit.history],
    }


def _file_name(arm: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in arm)
