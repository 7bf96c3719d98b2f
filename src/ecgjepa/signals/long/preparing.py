"""Prepare a record that is read in pieces: what `prepare_record` makes of the whole one.

Every step but one needs only what lies nearby: bridging a short gap, the filter against aliasing, a
mask. The high-pass needs all that came before, but forgets it; so a stretch is filtered with so
much on both sides that less than float32 can show is left. What does concern the whole (whether
samples are whole microvolts, the extremes of a lead, where long gaps begin and end, the line
through the ends of the record) is found beforehand.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import replace
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int16, Int64

from ecgjepa.signals.gaps import bridge_gaps, fill_short_gaps, resample_mask_part
from ecgjepa.signals.leads import column_order
from ecgjepa.signals.long.measures import measure_long
from ecgjepa.signals.long.survey import (
    PIECE_VALUES,
    GapFinder,
    Rests,
    is_of_microvolts,
    pieces,
)
from ecgjepa.signals.microvolt import as_microvolt_record, range_issues, round_and_count
from ecgjepa.signals.preprocessing import (
    Prepared,
    PreprocessingConfig,
    high_pass,
    in_order,
    judge,
    resampled_note,
)
from ecgjepa.signals.record import Issue, LongRecord, MicrovoltRecord, Record, standardise_leads
from ecgjepa.signals.resampling import (
    Whole,
    inputs_of,
    num_resampled,
    resample_part,
    usable_ratio,
)
from ecgjepa.signals.stretches.samples import LongSamples

# Cut-off times seconds after which the high-pass has forgotten all but 1e-12 of a sample: its
# slowest pole falls by exp(-2 pi sin(pi / 8)) in that product of 1.
_FORGOTTEN = 12.0
# Values beside gaps that are kept.
_MOST_KNOWN = 256


def prepare_long(source: LongRecord, config: PreprocessingConfig) -> Prepared:
    """Prepare a record as `prepare_record` does; its samples are prepared whenever they are used.

    Raises:
        LeadError: If leads are duplicated or none is known.
        RecordFormatError: If the rates are in no usable ratio, or the file cannot be read.
    """
    order = None if config.highpass_hz is not None else column_order(source.leads, config.leads)
    plan: _Exact | _Filtered
    if order is not None and is_of_microvolts(source):
        plan = _Exact(source, config, order)
    else:
        plan = _Filtered(source, config)
    num_leads = len(config.leads)
    step = PIECE_VALUES * plan.num_samples // source.num_samples // num_leads
    samples = LongSamples(plan.prepare, (plan.num_samples, num_leads), max(1, step))
    measures = measure_long(samples, config.sampling_rate)
    issues = (*plan.issues, *range_issues(plan.out_of_range, config.leads))
    return judge([samples], [measures], config, [issues], [plan.saturated])[0]


class _Plan(ABC):
    """How stretches of a record are prepared.

    Attributes:
        num_samples: Samples of the prepared record.
        out_of_range: Number of samples of each lead that do not fit into 16 bits, among those that
            have been prepared.
        issues: What is noticed without looking at prepared samples.
        saturated: Leads that rest at their extremes.
    """

    issues: tuple[Issue, ...]
    saturated: Bool[np.ndarray, " leads"]

    def __init__(self, source: LongRecord, config: PreprocessingConfig) -> None:
        self.out_of_range = np.zeros(len(config.leads), np.int64)
        self.num_samples = source.num_samples
        self._source, self._config = source, config
        self._counted = 0
        self._ratio: Fraction | None = None
        self._notes: tuple[Issue, ...] = ()
        if source.sampling_rate != config.sampling_rate:
            self._ratio = usable_ratio(source, config.sampling_rate)
            self.num_samples = num_resampled(source.num_samples, self._ratio)
            self._notes = (resampled_note(source.sampling_rate, config.sampling_rate),)

    @abstractmethod
    def prepare(self, start: int, stop: int) -> Int16[np.ndarray, "samples leads"]:
        """Return prepared samples from one to before another."""

    def _needed(self, start: int, stop: int) -> tuple[int, int]:
        """Return which samples of the file some prepared ones rest on, filters of time apart."""
        if self._ratio is None:
            return start, stop
        # The filter against aliasing reaches further than a mask does.
        return self._inside(*inputs_of(self._ratio, start, stop))

    def _inside(self, first: int, last: int) -> tuple[int, int]:
        return max(0, first), min(self._source.num_samples, last)

    def _rounded(
        self,
        microvolt: Float[np.ndarray, "samples leads"],
        valid: Bool[np.ndarray, "samples leads"] | None,
        start: int,
    ) -> Int16[np.ndarray, "samples leads"]:
        """Round samples from ``start`` on, and count each that does not fit once."""
        integers, counts = round_and_count(microvolt, valid)
        if start == self._counted:  # They are looked at for the first time.
            self._counted += len(integers)
            self.out_of_range += 0 if counts is None else counts
        return integers


class _Exact(_Plan):
    """A record of whole microvolts that needs no filter, worked on as integers."""

    def __init__(
        self, source: LongRecord, config: PreprocessingConfig, order: tuple[int, ...]
    ) -> None:
        super().__init__(source, config)
        self.issues = source.issues + self._notes
        rests = Rests(len(source.leads), source.sampling_rate, one_millivolt=1000.0)
        for piece in pieces(source):
            rests.add(_integers(piece))
        self.saturated = rests.saturated()[list(order)]
        self._order = order
        total = source.num_samples
        head, tail = (_integers(source.read(at, at + 1))[0] for at in (0, total - 1))
        self._whole = Whole(total, head, tail)

    def prepare(self, start: int, stop: int) -> Int16[np.ndarray, "samples leads"]:
        first, last = self._needed(start, stop)
        samples = _integers(self._source.read(first, last))
        if self._ratio is None:
            return in_order(samples, self._order)
        rows = resample_part(samples, first, self._whole, self._ratio, start, stop)
        return self._rounded(in_order(rows, self._order), None, start)


class _Filtered(_Plan):
    """Any other record."""

    def __init__(self, source: LongRecord, config: PreprocessingConfig) -> None:
        super().__init__(source, config)
        rate, cutoff = source.sampling_rate, config.highpass_hz
        seconds = 1.0 if cutoff is None else 2 * _FORGOTTEN / cutoff
        # Gaps of more than half the margin are known; so are all that are bridged for good.
        bridged = int(config.max_gap_seconds * rate)
        self._margin = max(math.ceil(seconds * rate), 2 * (bridged + 1))
        rests = Rests(len(config.leads), rate, one_millivolt=1.0)
        gaps = GapFinder(len(config.leads), self._margin // 2)
        for piece in pieces(source):
            record = self._standard(piece)
            rests.add(record.signal)
            gaps.add(record.valid)
        self.issues, self.saturated = record.issues + self._notes, rests.saturated()
        self._gaps = gaps.finish()
        self._known: dict[tuple[int, bool], Float32[np.ndarray, " leads"]] = {}
        total = source.num_samples
        if self._ratio is not None:
            head, tail = (self._ends(at, at + 1) * 1e3 for at in (0, total - 1))
            self._whole = Whole(total, head[0], tail[0])

    def prepare(self, start: int, stop: int) -> Int16[np.ndarray, "samples leads"]:
        record, offset = self._filtered(*self._needed(start, stop))
        if self._ratio is None:
            part = slice(start - offset, stop - offset)
            signal, valid = record.signal[part], record.valid[part]
        else:
            signal = self._bridged(record, offset, is_filtered=True).astype(np.float64) * 1e3
            rows = resample_part(signal, offset, self._whole, self._ratio, start, stop)
            signal = (rows / 1e3).astype(np.float32)
            total = self._source.num_samples
            valid = resample_mask_part(record.valid, offset, total, self._ratio, start, stop)
            signal[~valid] = 0.0
        mask = None if valid.all() else valid
        return self._rounded(signal * np.float32(1000.0), mask, start)

    def _standard(self, piece: Record | MicrovoltRecord) -> Record:
        record = piece.as_record() if isinstance(piece, MicrovoltRecord) else piece
        return standardise_leads(record, self._config.leads)

    def _filtered(self, first: int, last: int) -> tuple[Record, int]:
        """Return some samples of the file after the high-pass, with more around, and their place.

        What is more is not right at its edges, unless they are those of the record.
        """
        first, last = self._inside(first - self._margin, last + self._margin)
        record = self._standard(self._source.read(first, last))
        record = fill_short_gaps(record, self._config.max_gap_seconds)
        if (cutoff := self._config.highpass_hz) is not None:
            bridged = self._bridged(record, first, is_filtered=False)
            signal = high_pass(bridged, cutoff, record.sampling_rate)
            signal[~record.valid] = 0.0
            record = replace(record, signal=signal)
        return record, first

    def _bridged(
        self, record: Record, offset: int, *, is_filtered: bool
    ) -> Float32[np.ndarray, "samples leads"]:
        """Bridge gaps as in the whole record, also those that only begin or end in this part."""
        signal, total = bridge_gaps(record), self._source.num_samples
        end = offset + record.num_samples
        for lead, gaps in enumerate(self._gaps):
            for at in {offset, end - 1}:
                known = bisect_right(gaps.starts, at) - 1
                if known < 0 or gaps.stops[known] <= at:
                    continue
                start, stop = gaps.starts[known], gaps.stops[known]
                if stop - start == total or (start >= offset and stop <= end):
                    continue
                if signal is record.signal:
                    signal = signal.copy()
                left, right = (
                    self._value(place, lead, is_filtered) if 0 <= place < total else None
                    for place in (start - 1, stop)
                )
                inside = np.arange(max(start, offset), min(stop, end))
                signal[inside - offset, lead] = _line(inside, start - 1, stop, left, right)
        return signal

    def _value(self, place: int, lead: int, is_filtered: bool) -> float:
        """Return a lead's value in mV beside a gap."""
        key = place, is_filtered
        if key not in self._known:
            if len(self._known) == _MOST_KNOWN:
                self._known.clear()
            if is_filtered:
                record, offset = self._filtered(place, place + 1)
                self._known[key] = record.signal[place - offset].copy()
            else:
                self._known[key] = self._standard(self._source.read(place, place + 1)).signal[0]
        return float(self._known[key][lead])

    def _ends(self, start: int, stop: int) -> Float64[np.ndarray, "samples leads"]:
        """Return samples in mV as they are resampled: filtered and without gaps."""
        record, offset = self._filtered(start, stop)
        bridged = self._bridged(record, offset, is_filtered=True)
        return bridged[start - offset : stop - offset].astype(np.float64)


def _integers(piece: Record | MicrovoltRecord) -> Int16[np.ndarray, "samples leads"]:
    exact = piece if isinstance(piece, MicrovoltRecord) else as_microvolt_record(piece)
    assert exact is not None, "all samples have been found to be whole microvolts"
    return exact.samples


def _line(
    places: Int64[np.ndarray, " places"],
    before: int,
    after: int,
    left: float | None,
    right: float | None,
) -> Float64[np.ndarray, " places"]:
    """Return the line between two samples; without one of them the other holds."""
    if left is None or right is None:
        known = left if left is not None else right
        assert known is not None, "a gap from one end to the other is not bridged"
        return np.full(len(places), known)
    return np.interp(places, [before, after], [left, right])
