"""Serve a model over HTTP."""

import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ecgjepa.errors import ServiceError
from ecgjepa.serving.limits import Limits

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
_MOST_CONNECTIONS = 500
# Beside the time that the files of a request may take, for the model to finish.
_GRACE_SECONDS = 10


def application(
    model: str | Path,
    *,
    limits: Limits | None = None,
    readers: int | None = None,
    device: str = "auto",
    decision: str | None = None,
    is_local: bool = True,
) -> "FastAPI":
    """Return the service as an ASGI application, for a server of one's own.

    Args:
        model: Model folder, folder of a probe, fine-tuning or run, or a model's name.
        limits: What one request may take.
        readers: Processes that read files, by default one for each processor, at most 4.
        device: ``auto``, ``cpu`` or ``cuda``.
        decision: Rule of the thresholds; by default the one that the model was trained for.
        is_local: Answer only requests that are addressed to this machine as itself.

    Raises:
        ServiceError: If the extra ``serve`` is not installed.
        ModelFolderError: If the model cannot be used.
    """
    _check_packages()
    from ecgjepa.serving.application import Service, build_application
    from ecgjepa.serving.models import ServedModel

    count = readers or min(4, os.cpu_count() or 1)
    served = ServedModel(model, device=device, decision=decision)
    service = Service(served, limits or Limits(), count)
    return build_application(service, _HOSTS if is_local else ["*"])


def serve(
    model: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    readers: int | None = None,
    device: str = "auto",
    decision: str | None = None,
) -> None:
    """Serve a model until the process is told to stop; what was accepted is answered before.

    Args:
        model: Model folder, folder of a probe, fine-tuning or run, or a model's name.
        host: Address to listen at; other machines reach any but the default.
        port: Port to listen at.
        limits: What one request may take.
        readers: Processes that read files, by default one for each processor, at most 4.
        device: ``auto``, ``cpu`` or ``cuda``.
        decision: Rule of the thresholds; by default the one that the model was trained for.

    Raises:
        ServiceError: If the extra ``serve`` is not installed, or the port is taken.
        ModelFolderError: If the model cannot be used.

    Example:
        >>> import ecgjepa
        >>> ecgjepa.serve("runs/probe", port=8000)  # doctest: +SKIP
        >>> from ecgjepa.serving.serve import application
        >>> sorted(application("runs/probe").openapi()["paths"])
        ['/embed', '/health', '/metrics', '/model', '/predict']
    """
    _check_packages()
    limits = limits or Limits()
    is_local = host in LOOPBACK
    with _listening(host, port) as listening:
        app = application(
            model,
            limits=limits,
            readers=readers,
            device=device,
            decision=decision,
            is_local=is_local,
        )
        if not is_local:
            logger.warning(
                "whoever reaches %s may send ECGs and read answers: the service knows no passwords "
                "and encrypts nothing. Put it behind a proxy that does",
                host,
            )
        address = f"[{host}]" if ":" in host else host
        logger.info("listening at http://%s:%d until Ctrl-C", address, port)
        logger.info("try it: curl --form files=@FILE http://%s:%d/predict", address, port)
        _run(app, listening, limits)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_MOST_CONNECTIONS)
    except OSError as error:
        # Names that lead to no address have negative numbers, and words of their own.
        number = error.errno or 0
        words = os.strerror(number) if number > 0 else error.strerror
        raise ServiceError(
            f"cannot listen at {host}, port {port}: {words}; choose another --port or --host"
        ) from None


def _run(app: "FastAPI", listening: socket.socket, limits: Limits) -> None:
    import uvicorn

    seconds = round(limits.seconds + limits.upload_seconds) + _GRACE_SECONDS
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=seconds,
    )
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):  # which it raises again when all is answered
        server.run(sockets=[listening])
    if not server.started:
        raise ServiceError("the service does not start; the lines above say why")


def _check_packages() -> None:
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ServiceError(
            f"the service needs {error.name}, which is not installed; run "
            "pip install 'ecgjepa[serve]'"
        ) from None
