"""Write shards in several processes.

Each worker is a Python of its own that takes jobs through a pipe. (multiprocessing would either
copy a process with running threads, or run the user's script again in each worker.) A worker ends
when its pipe is closed, so none outlives a parent that is killed.
"""

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from ecgjepa.store.shards import ShardJob, write_shard

# The parent's import path comes first, so that both run the same code.
_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from ecgjepa.store.workers import serve; serve()"
)
_ENVIRONMENT = {
    # One core a worker: no threads for linear algebra.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # glibc gives large arrays back to the system after each record and asks for cleared memory for
    # the next ones: a tenth to a fifth of the time. 64 MiB may stay.
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**26),
    "MALLOC_TOP_PAD_": str(2**24),
}
_RECORDS_PER_REPORT = 64


def write_shards(
    jobs: Iterable[ShardJob], workers: int, done: Callable[[int], None] | None = None
) -> None:
    """Write shards, in this process if there is to be one worker only.

    Args:
        jobs: The shards.
        workers: Number of processes.
        done: Called with a number of records that were just finished, from any thread.

    Raises:
        RecordError: At the first unusable record, for jobs that ask for it.
    """
    done = done or (lambda count: None)
    if workers == 1:
        for job in jobs:
            for _ in write_shard(job):
                done(1)
        return
    waiting: queue.SimpleQueue[ShardJob] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    lock = threading.Lock()

    def count(number: int) -> None:
        with lock:
            done(number)

    processes = [_start() for _ in range(workers)]
    try:
        with ThreadPoolExecutor(workers) as pool:
            feeders = [pool.submit(_feed, process, waiting, count) for process in processes]
            try:
                for feeder in feeders:
                    feeder.result()
            except BaseException:
                # Those that still wait for an answer get none.
                _stop(processes)
                raise
    finally:
        _stop(processes)


def _start() -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", _START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | _ENVIRONMENT,
        start_new_session=True,  # Ctrl-C is the parent's to handle
    )
    _send(_pipe(process.stdin), sys.path)
    return process


def _stop(processes: "list[subprocess.Popen[bytes]]") -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.communicate()


def _feed(
    process: "subprocess.Popen[bytes]",
    waiting: "queue.SimpleQueue[ShardJob]",
    done: Callable[[int], None],
) -> None:
    """Give one worker job after job, until none is left or it fails."""
    while True:
        try:
            job = waiting.get_nowait()
        except queue.Empty:
            return
        _send(_pipe(process.stdin), job)
        while (answer := _receive(process, job)) is not None:
            if isinstance(answer, BaseException):
                _drain(waiting)
                raise answer
            done(answer)


def _receive(process: "subprocess.Popen[bytes]", job: ShardJob) -> Any:  # noqa: ANN401
    try:
        return pickle.load(_pipe(process.stdout))
    except (EOFError, pickle.UnpicklingError):
        raise ChildProcessError(
            f"a worker ended while it wrote shard {job.number} (exit code {process.wait()}); was "
            "it out of memory? Run the same command again to go on, with fewer --workers"
        ) from None


def _drain(waiting: "queue.SimpleQueue[ShardJob]") -> None:
    while not waiting.empty():
        try:
            waiting.get_nowait()
        except queue.Empty:
            return


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None, "opened with PIPE"
    return stream


def _send(stream: IO[bytes], message: Any) -> None:  # noqa: ANN401
    pickle.dump(message, stream)
    stream.flush()


def serve() -> None:
    """Write the shards that come through standard input, until it is closed."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print must not look like an answer
    jobs: queue.SimpleQueue[ShardJob] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    while True:
        job = jobs.get()
        try:
            finished = 0
            for finished, _ in enumerate(write_shard(job), start=1):
                if finished % _RECORDS_PER_REPORT == 0:
                    _send(answers, _RECORDS_PER_REPORT)
            _send(answers, finished % _RECORDS_PER_REPORT)
            _send(answers, None)
        except BrokenPipeError:
            return
        except Exception as error:
            _send(answers, error)


def _listen(jobs: "queue.SimpleQueue[ShardJob]") -> None:
    """Pass jobs on; when the parent has gone, go at once, whatever is being written."""
    while True:
        try:
            jobs.put(pickle.load(sys.stdin.buffer))
        except Exception:
            os._exit(0)
