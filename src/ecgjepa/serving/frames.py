"""How the service and the processes that read its files talk: a head of JSON, then plain samples.

Nothing is unpickled: a process that a hostile file has taken over must not reach further than its
own pipe.
"""

import json
import struct
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Int16

# Lengths of head and samples.
LENGTHS = struct.Struct(">IQ")
MOST_HEAD_BYTES = 16_000_000


def packed(
    head: dict[str, Any], samples: Int16[np.ndarray, "samples leads"] | None = None
) -> bytes:
    """Return a message: what it says, and the samples of a record in µV, if it carries some."""
    body = b"" if samples is None else np.ascontiguousarray(samples, "<i2").tobytes()
    shape = None if samples is None else list(samples.shape)
    text = json.dumps({**head, "shape": shape}).encode()
    return LENGTHS.pack(len(text), len(body)) + text + body


def check_lengths(content: bytes, most: int) -> tuple[int, int]:
    """Return the lengths of head and samples that a message begins with.

    Raises:
        ValueError: If they are larger than those of any message.
    """
    head, body = LENGTHS.unpack(content)
    if head > MOST_HEAD_BYTES or body > most:
        raise ValueError(f"a message of {head} and {body} bytes")
    return head, body


def unpacked(
    head: bytes, body: bytes
) -> tuple[dict[str, Any], Int16[np.ndarray, "samples leads"] | None]:
    """Return what a message says, and its samples.

    Raises:
        ValueError: If they do not fit together.
    """
    told = json.loads(head)
    if not isinstance(told, dict):
        raise ValueError("a message without a head")
    shape = told.pop("shape", None)
    if shape is None:
        return told, None
    rows, columns = shape
    return told, np.frombuffer(body, "<i2").reshape(int(rows), int(columns)).astype(np.int16)


def read_message(stream: BinaryIO) -> dict[str, Any] | None:
    """Return what the next message of a pipe says, or None at its end."""
    content = stream.read(LENGTHS.size)
    if len(content) < LENGTHS.size:
        return None
    head, body = check_lengths(content, 0)
    return unpacked(stream.read(head), stream.read(body))[0]
