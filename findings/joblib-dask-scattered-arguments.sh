#!/bin/sh
# joblib 1.6.0 with distributed 2026.8.0: a Dask worker is killed while a call of joblib.Parallel runs.
# Expected: its tasks are run again by another worker, as Dask promises, and the call returns all
# results, whatever the arguments.
# Seen: with an array of 160 kB as an argument the call raises FutureCancelledError. joblib's backend
# leaves each argument of a kilobyte or more with one worker (scatter), where Dask keeps no copy of it;
# with the worker the argument is lost. In a tuple, the same array travels with its task, and the
# call returns.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'joblib==1.6.0' 'distributed==2026.8.0' 'dask==2026.8.0' 'numpy==2.4.6'
cd "$folder"
cat > case.py <<'PYTHON'
import os
import signal
import time

import numpy as np
from distributed import Client, LocalCluster
from joblib import Parallel, delayed, parallel_config


def task(number, argument):
    time.sleep(0.5)
    return number


def run(client, wrap):
    jobs = (delayed(task)(number, wrap(np.full(20_000, number))) for number in range(8))
    results = Parallel(return_as="generator_unordered", batch_size=1)(jobs)
    found = [next(results)]
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    found += results
    return sorted(found)


def main():
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        Client(cluster) as client,
        parallel_config("dask", client=client),
    ):
        try:
            alone = run(client, lambda array: array)
        except Exception as error:
            alone = type(error).__name__
        print("an array:", alone)
        client.wait_for_workers(2)
        in_tuple = run(client, lambda array: (array,))
        print("an array in a tuple:", in_tuple)
    assert alone == "FutureCancelledError", "the behaviour has changed"
    assert in_tuple == list(range(8)), "the behaviour has changed"


if __name__ == "__main__":
    main()
PYTHON
venv/bin/python case.py
