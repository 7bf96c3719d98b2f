"""Processes that read files for the service; one that takes too long or too much is replaced."""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int16

from ecgjepa.errors import FewLeadsError, RecordError, RecordFormatError, ServiceError
from ecgjepa.serving.frames import LENGTHS, check_lengths, packed, unpacked
from ecgjepa.serving.limits import Limits
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.signals.record import Issue

# What a process that reads files needs of this one's environment; passwords are not among it.
_ENVIRONMENT = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "LANG",
    "LC_ALL",
    "TMPDIR",
)
_START_SECONDS = 120.0


@dataclass(frozen=True)
class ReadRecord:
    """A record that was read and prepared.

    Attributes:
        name: Name of its file, and of the record within it.
        record: Name of the record by itself.
        num_samples: Samples of the file.
        sampling_rate: Sampling rate of the file, in Hz.
        quality: Quality of the recording, from 0 to 1.
        issues: What was noticed.
        samples: Amplitudes in µV as the model needs them.
        leads: Leads by which the model can use it.
    """

    name: str
    record: str
    num_samples: int
    sampling_rate: float
    quality: float
    issues: tuple[Issue, ...]
    samples: Int16[np.ndarray, "samples leads"]
    leads: tuple[str, ...] = ()


@dataclass
class Read:
    """What was read of the files of one request.

    Attributes:
        names: Names of all records; None as long as they are not known.
        records: Each record, or why it cannot be used, with its name.
        beside: Files that are no records, but signals, annotations or descriptions of some.
        error: Why the request is refused as a whole, or nothing.
    """

    names: list[str] | None = None
    records: list[tuple[str, ReadRecord | RecordError]] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether every record was read or refused."""
        return bool(self.error) or (self.names is not None and len(self.records) >= len(self.names))


class _Reader:
    """One process that reads files."""

    def __init__(self, process: asyncio.subprocess.Process, most: int) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self._process, self._most = process, most

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.returncode is None

    async def send(self, head: dict[str, Any]) -> None:
        """Tell the process what to do."""
        self._in.write(packed(head))
        await self._in.drain()

    async def message(self) -> tuple[dict[str, Any], np.ndarray | None]:
        """Return the next message; `EOFError` (or a kind of `OSError`) if the process has ended."""
        head, body = check_lengths(await self._out.readexactly(LENGTHS.size), self._most)
        return unpacked(await self._out.readexactly(head), await self._out.readexactly(body))

    async def end(self) -> None:
        """Kill the process."""
        if self.is_alive:
            # The process's own method would take away its status, if it has ended just now, from
            # whoever of asyncio waits for it.
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
        self._in.close()
        await self._process.wait()


class Readers:
    """A number of processes that read files, one request each at a time.

    Attributes:
        ended: How many processes ended before their time, by cause.
    """

    def __init__(
        self,
        count: int,
        config: PreprocessingConfig,
        limits: Limits,
        sets: Sequence[tuple[str, ...]] = (),
    ) -> None:
        self._count, self._limits = count, limits
        self._settings = {
            **asdict(limits),
            "preprocessing": config.model_dump(mode="json"),
            "lead_sets": [list(leads) for leads in sets],
        }
        self._idle: asyncio.Queue[_Reader | None] = asyncio.Queue()
        self.ended: Counter[str] = Counter()

    async def start(self) -> None:
        """Start the first process; the others start when they are needed."""
        self._idle.put_nowait(await self._new())
        for _ in range(self._count - 1):
            self._idle.put_nowait(None)

    async def stop(self) -> None:
        """End all processes."""
        while not self._idle.empty():
            if (reader := self._idle.get_nowait()) is not None:
                await reader.end()

    async def read(self, folder: Path, files: list[str], on_bad: str) -> Read:
        """Read the files of a request; see `Read`.

        A record that ends its process is refused, and the ones behind it are read by another.

        Args:
            folder: Folder that holds them and nothing else.
            files: Their names, in order.
            on_bad: See `ecgjepa.inference.predict.Model.predict`.

        Raises:
            ServiceError: If no process that reads files can be started.
        """
        told, left = Read(), self._limits.seconds
        reader = await self._idle.get()
        try:
            while not told.is_whole:
                if reader is None or not reader.is_alive:
                    reader = await self._new()
                start = time.monotonic()
                request = {"folder": str(folder), "files": files, "on_bad": on_bad}
                try:
                    async with asyncio.timeout(left):
                        await reader.send({**request, "first": len(told.records)})
                        await _take_over(reader, told)
                except (TimeoutError, EOFError, OSError, ValueError, TypeError, KeyError) as error:
                    ended, reader = reader, None
                    await ended.end()
                    self._note_end(isinstance(error, TimeoutError), told, files)
                left -= time.monotonic() - start
        except BaseException:  # A process that is left halfway would answer the next request.
            if reader is not None:
                await reader.end()
                reader = None
            raise
        finally:
            self._idle.put_nowait(reader)
        return told

    def _note_end(self, is_late: bool, told: Read, files: list[str]) -> None:
        """Note why the record whose turn it was has no samples; after the time, none has."""
        if is_late:
            words = f"reading takes longer than {self._limits.seconds:g} s, and was stopped"
            error = RecordFormatError(words, reason="time_limit")
        else:
            words = "reading it ended the process that reads files"
            error = RecordFormatError(words, reason="reader_ended")
        self.ended[error.reason] += 1
        is_first = told.names is None
        told.names = told.names or files
        missing = told.names[len(told.records) :]
        refused = missing if is_late or is_first else missing[:1]
        told.records += [(name, error) for name in refused]

    async def _new(self) -> _Reader:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ecgjepa.serving.parser",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
            | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is the service's to handle.
        )
        reader = _Reader(process, self._limits.answer_bytes)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await reader.send(self._settings)
                await reader.message()
        except (TimeoutError, EOFError, OSError, ValueError) as error:
            await reader.end()
            raise ServiceError(
                f"a process that reads files does not start: {type(error).__name__}; what it "
                "printed says why"
            ) from None
        return reader


async def _take_over(reader: _Reader, told: Read) -> None:
    """Take over what a process sends, until every record was read or refused."""
    head, _ = await reader.message()
    if "error" in head:
        told.error = str(head["error"])
        return
    names = [str(name) for name in head["records"]]
    told.names, told.beside = names, [str(name) for name in head["beside"]]
    for name in names[len(told.records) :]:
        told.records.append((name, _as_record(name, *await reader.message())))


def _as_record(
    name: str, head: dict[str, Any], samples: np.ndarray | None
) -> ReadRecord | RecordError:
    if samples is None:
        words, reason = str(head["error"]), str(head["reason"])
        if "leads" in head:
            return FewLeadsError(words, leads=map(str, head["leads"]), reason=reason)
        return RecordFormatError(words, reason=reason)
    return ReadRecord(
        name=name,
        record=str(head["record"]),
        num_samples=int(head["num_samples"]),
        sampling_rate=float(head["sampling_rate"]),
        quality=float(head["quality"]),
        issues=tuple(Issue(*each) for each in head["issues"]),
        samples=samples,
        leads=tuple(map(str, head["leads"])),
    )
