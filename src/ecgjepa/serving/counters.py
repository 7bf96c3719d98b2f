"""What the service counts, as the text that Prometheus reads."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

_PREFIX = "ecgjepa"
# Upper bounds of the seconds that requests take.
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Counters:
    """What happened since the service began.

    Attributes:
        in_flight: Requests that are worked on or wait.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self._requests: Counter[tuple[str, int]] = Counter()
        self._records: Counter[str] = Counter()
        self._took: Counter[float] = Counter()
        self._seconds = 0.0

    def add_request(self, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests[path, status] += 1
        self._seconds += seconds
        self._took[next((bound for bound in _BUCKETS if seconds <= bound), float("inf"))] += 1

    def add_record(self, reason: str | None) -> None:
        """Count a record: answered, or refused for a reason."""
        self._records[reason or "answered"] += 1

    def text(self, ended: Mapping[str, int]) -> str:
        """Return all counts in Prometheus' text format.

        Args:
            ended: Processes that read files and were replaced, by cause.
        """
        lines = [
            *_head("requests_total", "counter", "Requests that were answered."),
            *(
                _line("requests_total", count, path=path, status=str(status))
                for (path, status), count in sorted(self._requests.items())
            ),
            *_head("records_total", "counter", "Records, by what became of them."),
            *(_line("records_total", n, outcome=name) for name, n in sorted(self._records.items())),
            *_head("readers_replaced_total", "counter", "Processes that were replaced, by cause."),
            *(_line("readers_replaced_total", n, cause=name) for name, n in sorted(ended.items())),
            *_head("requests_in_flight", "gauge", "Requests that are worked on or wait."),
            _line("requests_in_flight", self.in_flight),
            *_head("resident_bytes", "gauge", "Memory of the service, without its readers."),
            _line("resident_bytes", _resident_bytes()),
            *_head("request_seconds", "histogram", "Seconds from a request to its answer."),
            *self._histogram(),
        ]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        lines, total = [], 0
        for bound in (*_BUCKETS, float("inf")):
            total += self._took[bound]
            name = "+Inf" if bound == float("inf") else f"{bound:g}"
            lines.append(_line("request_seconds_bucket", total, le=name))
        lines.append(_line("request_seconds_sum", round(self._seconds, 6)))
        return [*lines, _line("request_seconds_count", total)]


def _head(name: str, kind: str, words: str) -> tuple[str, str]:
    return f"# HELP {_PREFIX}_{name} {words}", f"# TYPE {_PREFIX}_{name} {kind}"


def _line(name: str, value: float, **labels: str) -> str:
    told = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"{_PREFIX}_{name}{f'{{{told}}}' if told else ''} {value}"


def _resident_bytes() -> int:
    """Return the memory that this process has now; 0 where the system does not tell it so."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
