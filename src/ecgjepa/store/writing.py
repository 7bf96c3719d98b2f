"""Write shards: in this process, or by the workers of joblib's backend."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ecgjepa.engine.pieces import do_pieces
from ecgjepa.engine.workforce import choose_workforce
from ecgjepa.errors import StoreError
from ecgjepa.store.merge import read_plan
from ecgjepa.store.shard_plan import ShardPlan
from ecgjepa.store.shards import ShardJob, is_written, write_shard

# Starting a worker takes as long as preparing some hundred records.
_RECORDS_WORTH_A_WORKER = 500


def write_shards(
    plan: ShardPlan,
    store: Path,
    numbers: Sequence[int],
    workers: int | None,
    done: Callable[[int], None],
) -> None:
    """Write shards of a plan.

    Args:
        plan: The plan.
        store: Its folder, which says already what it is for.
        numbers: The shards.
        workers: How many work at a time; None for what the shards are worth, or joblib is set to.
        done: Called with a number of records that were just finished.

    Raises:
        RecordError: At the first unusable record, with ``on_bad="raise"``.
        EngineError: If the workers fail.
    """
    sizes = {number: len(plan.job(store, number)) for number in numbers}
    worthwhile = sum(sizes.values()) // _RECORDS_WORTH_A_WORKER
    workforce = choose_workforce(workers, len(numbers), worthwhile)
    if workforce.is_here:
        for number in numbers:
            for _ in write_shard(plan.job(store, number)):
                done(1)
        return
    do_pieces(
        partial(_write, plan=plan.digest()),
        numbers,
        partial(plan.job, store),
        at_once=workforce.at_once,
        is_done=lambda number: is_written(store, number, plan.settings.codec),
        finished=lambda number: done(sizes[number]),
        noun="shard",
    )


def _write(job: ShardJob, plan: str) -> None:
    """Write a shard, unless another worker has done so."""
    _check(job, plan)
    if is_written(job.store, job.number, job.codec):
        return
    writing = write_shard(job)
    for number, _ in enumerate(writing, start=1):
        if number == len(job):
            # Whoever asked for it may have been killed; another may be at work here since. A
            # worker of a cluster would not know.
            _check(job, plan)


def _check(job: ShardJob, plan: str) -> None:
    """Make sure that the store is still to hold what this shard is of.

    Raises:
        StoreError: If it is not.
    """
    found = read_plan(job.store)
    if found is None:
        raise StoreError(
            f"{job.store}: a worker finds no store that is being prepared there. Every worker "
            "needs the same folders under the same names, the database's and the store's"
        )
    if found.plan != plan:
        raise StoreError(f"{job.store}: another store is being prepared there now")
