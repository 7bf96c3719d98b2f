"""The program that reads the service's files, in a process of its own that may be killed any time.

    python -m ecgjepa.serving.parser

It is told on stdin what to read, as `ecgjepa.serving.frames`, and answers on stdout: the names of
all records, then each record prepared as the model needs it. It ends when stdin does.
"""

import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ecgjepa.errors import EcgjepaError, FewLeadsError, RecordError, RecordFormatError
from ecgjepa.inference.inputs.named import find_inputs
from ecgjepa.inference.sources import read_source
from ecgjepa.io.folders import find_files
from ecgjepa.serving.frames import packed, read_message
from ecgjepa.signals.acceptance import OnBad, Usable, prepare_each
from ecgjepa.signals.preprocessing import PreprocessingConfig

MEMORY_REASON = "memory_limit"


def main() -> None:
    """Answer requests until stdin ends."""
    asked = sys.stdin.buffer
    # What a library prints is no answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = read_message(asked)
    if settings is None:
        return
    config = PreprocessingConfig.model_validate(settings["preprocessing"])
    settings["lead_sets"] = [tuple(leads) for leads in settings["lead_sets"]]
    _limit_memory(settings["memory_bytes"])
    _send(answers, packed({"ready": True}))
    while (request := read_message(asked)) is not None:
        for message in _answers(request, settings, config):
            _send(answers, message)


def _send(stream: BinaryIO, message: bytes) -> None:
    stream.write(message)
    stream.flush()


def _limit_memory(num_bytes: int) -> None:
    """Let allocations fail that would take more than this beside what is taken already."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform.startswith("linux"):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + num_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _answers(
    request: dict[str, Any], settings: dict[str, Any], config: PreprocessingConfig
) -> Iterator[bytes]:
    folder, files = Path(request["folder"]), list(request["files"])
    try:
        names, beside = _records(folder, files)
    except (EcgjepaError, OSError, MemoryError) as error:
        yield packed({"error": _without(folder, str(error) or "no memory left")})
        return
    if len(names) > settings["records"]:
        yield packed(
            {"error": f"{len(names):,} records in one request; at most {settings['records']:,}"}
        )
        return
    yield packed({"records": [_without(folder, name) for name in names], "beside": beside})
    left = settings["answer_bytes"]
    for name in names[request["first"] :]:
        head, samples = _read(name, request["on_bad"], settings, config, left)
        left -= 0 if samples is None else samples.nbytes
        for key in ("error", "record"):
            if head.get(key) is not None:
                head[key] = _without(folder, head[key])
        yield packed(head, samples)


def _records(folder: Path, files: list[str]) -> tuple[list[str], list[str]]:
    """Return the records among uploaded files, in their order, and the files that belong to them.

    A table that names files is none of these: it would name files of this machine.
    """
    ecgs, others = find_files(folder, is_deep=False)
    kept = {*ecgs, *others}
    listed = [str(folder / file) for file in files if file in kept]
    names = find_inputs([], listed=listed).names()
    taken = {Path(name).name for name in names} | kept
    return names, [file for file in files if file not in taken]


def _read(
    name: str, on_bad: OnBad, settings: dict[str, Any], config: PreprocessingConfig, left: int
) -> tuple[dict[str, Any], np.ndarray | None]:
    source = read_source(name, on_bad)
    if not isinstance(source, RecordError) and source.duration > settings["signal_seconds"]:
        source = RecordFormatError(
            f"{name}: {source.duration:,.0f} s are too long for the service, which takes "
            f"{settings['signal_seconds']:,.0f} s; use the command predict",
            reason="too_long",
        )
    ((_, found),) = prepare_each([(name, source)], config, settings["lead_sets"])
    if isinstance(found, RecordError):
        return _refused(found), None
    rows = len(found.prepared.samples)
    if rows * len(config.leads) * 2 > left:
        return _refused(
            RecordFormatError(
                f"{name}: the records of this request are too long together for the service; send "
                "fewer at a time",
                reason="too_long",
            )
        ), None
    return _described(found), np.asarray(found.prepared.samples[0:rows])


def _refused(error: RecordError) -> dict[str, Any]:
    if isinstance(error.__cause__, MemoryError):
        return {"error": "takes more memory than the service gives", "reason": MEMORY_REASON}
    told: dict[str, Any] = {"error": str(error), "reason": error.reason}
    return told | ({"leads": error.leads} if isinstance(error, FewLeadsError) else {})


def _described(found: Usable) -> dict[str, Any]:
    source, prepared, leads = found
    return {
        "record": source.record_id,
        "num_samples": source.num_samples,
        "sampling_rate": source.sampling_rate,
        "quality": prepared.quality,
        "issues": [list(issue) for issue in prepared.issues],
        "leads": leads,
    }


def _without(folder: Path, text: str) -> str:
    """Return text without the place of the files, which is nobody's business."""
    plain = text.replace(f"{folder}/", "").replace(str(folder), "the request")
    return plain.encode("utf-8", "backslashreplace").decode("utf-8")


if __name__ == "__main__":
    main()
