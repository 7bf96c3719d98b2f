"""Do the runs and cells of a comparison: in this process, or by the workers of joblib's backend."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ecgjepa.comparing.cells import (
    Cell,
    Run,
    evaluate,
    list_cells,
    list_runs,
    pretrain_arm,
    run_of,
)
from ecgjepa.comparing.plan import ComparisonPlan
from ecgjepa.engine.pieces import do_pieces
from ecgjepa.engine.workforce import Workforce, choose_workforce
from ecgjepa.locks import holding
from ecgjepa.model.compute import choose_device, computing_with
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.protocols.request import Workspace
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.leakage import open_unseen
from ecgjepa.tasks.records import EvaluationData

logger = logging.getLogger(__name__)

# Seconds between two looks at what other processes have finished.
_PAUSE = 5.0
# Weights and dropout are drawn from PyTorch's generator, of which a process has one.
_one_at_a_time = threading.Lock()


class Comparison(NamedTuple):
    """What is compared, and where.

    Attributes:
        plan: The plan.
        store: Store of training records.
        data: The labelled database: name to folder.
        out: Folder for everything.
        device: Where networks run.
        cache: Folder for prepared records; None for the user's.
    """

    plan: ComparisonPlan
    store: Path
    data: Mapping[str, str | Path]
    out: Path
    device: str
    cache: str | Path | None

    def do(self, piece: Run | Cell, opened: dict[str, EvaluationData], until: ExitStack) -> None:
        """Do a run or a cell.

        Args:
            piece: The run or cell.
            opened: Records of the tasks so far; those of another task are added.
            until: Closes them.
        """
        if isinstance(piece, Run):
            pretrain_arm(self.plan, piece, self.store, self.out, self.device)
            return
        work = Workspace(choose_device(self.device), self.cache)
        if piece.task not in opened:
            config = load_encoder(self.out / run_of(self.plan, piece).folder).config
            cohort = Cohort(task=piece.task, kind=self.plan.kind, split=self.plan.split)
            records = open_unseen(self.data, config, cohort, cache=self.cache)
            opened[piece.task] = until.enter_context(records)
        evaluate(self.plan, piece, opened[piece.task], self.out, work)

    def lock_of(self, piece: Run | Cell) -> Path:
        """Return the file that a process locks that is at work on a piece."""
        return self.out / "locks" / "-".join(piece.folder.parts)


def do_all(comparison: Comparison, workers: int | None) -> None:
    """Do all runs and cells that no other process does, until all are done.

    Args:
        comparison: The comparison.
        workers: How many are worked on at a time; None for one, or what joblib is set to.
    """
    runs, cells = list(list_runs(comparison.plan)), list(list_cells(comparison.plan))
    workforce = choose_workforce(workers, max(len(runs), len(cells)), worthwhile=1)
    if workforce.is_here:
        _do_here(comparison, [*runs, *cells])
        return
    _hand_out(comparison, runs, workforce, "run")
    _hand_out(comparison, cells, workforce, "cell")


def _do_here(comparison: Comparison, pieces: list[Run | Cell]) -> None:
    opened: dict[str, EvaluationData] = {}
    with ExitStack() as until_done:
        while pieces := [piece for piece in pieces if not piece.is_done(comparison.out)]:
            done = [_done_here(comparison, piece, opened, until_done) for piece in pieces]
            if not any(done):
                time.sleep(_PAUSE)


def _done_here(
    comparison: Comparison,
    piece: Run | Cell,
    opened: dict[str, EvaluationData],
    until: ExitStack,
) -> bool:
    """Do a piece, unless its run is not finished yet or another process is at work on it."""
    plan, out = comparison.plan, comparison.out
    if isinstance(piece, Cell) and not run_of(plan, piece).is_done(out):
        return False
    with holding(comparison.lock_of(piece)) as is_ours:
        if not is_ours or piece.is_done(out):
            return False
        comparison.do(piece, opened, until)
    return True


def _hand_out(
    comparison: Comparison, pieces: Sequence[Run | Cell], workforce: Workforce, noun: str
) -> None:
    """Have the pieces done that are not done yet."""
    missing = [n for n, piece in enumerate(pieces) if not piece.is_done(comparison.out)]

    def tell(number: int) -> None:
        logger.info("%s is done: %s", noun, pieces[number].folder)

    do_pieces(
        partial(_do_piece, comparison=comparison, threads=workforce.threads),
        missing,
        lambda number: pieces[number],
        at_once=workforce.at_once,
        is_done=lambda number: pieces[number].is_done(comparison.out),
        finished=tell,
        noun=noun,
        threads=workforce.threads,
    )


def _do_piece(piece: Run | Cell, comparison: Comparison, threads: int) -> None:
    """Do a piece in a worker, or wait until whoever is at work on it has done it."""
    with (
        _one_at_a_time,
        computing_with(threads),
        holding(comparison.lock_of(piece), wait=True),
        ExitStack() as until_done,
    ):
        if not piece.is_done(comparison.out):
            comparison.do(piece, {}, until_done)
