"""A Dask cluster of two processes on this machine."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

distributed = pytest.importorskip("distributed")


@contextmanager
def local_cluster(threads_per_worker: int) -> "Iterator[distributed.LocalCluster]":
    """Run a cluster; its warnings about this machine are nobody's concern."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=threads_per_worker,
            dashboard_address=None,
            silence_logs=50,
        ) as found:
            yield found
