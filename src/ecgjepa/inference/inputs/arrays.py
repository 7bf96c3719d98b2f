"""Arrays in memory as records: what is finite is valid."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ecgjepa.errors import LeadError, RecordFormatError, UnitError
from ecgjepa.io.content import accept_rate, accept_size
from ecgjepa.signals.record import Record
from ecgjepa.signals.units import millivolt_per_unit


def records_of_array(
    signal: ArrayLike, sampling_rate: float, leads: Sequence[str], unit: str
) -> Iterator[Record]:
    """Yield the records of an array (samples, leads) or (records, samples, leads), one by one.

    Args:
        signal: Amplitudes; what is not finite is invalid.
        sampling_rate: In Hz.
        leads: Name of each column.
        unit: Unit of the amplitudes, such as ``mV`` or ``µV``.

    Raises:
        RecordFormatError: If the array has other axes, does not hold numbers, holds more than an
            ECG has, or no ECG is sampled at such a rate.
        LeadError: If there are more or fewer names than columns.
        UnitError: If the unit is not a voltage.
    """
    values = np.asarray(signal)
    if isinstance(leads, str):
        raise LeadError(f"leads is the text {leads!r}; expected a list of names, one a column")
    if values.ndim not in (2, 3) or values.dtype.kind not in "iuf":
        raise RecordFormatError(
            f"signal is an array of shape {values.shape} and type {values.dtype}; expected numbers "
            "as (samples, leads) or (records, samples, leads)"
        )
    if values.shape[-1] != len(leads):
        is_turned = values.shape[-2] == len(leads)
        remedy = "; it seems to be (leads, samples): give signal.swapaxes(-1, -2)"
        raise LeadError(
            f"signal of shape {values.shape} has {values.shape[-1]} columns, but leads names "
            f"{len(leads)}{remedy if is_turned else ''}"
        )
    try:
        factor = millivolt_per_unit(unit)
    except UnitError as error:
        raise UnitError(f"unit of the signal: {error}") from None
    rate = accept_rate("signal", float(sampling_rate))
    for number, own in enumerate(values if values.ndim == 3 else values[None]):
        name = f"signal {number}" if values.ndim == 3 else "signal"
        accept_size(name, *own.shape)
        yield _record(own, name, rate, tuple(leads), factor)


def _record(
    values: np.ndarray, name: str, rate: float, leads: tuple[str, ...], factor: float
) -> Record:
    with np.errstate(over="ignore"):  # What float32 cannot hold is not finite, so invalid.
        signal = (values * np.float64(factor)).astype(np.float32)
    valid = np.isfinite(signal)
    signal[~valid] = 0.0
    return Record(signal, valid, leads, rate, record_id=name)
