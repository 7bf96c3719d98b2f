"""What one request to the service may take."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one request may take, and how many requests are worked on.

    Attributes:
        body_bytes: Most bytes of a request; a larger one is refused before it is read.
        seconds: Most seconds that reading the files of a request may take.
        upload_seconds: Most seconds in which a request must have arrived.
        memory_bytes: Most bytes that a process which reads files may take for them.
        records: Most records of a request.
        signal_seconds: Longest record, in seconds.
        answer_bytes: Most bytes of prepared signals of a request.
        requests: Requests that are worked on or wait; one more is answered with 503.
    """

    body_bytes: int = 50_000_000
    seconds: float = 20.0
    upload_seconds: float = 60.0
    memory_bytes: int = 1_000_000_000
    records: int = 100
    signal_seconds: float = 1800.0
    answer_bytes: int = 64_000_000
    requests: int = 16
