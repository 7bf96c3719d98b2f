"""From the arrays of a file to the leads of one record, as the file's description says."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
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
# Of values that are scaled: arrays as long as the record would leave the processor's cache, and
# memory would be fetched from the system anew for each record.
_ROWS_AT_ONCE = 1024


def choose_array(
    path: Path, shapes: Mapping[str, tuple[int, ...]], described: Description
) -> tuple[str, Description]:
    """Return the name of the array that holds the record, and the description of it alone.

    Args:
        path: The file, for messages.
        shapes: Shape of every array of numbers in the file.
        described: Its description, with the key that was asked for.

    Raises:
        RecordFormatError: If there is none, or the choice is not clear.
    """
    if not described.is_pattern:
        return choose_variable(path, shapes, described), described
    keys = keys_of(path, shapes, described)
    if described.key not in keys:
        raise _no_such_record(path, keys, described)
    assert described.key is not None
    name, index = described.key, None
    if name not in shapes:
        name, _, index = name.rpartition("/")
    return name, described._replace(variable=name, key=index)


def keys_of(
    path: Path, shapes: Mapping[str, tuple[int, ...]], described: Description
) -> tuple[str, ...]:
    """Return the keys of the records in a file of several; none if it holds one.

    The records of an array are counted from 0. Arrays that are a record each, as the description's
    pattern tells, have their names as keys; the records of such an array are ``name/0`` and so on.

    Raises:
        RecordFormatError: If the arrays are not as described.
    """
    if described.is_pattern:
        names = [name for name in shapes if fnmatchcase(name, described.variable or "")]
        return tuple(
            key
            for name in names
            for key in _keys_of_array(path, shapes[name], described, f"{name}/") or (name,)
        )
    name = choose_variable(path, shapes, described)
    return _keys_of_array(path, shapes[name], described, "")


def _keys_of_array(
    path: Path, shape: tuple[int, ...], described: Description, prefix: str
) -> tuple[str, ...]:
    axes = axes_of(path, shape, described)
    if "records" not in axes or described.record is not None:
        return ()
    count = shape[axes.index("records")]
    return () if count == 1 else tuple(f"{prefix}{number}" for number in range(count))


def _no_such_record(path: Path, keys: Sequence[str], described: Description) -> RecordFormatError:
    words = f"{path}: holds {len(keys):,} records"
    if not keys:
        return RecordFormatError(f"{words} whose names are like {described.variable!r}")
    if described.key is not None:
        words += f", and none is {described.key[:100]!r}"
    return RecordFormatError(
        f"{words}; name one, as {path.name}#{_shown(keys[0])} to {path.name}#{_shown(keys[-1])}",
        reason="several_records",
    )


def _shown(key: str) -> str:
    return key.encode(errors="backslashreplace").decode()[:100]


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
        'or its name as "variable" in the description, or "variable": "*" if each is a record'
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
    axes, key = axes_of(path, shape, described), described.key
    if "records" not in axes:
        if key is not None:
            raise RecordFormatError(f"{path}: holds one record, and none is {key[:100]!r}")
        return None, 0, axes
    axis = axes.index("records")
    num_records, record = shape[axis], described.record
    if key is not None:
        record = int(key) if re.fullmatch(r"[0-9]{1,12}", key) else num_records
    if record is None and num_records != 1:
        raise RecordFormatError(
            f"{path}: its array of shape {shape} holds {num_records:,} records; name one, as "
            f'{path.name}#0 to {path.name}#{num_records - 1}, or tell it as "record" in the '
            "description. An archive takes each (of .mat and packed files, if axes are told)",
            reason="several_records",
        )
    if (record or 0) >= num_records:
        asked = f"its description names record {record}" if key is None else f"asked for {key!r}"
        raise RecordFormatError(
            f"{path}: holds {num_records:,} records; {asked[:200]}, and the first is 0"
        )
    return record or 0, axis, tuple(each for each in axes if each != "records")


def axes_of(path: Path, shape: tuple[int, ...], described: Description) -> tuple[str, ...]:
    """Return what the axes of an array are, as told or by the number of leads.

    Raises:
        RecordFormatError: If the shape does not fit the description.
    """
    leads = _told_leads(path, described)
    axes = described.axes or _axes_by_shape(shape, len(leads))
    if axes is None or len(axes) != len(shape) or shape[axes.index("leads")] != len(leads):
        raise RecordFormatError(
            f"{path}: its array has shape {shape}; expected (samples, {len(leads)}) or "
            f"({len(leads)}, samples), one column or row for each of {', '.join(leads)}, or the "
            'order of its axes as "axes": ["records", "leads", "samples"] in the description'
        )
    return axes


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
    millivolt = np.empty(values.shape, np.float32)
    for first in range(0, len(values), _ROWS_AT_ONCE):
        part = values[first : first + _ROWS_AT_ONCE].astype(np.float64)
        part -= baseline
        part *= step
        millivolt[first : first + _ROWS_AT_ONCE] = part
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
