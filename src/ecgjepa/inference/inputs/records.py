"""Records in one order, each once, and how each is read as a model needs it."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ecgjepa.errors import RecordError
from ecgjepa.inference.inputs.stored import StoredRecords
from ecgjepa.inference.sources import read_source
from ecgjepa.signals.acceptance import OnBad, Usable, prepare_each
from ecgjepa.signals.preprocessing import PreprocessingConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """Files that are read one after the other.

    Attributes:
        names: Their names, as rows of a table give them.
    """

    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Inputs:
    """Records in one order, each once.

    Attributes:
        sections: Files and stores, in the order in which they were named.
        notices: What was found and is not a record, counted and named.
    """

    sections: tuple[Files | StoredRecords, ...]
    notices: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """Return the name of every record: a file, or ``STORE#DATABASE/RECORD``."""
        return [name for section in self.sections for name in section.names]

    def usable(
        self,
        config: PreprocessingConfig,
        *,
        first: int = 0,
        sets: Sequence[tuple[str, ...]] = (),
        on_bad: OnBad = "skip",
        description: str | Path | None = None,
    ) -> Iterator[tuple[str, Usable | RecordError]]:
        """Yield each record as a model needs it, or why it cannot be used; a few are read ahead.

        Args:
            config: Preprocessing of the model.
            first: Records to leave out at the beginning.
            sets: Sets of leads, of which the first that a record has is used; by default all of
                ``config``.
            on_bad: ``mask`` marks damaged leads and missing ends invalid where that is enough.
            description: File that describes arrays and tables; None for those beside them.

        Raises:
            InputError: If a store was not prepared as the model needs it.
        """
        for section in self.sections:
            skipped, first = first, max(0, first - len(section.names))
            if skipped >= len(section.names):
                continue
            if isinstance(section, StoredRecords):
                yield from section.usable(config, skipped, sets)
                continue
            files = section.names[skipped:]
            sources = ((file, read_source(file, on_bad, description)) for file in files)
            yield from prepare_each(sources, config, sets)


def warn_of_errors(errors: Mapping[str, str], total: int) -> None:
    """Log how many records have no row, and why the first of them has none."""
    if errors:
        first = next(iter(errors.values()))
        logger.warning(
            "%d of %d records cannot be used and have no row, such as %s", len(errors), total, first
        )
