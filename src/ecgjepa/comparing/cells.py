"""The cells of a comparison: one run, or one evaluation of one; what is finished is not repeated.

`evaluate` is the only place that calls the evaluation's verbs.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ecgjepa.comparing.plan import ComparisonPlan, Protocol
from ecgjepa.evaluation.finetune import finetune
from ecgjepa.evaluation.probe import probe
from ecgjepa.evaluation.results import RESULTS_FILE
from ecgjepa.evaluation.supervised import supervised
from ecgjepa.pretraining.loop import pretrain

logger = logging.getLogger(__name__)


class Cell(NamedTuple):
    """One evaluation: its arm is a residual network's name for the protocol ``supervised``."""

    arm: str
    seed: int
    task: str
    protocol: Protocol

    @property
    def folder(self) -> Path:
        """Where its results go, below the comparison's folder."""
        return Path("results") / self.task / self.protocol / f"{_file_name(self.arm)}-{self.seed}"


def list_cells(plan: ComparisonPlan) -> Iterator[Cell]:
    """Yield all evaluations of a plan."""
    for seed in plan.seeds:
        for task in plan.tasks:
            for protocol in plan.protocols:
                for arm in plan.networks if protocol == "supervised" else plan.arms:
                    yield Cell(arm, seed, task, protocol)


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
) -> dict[str, Any]:
    """Evaluate a cell unless it is done, and return its results."""
    folder = out / cell.folder
    if not (folder / RESULTS_FILE).is_file():
        logger.info("%s, seed %d: %s, %s", cell.arm, cell.seed, cell.task, cell.protocol)
        common: dict[str, Any] = {
            "task": cell.task,
            "split": plan.split,
            "overrides": plan.protocols[cell.protocol],
            "seed": cell.seed,
            "cache": cache,
            "device": device,
        }
        first = next(iter(plan.arms))
        run = run_folder(out, first if cell.protocol == "supervised" else cell.arm, cell.seed)
        match cell.protocol:
            case "linear" | "attentive":
                probe(run, data, folder, protocol=cell.protocol, **common)
            case "finetune" | "finetune-after-probe":
                # Arms with the same encoder begin alike, so from scratch is the same for them.
                fresh = plan.first_alike(cell.arm) == cell.arm
                finetune(run, data, folder, protocol=cell.protocol, from_scratch=fresh, **common)
            case "supervised":
                supervised(run, data, folder, network=cell.arm, **common)
    return json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))


def _file_name(arm: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in arm)
