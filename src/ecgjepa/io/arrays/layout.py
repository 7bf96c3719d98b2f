"""From the arrays of a file to the leads of one record, as the file's description says."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Num

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.arrays.description import EXAMPLE, Description
from ecgjepa.io.content import accept_size, make_record
from ecgjepa.signals.record import Issue, Record

# Names under which programs keep the signal, in the order of preference.
_USUAL = ("signal", "signals", "val", "feats", "ecg.data", "ecg", "data", "tracings", "x")
_SHOWN = 20


def choose_variable(
    path: Path, shapes: Mapping[str, tuple[int, ...]], described: Description
) -> str:
    """Return the name of the array that holds the signal.

    The one that the description names; else the only one of two or three axes of which one is as
    long as there are leads; else, of several such, the one of a usual name.

    Args:
        path: The file, for messages.
        shapes: Shape of every array of numbers in the file.
        described: Its description.

    Raises:
        RecordFormatError: If there is none, or the choice is not clear.
    """
    some = ", ".join(f"{name} {shape}" for name, shape in list(shapes.items())[:_SHOWN])
    if described.variable is not None:
        if described.variable not in shapes:
            raise RecordFormatError(
                f"{path}: its description names the variable {described.variable!r}, but the file "
                f"holds {some or 'no array of numbers'}"
            )
        return described.variable
    num_leads = len(_told_leads(path, described))
    fitting = [
        name for name, shape in shapes.items() if 2 <= len(shape) <= 3 and num_leads in shape
    ]
    usual = sorted(
        (name for name in fitting if name.lower() in _USUAL),
        key=lambda name: _USUAL.index(name.lower()),
    )
    if len(fitting) == 1 or usual:
        return (usual or fitting)[0]
    raise RecordFormatError(
        f"{path}: holds {some or 'no array of numbers'}; expected one array of {num_leads} leads, "
        'or its name as "variable" in the description'
    )


def one_record(
    path: Path, shape: tuple[int, ...], described: Description
) -> tuple[int | None, int, tuple[str, ...]]:
    """Return which part of an array is the record that is meant, and what its axes are.

    Args:
        path: The file, for messages.
        shape: The array's shape.
        described: Its description, which tells the leads.

    Returns:
        The index of the record (None for all of an array that holds one), the axis it is an index
        of, and the names of the axes that remain.

    Raises:
        RecordFormatError: If the shape does not fit the description, or one of several records
            must be chosen.
    """
    leads = _told_leads(path, described)
    axes = described.axes or _axes_by_shape(shape, len(leads))
    if axes is None or len(axes) != len(shape) or shape[axes.index("leads")] != len(leads):
        raise RecordFormatError(
            f"{path}: its array has shape {shape}; expected (samples, {len(leads)}) or "
            f"({len(leads)}, samples), one column or row for each of {', '.join(leads)}, or the "
            'order of its axes as "axes": ["records", "leads", "samples"] in the description'
        )
    if "records" not in axes:
        return None, 0, axes
    axis = axes.index("records")
    num_records, record = shape[axis], described.record
    if record is None and num_records != 1:
        raise RecordFormatError(
            f"{path}: its array of shape {shape} holds {num_records:,} records; tell which one is "
            f'meant as "record": 0 to {num_records - 1} in the description, or write a file each'
        )
    if (record or 0) >= num_records:
        raise RecordFormatError(
            f"{path}: holds {num_records:,} records; its description names record {record}, and "
            "the first is 0"
        )
    return record or 0, axis, tuple(each for each in axes if each != "records")


def record_of_array(
    path: Path,
    values: Num[np.ndarray, "..."],
    described: Description,
    issues: Sequence[Issue] = (),
) -> Record:
    """Return the record that an array holds: leads along either axis, or several records.

    Raises:
        RecordFormatError: If the array is not as described.
        UnitError: If the unit is not a voltage.
    """
    index, axis, axes = one_record(path, values.shape, described)
    if index is not None:
        values = values.take(index, axis=axis)
    if axes == ("leads", "samples"):
        values = values.T
    return record_of_columns(path, values, _told_leads(path, described), described, issues=issues)


def record_of_columns(
    path: Path,
    values: Num[np.ndarray, "samples leads"],
    leads: Sequence[str],
    described: Description,
    *,
    unit: str | None = None,
    sampling_rate: float | None = None,
    issues: Sequence[Issue] = (),
) -> Record:
    """Return a record of values in the unit and with the gain that the description tells.

    Args:
        path: The file.
        values: A column a lead.
        leads: The leads.
        described: Tells rate, unit, gain and baseline.
        unit: Unit that the file itself tells, where the description does not.
        sampling_rate: Rate that the file itself tells, where the description does not.
        issues: What was noticed so far.

    Raises:
        RecordFormatError: If values are not numbers, too many, or rate or unit are not told.
        UnitError: If the unit is not a voltage.
    """
    rate = described.sampling_rate or sampling_rate
    if rate is None or not (described.unit or unit):
        what = "sampling rate" if rate is None else "unit"
        raise RecordFormatError(f"{described.place}: tells no {what}; expected {EXAMPLE}")
    if values.dtype.kind not in "iuf":
        raise RecordFormatError(f"{path}: holds {values.dtype} values; expected numbers")
    accept_size(path, len(values), max(len(leads), values.shape[1]))
    step, baseline = described.scale(len(leads), unit)
    millivolt = (values.astype(np.float64) - baseline) * step
    return make_record(path, millivolt, leads, rate, issues=issues)


def _told_leads(path: Path, described: Description) -> tuple[str, ...]:
    if described.leads is None:
        raise RecordFormatError(f"{path}: its description names no leads; expected {EXAMPLE}")
    return described.leads


def _axes_by_shape(shape: tuple[int, ...], num_leads: int) -> tuple[str, ...] | None:
    """Return what the axes are if the number of leads leaves no doubt.

    A square array is taken as samples by leads, the order of a table. The first axis of three is
    that of records: no program puts it elsewhere.
    """
    if len(shape) == 3 and (rest := _axes_by_shape(shape[1:], num_leads)):
        return ("records", *rest)
    if len(shape) != 2 or num_leads not in shape:
        return None
    return ("samples", "leads") if shape[1] == num_leads else ("leads", "samples")
