"""What scikit-learn calls X: ECG files, records or arrays, each of which is one row."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from ecgjepa.errors import ConfigError, InputError, RecordError
from ecgjepa.inference.inputs.arrays import records_of_array
from ecgjepa.inference.sources import read_source
from ecgjepa.signals.acceptance import OnBad, Source, Usable, prepare_each
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.signals.record import MicrovoltRecord, Record

logger = logging.getLogger(__name__)

# What becomes of an ECG that cannot be used: it has a row whatever happens, or nothing has.
OnBadRow = Literal["raise", "nan", "mask"]
ON_BAD_ROW: tuple[OnBadRow, ...] = get_args(OnBadRow)
AXES = (("samples", "leads"), ("leads", "samples"))
_EXPECTED = (
    "expected a list of paths, of records or of arrays, one per ECG; a table's column of paths; or "
    "an array of three axes, (records, samples, leads)"
)
_OF_UNITS = "implausible_amplitude"
# ECGs without an answer that a message names; all are in ``errors_``.
_MOST_NAMED = 20


class Reading(NamedTuple):
    """How ECGs are read: what arrays cannot tell of themselves, and what a bad ECG leads to.

    Attributes:
        sampling_rate: Rate of arrays in Hz; None where there are none.
        leads: Names of the leads of arrays, in their order; None where there are no arrays.
        unit: Unit of the amplitudes of arrays.
        axes: Order of the two axes of one ECG of an array.
        on_bad: What becomes of an ECG that cannot be used.
        description: File that describes arrays and tables on the disk; None for those beside them.
    """

    sampling_rate: float | None
    leads: Sequence[str] | None
    unit: str
    axes: Sequence[str]
    on_bad: str
    description: str | Path | None

    def check(self) -> None:
        """Refuse what is not a way to read ECGs.

        Raises:
            ConfigError: With the parameter that is wrong.
        """
        if self.on_bad not in ON_BAD_ROW:
            raise ConfigError(f"on_bad is {self.on_bad!r}; expected {', '.join(ON_BAD_ROW)}")
        if isinstance(self.axes, str) or tuple(self.axes) not in AXES:
            raise ConfigError(
                f"axes is {self.axes!r}; expected {' or '.join(map(repr, AXES))}, the axes of one "
                "ECG; the records of an array come first"
            )

    def usable(
        self, X: object, config: PreprocessingConfig, sets: Sequence[tuple[str, ...]] = ()
    ) -> Iterator[tuple[str, Usable | RecordError]]:
        """Yield each ECG as a model needs it, or why it cannot be used: one per row, in order.

        Args:
            X: ECGs, see `num_rows`.
            config: Preprocessing of the model.
            sets: Sets of leads, of which the first that an ECG has is used; all by default.

        Raises:
            InputError: If X is not a collection of ECGs.
            ConfigError: If arrays are given without their rate and leads.
            RecordError: If all records of an array of three axes are at fault.
        """
        self.check()
        return self._telling(prepare_each(self._sources(_rows(X)), config, sets))

    def _telling(
        self, found: Iterator[tuple[str, Usable | RecordError]]
    ) -> Iterator[tuple[str, Usable | RecordError]]:
        """Yield ECGs; log in the end how many have amplitudes of another unit, as it seems.

        A row of features has no place for what was noticed.
        """
        doubts: list[str] = []
        for row, (name, each) in enumerate(found):
            issues = () if isinstance(each, RecordError) else each.prepared.issues
            doubts += [f"row {row}: {issue.message}" for issue in issues if issue.code == _OF_UNITS]
            yield name, each
        if doubts:
            logger.warning(
                "%d ECGs have implausible amplitudes, such as %s. Of arrays, unit=%r says what "
                "they are in",
                len(doubts),
                doubts[0],
                self.unit,
            )

    def _sources(
        self, rows: list[object] | np.ndarray
    ) -> Iterator[tuple[str, Source | RecordError]]:
        if isinstance(rows, np.ndarray):  # of three axes: a fault of its form is that of all rows
            yield from ((record.record_id, record) for record in self._records(rows))
            return
        for number, item in enumerate(rows):
            if isinstance(item, str | os.PathLike):
                yield str(item), self._read(Path(item))
            elif isinstance(item, Record | MicrovoltRecord):
                yield item.source or item.record_id, item
            elif isinstance(item, np.ndarray) and item.ndim == 2 and item.dtype.kind in "iuf":
                yield f"signal {number}", self._one_array(item, number)
            else:
                raise InputError(f"row {number} of X is {_shown(item)}; {_EXPECTED}")

    def _read(self, path: Path) -> Source | RecordError:
        return read_source(path, self._on_bad_file, self.description)

    @property
    def _on_bad_file(self) -> OnBad:
        return "mask" if self.on_bad == "mask" else "skip"

    def _records(self, values: np.ndarray) -> Iterator[Record]:
        if self.sampling_rate is None or self.leads is None:
            missing = "sampling_rate" if self.sampling_rate is None else "leads"
            raise ConfigError(
                f"{missing}: X holds arrays, which do not tell it; give {missing} as a parameter "
                "of the estimator"
            )
        if tuple(self.axes) == ("leads", "samples"):
            values = values.swapaxes(-1, -2)
        leads = list(self.leads) if not isinstance(self.leads, str) else self.leads
        return records_of_array(values, self.sampling_rate, leads, self.unit)

    def _one_array(self, values: np.ndarray, number: int) -> Record | RecordError:
        try:
            return replace(next(self._records(values)), record_id=f"signal {number}")
        except RecordError as error:
            return type(error)(f"row {number} of X: {error}", reason=error.reason)


def num_rows(X: object) -> int:
    """Return how many ECGs X holds.

    Args:
        X: A list of paths, `Record` or arrays (samples, leads); a column of paths of a table, as
            Series or as a frame of that column alone; or an array (records, samples, leads). The
            two axes of an ECG may be the other way round, where that is told.

    Raises:
        InputError: If it is something else, or holds none.
    """
    return len(_rows(X))


def _rows(X: object) -> list[object] | np.ndarray:
    """Return the ECGs of X: an array only if it has three axes, otherwise a list."""
    if isinstance(X, str | os.PathLike | Record | MicrovoltRecord):
        raise InputError(f"X is {_shown(X)}, one ECG and not a list of them; give [X]")
    columns = getattr(X, "columns", None)
    if columns is not None:  # a frame of pandas, polars or their like
        if len(columns) != 1:
            raise InputError(
                f"X is a table of {len(columns)} columns, {', '.join(map(str, columns))[:200]}; "
                "expected the column of paths alone"
            )
        X = np.asarray(X)[:, 0]
    if isinstance(X, np.ndarray):
        if X.dtype.kind in "iuf":
            if X.ndim != 3:
                remedy = "; of a single ECG, give X[None]" if X.ndim == 2 else ""
                raise InputError(f"X is {_shown(X)}; {_EXPECTED}{remedy}")
        elif X.ndim == 2 and X.shape[1] == 1:
            X = X[:, 0]
    # Of a set, nobody knows which row is which.
    if not hasattr(X, "__len__") or not hasattr(X, "__iter__") or isinstance(X, Mapping | Set):
        raise InputError(f"X is {_shown(X)}; {_EXPECTED}")
    if not len(X):
        raise InputError(f"X is empty; {_EXPECTED}")
    return X if isinstance(X, np.ndarray) and X.ndim == 3 else list(X)


def about_bad_rows(errors: dict[int, str], total: int) -> str:
    """Return what to say of ECGs that cannot be used: how many there are, and why each is.

    Args:
        errors: Row to its error.
        total: Number of rows.
    """
    named = [f"row {number}: {error}" for number, error in [*errors.items()][:_MOST_NAMED]]
    more = f"; and {len(errors) - _MOST_NAMED} more" if len(errors) > _MOST_NAMED else ""
    return f"{len(errors)} of {total} ECGs cannot be used: {'; '.join(named)}{more}"


def _shown(item: object) -> str:
    if isinstance(item, np.ndarray):
        return f"an array of shape {item.shape} and type {item.dtype}"
    if isinstance(item, str | os.PathLike):
        return f"the path {str(item)[:200]!r}"
    return f"of type {type(item).__name__}"
