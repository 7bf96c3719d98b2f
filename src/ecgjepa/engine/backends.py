"""joblib's backends by name, for the command line; in Python, `joblib.parallel_config` does it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from joblib import parallel_config

from ecgjepa.errors import EngineError
from ecgjepa.version import __version__

logger = logging.getLogger(__name__)

LOCAL = ("loky", "threading")
BACKEND_NAMES = (*LOCAL, "dask")
# Seconds to wait for a scheduler, and then for its first worker, which may be queued somewhere.
_SCHEDULER_SECONDS, _WORKER_SECONDS = 10, 300


@contextmanager
def using_backend(name: str | None, scheduler: str | None = None) -> Iterator[None]:
    """Let everything in the block that works in parallel use one of joblib's backends.

    Args:
        name: ``loky`` (processes), ``threading`` or ``dask``; None for what joblib is set to.
        scheduler: Address of a Dask scheduler, such as ``tcp://node:8786``, or its scheduler file.

    Raises:
        EngineError: If there is no such backend, its package or scheduler cannot be reached, or its
            workers lack this version of ecgjepa.
    """
    if name is not None and name not in BACKEND_NAMES:
        raise EngineError(f"--backend {name}: expected {', '.join(BACKEND_NAMES)}")
    if (scheduler is None) == (name == "dask"):
        raise EngineError(
            "--backend dask and --scheduler go together: give the address of a running Dask "
            "scheduler, such as --backend dask --scheduler tcp://node:8786"
        )
    if name is None:
        yield
    elif scheduler is None:
        with parallel_config(backend=name):
            yield
    else:
        with _connect(scheduler) as client, parallel_config(backend=name, client=client):
            yield


@contextmanager
def _connect(scheduler: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise EngineError(
            "--backend dask needs the package distributed: pip install 'ecgjepa[dask]'"
        ) from None
    place = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    try:
        client = Client(**place, timeout=_SCHEDULER_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise EngineError(f"--scheduler {scheduler}: no Dask scheduler answers: {error}") from None
    with client:
        _check_workers(client, scheduler)
        yield client


def _check_workers(client: Any, scheduler: str) -> None:  # noqa: ANN401
    """Wait for a worker, and make sure that those who are there run the same code.

    Raises:
        EngineError: If none comes, or one does not.
    """
    if not client.scheduler_info(n_workers=-1)["workers"]:
        logger.info("waiting up to %d s for a worker of %s", _WORKER_SECONDS, scheduler)
    try:
        client.wait_for_workers(1, timeout=_WORKER_SECONDS)
    except TimeoutError:
        raise EngineError(
            f"--scheduler {scheduler}: no worker after {_WORKER_SECONDS} s; start some with: "
            f"dask worker {scheduler}"
        ) from None
    for address, found in client.run(_version, on_error="return").items():
        if found != __version__:
            what = f"ecgjepa {found}" if isinstance(found, str) else f"an error: {found}"
            raise EngineError(
                f"--scheduler {scheduler}: worker {address} reports {what}; expected ecgjepa "
                f"{__version__}, as here. Start the workers in the same environment"
            )


def _version() -> str:
    return __version__
