"""The application that answers HTTP: its paths, and how long what it needs lives."""

import logging
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ecgjepa.errors import EcgjepaError, RecordError, ServiceError
from ecgjepa.inference.interpretation import rule_of
from ecgjepa.inference.schema import PredictionSchema
from ecgjepa.serving.contents import (
    Features,
    FeaturesContent,
    Health,
    LabelContent,
    ModelContent,
    PredictionContent,
    Predictions,
    Refusal,
)
from ecgjepa.serving.counters import Counters
from ecgjepa.serving.guard import RETRY_SECONDS, Guard
from ecgjepa.serving.limits import Limits
from ecgjepa.serving.models import RowsOf, ServedModel
from ecgjepa.serving.reading import Read, Readers
from ecgjepa.serving.uploads import written
from ecgjepa.version import __version__

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logging.getLogger(__name__)

_FIELD = "files"
_MOST_LETTERS = 1_000
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": words}
    for status, words in (
        (400, "The body is not what its type says, or is cut."),
        (408, "The request did not arrive in time."),
        (413, "The request is too large."),
        (422, "The request is not as described, or holds too many records."),
        (503, "Too many requests are worked on; Retry-After tells when to try again."),
    )
}


class Service:
    """What the paths of the application share.

    Attributes:
        model: The model.
        counters: What happened so far.
        readers: Processes that read files.
    """

    def __init__(self, model: ServedModel, limits: Limits, num_readers: int) -> None:
        self.model, self.limits = model, limits
        self.counters = Counters()
        self.readers = Readers(
            num_readers, model.config.preprocessing, limits, model.config.sets_of_leads
        )
        self._root = Path()
        task = model.config.task
        self._schema = None if task is None else PredictionSchema(task)

    @asynccontextmanager
    async def running(self, _app: object) -> AsyncIterator[None]:
        """Keep processes, thread and folder for files while the application runs."""
        self._root = Path(tempfile.mkdtemp(prefix="ecgjepa-serve-"))
        try:
            await self.readers.start()
            yield
        finally:
            await self.readers.stop()
            self.model.stop()
            shutil.rmtree(self._root, ignore_errors=True)

    async def read(self, request: Any, parts: list[Any], on_bad: str) -> Read:  # noqa: ANN401
        """Read the files of a request.

        Raises:
            HTTPException: If the request is not as described, or holds too many records, or no
                process that reads files can be started.
        """
        from fastapi import HTTPException

        if unknown := sorted(set(await request.form()) - {_FIELD}):
            words = f"field {unknown[0][:100]!r}: expected all files in the field {_FIELD!r}"
            raise HTTPException(422, words)
        try:
            async with written(parts, self._root) as (folder, names):
                read = await self.readers.read(folder, names, on_bad)
        except ServiceError as error:
            logger.error("%s", error)
            raise HTTPException(503, str(error), {"Retry-After": str(RETRY_SECONDS)}) from None
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        if read.error:
            raise HTTPException(422, read.error)
        for _, found in read.records:
            self.counters.add_record(found.reason if isinstance(found, RecordError) else None)
        return read

    async def predict(self, read: Read) -> Predictions:
        """Return the answer to a request for predictions."""
        assert self._schema is not None, "an encoder alone predicts nothing"
        found = await self.model.predict(read.records)
        contents = [PredictionContent.model_validate(self._schema.content(one)) for one in found]
        return Predictions(predictions=contents, beside=read.beside)

    async def embed(self, read: Read, rows: RowsOf) -> Features:
        """Return the answer to a request for features."""
        found = await self.model.embed(read.records, rows)
        contents = []
        for (name, record), features in zip(read.records, found, strict=True):
            failed = features if isinstance(features, RecordError) else None
            starts = None if isinstance(features, RecordError) else features.starts
            contents.append(
                FeaturesContent(
                    file=name,
                    record=None if isinstance(record, RecordError) else record.record,
                    error=None if failed is None else str(failed),
                    reason=None if failed is None else failed.reason,
                    starts=None if starts is None else starts.tolist(),
                    values=[] if isinstance(features, RecordError) else features.values.tolist(),
                )
            )
        return Features(features=contents, beside=read.beside)

    def about(self) -> ModelContent:
        """Return what the model is."""
        config = self.model.config
        task, decisions = config.task, None if config.answers is None else config.answers.decisions
        labels = () if task is None else tuple(zip(task.labels, task.descriptions, strict=True))
        limits = (None,) * len(labels) if decisions is None else decisions.thresholds.values
        return ModelContent(
            kind="encoder" if task is None else task.kind,
            task=None if task is None else task.name,
            labels=[
                LabelContent(name=name, description=words, threshold=limit)
                for (name, words), limit in zip(labels, limits, strict=True)
            ],
            rule=rule_of(config),
            leads=list(config.preprocessing.leads),
            lead_sets=[list(leads) for leads in config.sets_of_leads],
            sampling_rate=config.preprocessing.sampling_rate,
            window_seconds=config.window.seconds,
            weights_sha256=config.weights_sha256,
            software_version=config.software_version,
            limits=asdict(self.limits),
            training=config.training,
            card=self.model.card,
        )


def build_application(service: Service, hosts: list[str]) -> "FastAPI":
    """Return the application.

    Args:
        service: What it serves.
        hosts: Names of this host that a request may bear; ``*`` for any.
    """
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = FastAPI(
        title="ecgjepa",
        version=__version__,
        summary="12-lead ECGs in, probabilities or features out. For research use only.",
        lifespan=service.running,
        # These pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    _add_facts(app, service)
    _add_answers(app, service)
    _add_refusals(app)
    app.add_middleware(
        Guard,
        limits=service.limits,
        counters=service.counters,
        paths=set(app.openapi()["paths"]),
    )
    # A page elsewhere must not reach a service on this machine by another name of it.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    return app


# What a request without files is told.
_NO_FILES = (
    "missing; expected a form with at least one file in the field 'files': curl --form files=@FILE"
)


def _add_refusals(app: "FastAPI") -> None:
    """Let a request that is not as described be refused by text, as all others are."""
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse

    @app.exception_handler(RequestValidationError)
    async def refused(_request: object, error: RequestValidationError) -> JSONResponse:
        faults = []
        for fault in error.errors():
            name = ".".join(str(part) for part in fault["loc"][1:]) or "the body"
            is_files = (name, fault["type"]) == ("files", "missing")
            faults.append(f"{name}: {_NO_FILES if is_files else fault['msg']}")
        return JSONResponse({"detail": "; ".join(faults)[:_MOST_LETTERS]}, 422)


def _add_facts(app: "FastAPI", service: Service) -> None:
    from fastapi.responses import PlainTextResponse

    @app.get("/health", summary="Whether the service works")
    async def health() -> Health:
        return Health(status="ok", version=__version__)

    @app.get("/model", summary="What the model is")
    async def model() -> ModelContent:
        return service.about()

    @app.get(
        "/metrics",
        summary="Counts and times, for Prometheus",
        response_class=PlainTextResponse,
    )
    async def metrics() -> PlainTextResponse:
        text = service.counters.text(service.readers.ended)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


def _add_answers(app: "FastAPI", service: Service) -> None:
    from fastapi import File, HTTPException, Query, Request, UploadFile

    files = File(
        description="ECG files of any supported format; all parts of a record, such as x.hea and "
        "x.dat, in one request.",
    )
    bad = Query(description="skip leaves damaged records out, mask marks what is damaged.")
    rows_of = Query(description="A row for each record, or for each window.")

    if service.model.model is not None:

        @app.post("/predict", summary="Predictions for ECG files", responses=_REFUSALS)
        async def predict(
            request: Request,
            files: Annotated[list[UploadFile], files],
            on_bad: Annotated[Literal["skip", "mask"], bad] = "skip",
        ) -> Predictions:
            try:
                return await service.predict(await service.read(request, files, on_bad))
            except EcgjepaError as error:
                raise HTTPException(500, str(error)) from None

    @app.post("/embed", summary="Features of ECG files", responses=_REFUSALS)
    async def embed(
        request: Request,
        files: Annotated[list[UploadFile], files],
        rows: Annotated[RowsOf, rows_of] = "record",
        on_bad: Annotated[Literal["skip", "mask"], bad] = "skip",
    ) -> Features:
        try:
            return await service.embed(await service.read(request, files, on_bad), rows)
        except EcgjepaError as error:
            raise HTTPException(500, str(error)) from None
