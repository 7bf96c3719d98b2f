"""What the readers of single-file formats share: limits, named errors, one record type."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float64, Num

from ecgjepa.errors import EcgjepaError, RecordError, RecordFormatError, UnitError
from ecgjepa.io.opening import MAX_BYTES as MAX_BYTES
from ecgjepa.io.opening import read_bytes as read_bytes
from ecgjepa.io.opening import record_name
from ecgjepa.signals.leads import parse_lead
from ecgjepa.signals.record import Issue, MicrovoltRecord, Record

# Of one record: almost six hours of twelve leads at 500 Hz. In float32 with a mask they take
# 0.6 GB, and no reader holds more than four times that.
MAX_VALUES = MAX_BYTES // 8
# No ECG is sampled more slowly or faster; outside, the rate is wrong, and resampling would fill the
# memory.
RATE_LIMITS = (25.0, 50_000.0)
# What can be done with a record that is larger.
CUT_IT = (
    "Cut the recording into parts; or, for predict and embed, write it as WFDB of format 16 or 212 "
    "in one file, EDF, ISHNE or .npy, which these read in pieces"
)
Recorded = TypeVar("Recorded", bound=Record | MicrovoltRecord)
# From this many of the twelve on, the others follow by algebra or are few.
_ENOUGH_LEADS = 8


class Waveform(NamedTuple):
    """One of several waveforms in a file: leads that were sampled together.

    Attributes:
        leads: Names of its leads.
        sampling_rate: In Hz.
        num_samples: Of each lead.
        start: When it starts, in any unit that is the file's own.
    """

    leads: tuple[str, ...]
    sampling_rate: float
    num_samples: int
    start: str | float = 0.0

    @property
    def num_standard(self) -> int:
        """Number of its leads that are one of the twelve."""
        return sum(parse_lead(lead) is not None for lead in self.leads)


def accept_rate(source: Path | str, sampling_rate: float) -> float:
    """Return a sampling rate in Hz if an ECG can have it.

    Raises:
        RecordFormatError: If it is not between `RATE_LIMITS`.
    """
    least, most = RATE_LIMITS
    if not least <= sampling_rate <= most:
        raise RecordFormatError(
            f"{source}: sampling rate {sampling_rate:g} Hz; expected {least:g} Hz to {most:,.0f} "
            "Hz, between which all ECGs are sampled",
            reason="sampling_rate",
        )
    return sampling_rate


def accept_size(source: Path | str, num_samples: int, num_leads: int) -> None:
    """Refuse more samples than an ECG has, before memory is taken for them.

    Raises:
        RecordFormatError: If there are more than `MAX_VALUES` in all leads.
    """
    if num_samples * num_leads > MAX_VALUES:
        raise RecordFormatError(
            f"{source}: {num_samples:,} samples of {num_leads:,} leads are too many to be held at "
            f"once; expected at most {MAX_VALUES:,} values. {CUT_IT}"
        )


def accept_step(name: str, step: float, *, may_be_negative: bool = False) -> float:
    """Return the size of a step in mV if amplitudes can be known by it.

    With a step of 0, which programs write where they know none, all samples would be 0 mV.

    Args:
        name: The lead, for messages; nothing if it is of all leads.
        step: In mV.
        may_be_negative: Whether the format turns a lead round in this way.

    Raises:
        UnitError: If it is 0, negative or not finite.
    """
    if not math.isfinite(step) or step == 0 or (step < 0 and not may_be_negative):
        lead = f"lead {name}" if name else "each step"
        raise UnitError(
            f"{lead} has a step of {step:g} mV, so that its amplitudes are not known; expected "
            "more than 0",
            reason="not_calibrated",
        )
    return step


def require(path: Path, module: str) -> ModuleType:
    """Return an optional module.

    Raises:
        RecordFormatError: If it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise RecordFormatError(
            f"{path}: reading it needs {package}, which is not installed; run "
            "pip install 'ecgjepa[formats]'",
            reason="missing_package",
        ) from None


@contextmanager
def named_errors(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a parser raises on a damaged file into an error that names the file."""
    try:
        with warnings.catch_warnings():
            # What packages warn of is either checked here, or of no concern to the signal.
            warnings.simplefilter("ignore")
            yield
    except RecordError as error:
        if str(error).startswith(str(path)):
            raise
        raise type(error)(f"{path}: {error}", reason=error.reason) from None
    except EcgjepaError:
        raise
    except Exception as error:  # packages raise whatever their parsing runs into
        raise RecordFormatError(
            f"{path}: not readable as {kind}: {type(error).__name__}: {error}"
        ) from error


def make_record(
    path: Path,
    millivolt: Num[np.ndarray, "samples leads"],
    leads: Sequence[str],
    sampling_rate: float,
    *,
    valid: Bool[np.ndarray, "samples leads"] | None = None,
    issues: Sequence[Issue] = (),
) -> Record:
    """Return a record of amplitudes in mV; what is not finite is invalid.

    An array of float32 becomes the record's own, and is changed where it is invalid.
    """
    rate = accept_rate(path, float(sampling_rate))
    signal = millivolt.astype(np.float32, copy=False)
    usable = np.isfinite(signal) if valid is None else np.isfinite(signal) & valid
    if not usable.all():
        signal[~usable] = 0.0
    record = Record(
        signal=signal,
        valid=usable,
        leads=tuple(leads),
        sampling_rate=rate,
        record_id=record_name(path),
        source=str(path),
        issues=tuple(issues),
    )
    return without_repeats(record)


def without_repeats(record: Recorded) -> Recorded:
    """Leave out leads that a file holds twice with the same samples, with a note.

    Leads of one name with different samples are kept: which of them is right cannot be known.
    """
    if len(set(record.leads)) == len(record.leads):
        return record
    first: dict[str, int] = {}
    kept: list[int] = []
    for column, name in enumerate(record.leads):
        earlier = first.setdefault(name, column)
        if earlier == column or not (parse_lead(name) and _are_same(record, earlier, column)):
            kept.append(column)
    issues = tuple(
        Issue("other_channel", f"channel {name!r} is there again, with the same samples; used once")
        for column, name in enumerate(record.leads)
        if column not in kept
    )
    leads = tuple(record.leads[column] for column in kept)
    issues = record.issues + issues
    arrays: dict[str, Any] = {
        name: values[:, kept]
        for name in ("signal", "valid", "samples")
        if (values := getattr(record, name, None)) is not None
    }
    return replace(record, leads=leads, issues=issues, **arrays)


def _are_same(record: Record | MicrovoltRecord, one: int, other: int) -> bool:
    if isinstance(record, MicrovoltRecord):
        return np.array_equal(record.samples[:, one], record.samples[:, other])
    return np.array_equal(record.signal[:, one], record.signal[:, other]) and np.array_equal(
        record.valid[:, one], record.valid[:, other]
    )


def choose_waveforms(path: Path, waveforms: Sequence[Waveform]) -> tuple[list[int], list[Issue]]:
    """Return which of a file's rhythm waveforms make the ECG, and notes on the others.

    The one with the most standard leads, if it has eight or more of them (the longest of equals);
    else all of them, if they were sampled together.

    Raises:
        RecordFormatError: If there is none, or leads were recorded one group after another.
    """
    if not waveforms:
        raise RecordFormatError(f"{path}: holds no rhythm waveform", reason="no_rhythm")
    order = range(len(waveforms))
    best = max(order, key=lambda i: (waveforms[i].num_standard, waveforms[i].num_samples))
    if len(waveforms) == 1 or waveforms[best].num_standard >= _ENOUGH_LEADS:
        others = [waveforms[i] for i in order if i != best]
        return [best], [_left_out(other) for other in others]
    if len({waveform[1:] for waveform in waveforms}) == 1:
        return list(order), []
    parts = "; ".join(", ".join(waveform.leads) for waveform in waveforms)
    raise RecordFormatError(
        f"{path}: its leads were not recorded at the same time or rate ({parts}); expected one "
        f"rhythm waveform with at least {_ENOUGH_LEADS} of the twelve leads",
        reason="leads_apart",
    )


def counted(number: int, one: str, several: str) -> str:
    """Return a number with the word for one or for several."""
    return f"{number} {one if number == 1 else several}"


def without_pulse(
    signal: Float64[np.ndarray, "samples leads"], sampling_rate: float, tolerance: float
) -> tuple[Float64[np.ndarray, "kept leads"], list[Issue]]:
    """Leave out a calibration pulse at the end, and tell of it.

    It is a stretch in which all leads are alike and are 0, 1 mV, and 0 again; Philips Sierra files
    end so, and what was converted from them.

    Args:
        signal: In mV.
        sampling_rate: In Hz.
        tolerance: In mV, by which the pulse may differ from 0 and 1 mV.
    """
    first = signal[:, 0]
    height = np.rint(first)
    is_pulse = (
        (np.ptp(signal, axis=1) < tolerance)
        & (np.abs(first - height) <= tolerance)
        & ((height == 0) | (height == 1))
    )
    end = len(signal) - int(np.argmin(is_pulse[::-1]))
    tail = height[end:]
    has_pulse = len(np.flatnonzero(np.diff(tail))) == 2 and tail[0] == tail[-1] == 0
    if signal.shape[1] < _ENOUGH_LEADS or is_pulse.all() or not has_pulse:
        return signal, []
    seconds = len(tail) / sampling_rate
    words = f"the last {seconds:.3f} s, a calibration pulse in all leads, are left out"
    return signal[:end], [Issue("calibration_pulse", words)]


def _left_out(waveform: Waveform) -> Issue:
    words = f"{', '.join(waveform.leads)} ({waveform.num_samples} samples)"
    return Issue("other_waveform", f"another rhythm waveform is not used: {words}")
