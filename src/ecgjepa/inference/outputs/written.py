"""What is told of a finished output."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Failure:
    """An input without a result.

    Attributes:
        file: Its name.
        reason: A short code, for counting.
        error: Why it could not be used.
        place: Its place among the inputs, from 0; None in summaries of older versions.
    """

    file: str
    reason: str
    error: str
    place: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Written:
    """What a finished output holds.

    Attributes:
        path: The output.
        num_inputs: Inputs that were named.
        num_rows: Rows of the output.
        failures: Inputs without a result, in their order.
        notices: What else a reader should know: which files are not records, which labels nothing
            decides.
        num_resumed: Inputs that an earlier run had finished.
    """

    path: Path
    num_inputs: int
    num_rows: int
    failures: tuple[Failure, ...] = ()
    notices: tuple[str, ...] = ()
    num_resumed: int = field(default=0, compare=False)

    @property
    def num_used(self) -> int:
        """Inputs with a result."""
        return self.num_inputs - len(self.failures)

    @property
    def reasons(self) -> dict[str, int]:
        """Number of inputs without a result, by reason, the commonest first."""
        return dict(Counter(failure.reason for failure in self.failures).most_common())
