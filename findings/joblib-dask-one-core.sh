#!/bin/sh
# joblib 1.6.0 with distributed 2026.8.0: a Dask cluster of one core, and joblib.Parallel set to it.
# Expected: the tasks run on the cluster, as n_jobs is not looked at there.
# Seen: all tasks run in the process that calls, without a word. joblib takes a cluster of one core
# for n_jobs=1. A cluster of two workers that has just lost one is such a cluster, too.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'joblib==1.6.0' 'distributed==2026.8.0' 'dask==2026.8.0'
cd "$folder"
cat > case.py <<'PYTHON'
import os

from distributed import Client, LocalCluster
from joblib import Parallel, delayed, parallel_config


def main():
    found = {}
    for cores in (1, 2):
        with (
            LocalCluster(n_workers=cores, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
            parallel_config("dask", client=client, n_jobs=4),
        ):
            processes = set(Parallel()(delayed(os.getpid)() for _ in range(8)))
        found[cores] = os.getpid() in processes
        print("cores:", cores, "tasks run in the calling process:", found[cores])
    assert found == {1: True, 2: False}, "the behaviour has changed"


if __name__ == "__main__":
    main()
PYTHON
venv/bin/python case.py
