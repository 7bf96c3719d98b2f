"""Pieces of work that workers of other processes can import."""

import json
import os
import signal
import time
import uuid
from pathlib import Path

from threadpoolctl import threadpool_info


def result(folder: Path, number: int) -> Path:
    return folder / f"{number}.json"


def note(piece: tuple[Path, int]) -> None:
    """Write who did a piece, when, and with how many threads of linear algebra."""
    folder, number = piece
    begin = time.monotonic()
    time.sleep(0.02)
    threads = [pool["num_threads"] for pool in threadpool_info()]
    text = json.dumps({"process": os.getpid(), "begin": begin, "end": time.monotonic()})
    path = result(folder, number)
    partial = folder / f".{uuid.uuid4().hex}"
    partial.write_text(json.dumps(json.loads(text) | {"threads": threads}))
    partial.replace(path)


def note_unless_deadly(piece: tuple[Path, int]) -> None:
    """End the worker at piece 3, whenever it is tried, and at piece 1 when it is tried first."""
    folder, number = piece
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 1 and not (folder / "tried").exists():
        (folder / "tried").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    note(piece)


class AwkwardError(Exception):
    """Cannot be unpickled: its constructor takes two arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def fail(piece: tuple[Path, int]) -> None:
    """Fail at piece 2."""
    if piece[1] == 2:
        raise AwkwardError("this", "that")
    note(piece)


def leave_a_trace(folder: Path) -> None:
    """Write a file of another name at each call."""
    (folder / uuid.uuid4().hex).touch()
