"""Prove that who works changes no byte, and that a killed worker or command loses nothing.

    python benchmarks/engines.py [--records 60] [--kills 3] [--engines NAME ...] [--result FILE]

Prepares simulated records, and predicts and embeds them with a small model of random weights, by
one process, by joblib's processes and threads, by a Dask cluster of two processes and, with
``--ray``, by Ray. Then again: with a worker killed (SIGKILL) after the first piece, and with the
command itself killed, whose workers must be gone within ten seconds before it is repeated. Every
file is compared with that of the undisturbed processes. Not a timing: run it anywhere.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import psutil
from joblib import parallel_config
from kill_prepare import digests
from machine import report

import ecgjepa

Progress = Callable[[int, int], None] | None
Verb = Callable[[Path, Progress], object]


def main() -> None:
    """Run all cases, print them, and exit with 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=60)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument(
        "--engines", nargs="+", choices=ENGINES, default=[name for name in ENGINES if name != "ray"]
    )
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    # As many threads for each worker as for the one process: others round otherwise.
    os.environ |= {"OMP_NUM_THREADS": "1"}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = ecgjepa.simulate(options.records, folder / "source")
        verbs = make_verbs(source, save_model(folder / "model"))
        expected = {}
        for name, verb in verbs.items():
            with parallel_config("loky", n_jobs=2):
                expected[name] = run(verb, folder / "expected" / name)
        for engine, name, kills in product(options.engines, verbs, (False, True)):
            with ENGINES[engine]() as victims:  # anew, so that each has all its workers
                if victims is not None or not kills:
                    victims = victims if kills else None
                    rows.append(case(engine, name, verbs[name], victims, folder, expected[name]))
        for number in range(options.kills):
            rows.append(killed_command(source, folder / f"cut-{number}", expected["prepare"]))
    same = sum(row["same"] for row in rows)
    print(f"{same} of {len(rows)} results are byte-identical")
    report(options.result, {"benchmark": "engines", "cases": rows})
    raise SystemExit(same < len(rows))


def make_verbs(source: Path, model: Path) -> dict[str, Verb]:
    """Return what is done, as functions of a folder for the result and a progress callback."""
    files = source / "records500"

    def prepare(out: Path, progress: Progress) -> object:
        databases = {"ptb-xl": source}
        return ecgjepa.prepare(
            databases, out / "store", folds="all", records_per_shard=5, progress=progress
        )

    def predict(out: Path, progress: Progress) -> object:
        return ecgjepa.predict_table(
            files, model, out / "table.csv", part_inputs=5, progress=progress
        )

    def embed(out: Path, progress: Progress) -> object:
        return ecgjepa.embed_table(
            files, model, out / "features.npz", part_inputs=5, progress=progress
        )

    return {"prepare": prepare, "predict": predict, "embed": embed}


def save_model(folder: Path) -> Path:
    """Write a classifier with random weights."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from tiny_model import save_tiny_model

    return Path(save_tiny_model(folder))


@contextmanager
def loky() -> Iterator[Callable[[], list[int]]]:
    """Processes of this machine."""
    with parallel_config("loky", n_jobs=2):
        yield lambda: [each.pid for each in psutil.Process().children() if is_a("popen_loky", each)]


@contextmanager
def threading() -> Iterator[None]:
    """Threads of this process."""
    with parallel_config("threading", n_jobs=2):
        yield None


@contextmanager
def dask() -> Iterator[Callable[[], list[int]]]:
    """A cluster of two processes."""
    from distributed import Client, LocalCluster

    with (
        warnings.catch_warnings(action="ignore"),
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        parallel_config("dask", client=client),
    ):
        yield lambda: list(client.run(os.getpid).values())


@contextmanager
def on_ray() -> Iterator[Callable[[], list[int]]]:
    """A Ray of two workers."""
    import ray
    from ray.util.joblib import register_ray

    register_ray()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        with parallel_config("ray", n_jobs=2):
            yield lambda: [each.pid for each in psutil.process_iter() if is_a("PoolActor", each)]
    finally:
        ray.shutdown()


def is_a(word: str, process: psutil.Process) -> bool:
    """Return whether a word stands in the command of a process."""
    try:
        return any(word in each for each in process.cmdline())
    except psutil.Error:
        return False


def run(verb: Verb, out: Path, progress: Progress = None) -> dict[str, str]:
    """Do something and return the hashes of what it has written."""
    out.mkdir(parents=True)
    verb(out, progress)
    return {name: found for name, found in digests(out).items() if "summary" not in name}


def case(
    engine: str,
    name: str,
    verb: Verb,
    victims: Callable[[], list[int]] | None,
    folder: Path,
    expected: dict[str, str],
) -> dict[str, Any]:
    """Do something by an engine, and kill one of its workers on the way."""
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        if victims is not None and not killed:
            killed.extend(victims()[:1])
            for number in killed:
                os.kill(number, signal.SIGKILL)

    out = folder / f"{engine}-{name}-{victims is not None}"
    found = run(verb, out, kill)
    row = {"engine": engine, "verb": name, "killed": len(killed), "same": found == expected}
    print(row, flush=True)
    return row


def killed_command(source: Path, store: Path, expected: dict[str, str]) -> dict[str, Any]:
    """Kill a command after its first shard, wait for its workers to end, and repeat it."""
    command = [sys.executable, "-m", "ecgjepa", "--quiet", "prepare", f"ptb-xl={source}"]
    command += ["--folds", "all", "--records-per-shard", "5", "--workers", "2"]
    command += ["--store", str(store / "store")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(store.glob("store/parts/0*.json")):
        time.sleep(0.005)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    written = len(list(store.glob("store/parts/0*.json")))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    same = digests(store) == expected and not alive
    row = {"engine": "command", "verb": "prepare", "killed": len(workers), "same": same}
    row |= {"shards_before": written, "alive": len(alive)}
    print(row, flush=True)
    return row


ENGINES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "process": nullcontext,
    "loky": loky,
    "threading": threading,
    "dask": dask,
    "ray": on_ray,
}

if __name__ == "__main__":
    main()
