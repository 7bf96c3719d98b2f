"""What happens to a record once: gaps, baseline, resampling, and the 1 µV integers of the store.

The same function prepares a record for the store and for a prediction, so that training and use
cannot drift apart.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Num
from pydantic import Field, model_validator

from ecgjepa.config import Section
from ecgjepa.config.networks import LEAST_HERTZ, MOST_HERTZ
from ecgjepa.signals import lead_order, quality
from ecgjepa.signals.gaps import bridge_gaps, fill_short_gaps, resample_mask
from ecgjepa.signals.leads import LEADS, column_order
from ecgjepa.signals.measures import Measures, measure, measure_each, stack
from ecgjepa.signals.microvolt import as_microvolt_record, round_to_microvolt, to_microvolt
from ecgjepa.signals.record import Issue, MicrovoltRecord, Record, standardise_leads
from ecgjepa.signals.resampling import (
    resample_millivolt,
    resample_rows,
    usable_ratio,
)
from ecgjepa.signals.stretches.samples import Samples


class PreprocessingConfig(Section):
    """What happens to a record once, at ingest and before every prediction.

    Attributes:
        sampling_rate: Rate in Hz that records are resampled to.
        leads: Leads kept, in this order.
        highpass_hz: Cut-off of the zero-phase high-pass against baseline wander; None for none.
        max_gap_seconds: Gaps up to this long are bridged by a line; longer ones stay invalid.

    Example:
        >>> import ecgjepa
        >>> ecgjepa.PreprocessingConfig(sampling_rate=100, highpass_hz=0.5).max_gap_seconds
        0.04
    """

    sampling_rate: float = Field(500.0, ge=LEAST_HERTZ, le=MOST_HERTZ)
    leads: tuple[str, ...] = Field(LEADS, min_length=1)
    # Above the upper limit, records of the lowest rate that is read could not be filtered.
    highpass_hz: float | None = Field(None, ge=0.01, lt=LEAST_HERTZ / 2)
    max_gap_seconds: float = Field(0.04, ge=0, le=60)

    @model_validator(mode="after")
    def _leads_differ(self) -> "PreprocessingConfig":
        for name in self.leads:
            if name not in LEADS:
                raise ValueError(f"leads: {name[:40]!r} is not one of {', '.join(LEADS)}")
            if self.leads.count(name) > 1:
                raise ValueError(f"leads: {name} comes more than once")
        return self


class Prepared(NamedTuple):
    """A record as the store holds it.

    Attributes:
        samples: In µV, -32768 where invalid; those of a long record are prepared when used.
        issues: All that was noticed, from reading to the judgement of quality.
        measures: What the judgement rests on.
        quality: From 0 to 1; see `ecgjepa.signals.quality.quality_score`.
    """

    samples: Samples
    issues: tuple[Issue, ...]
    measures: Measures
    quality: float


def prepare_record(source: Record | MicrovoltRecord, config: PreprocessingConfig) -> Prepared:
    """Preprocess a record, round it to 1 µV and note the faults of its leads.

    A record of whole microvolts, without gaps and with all leads, is worked on as integers in
    whichever of the two types it comes, so that both give the same result.

    Raises:
        LeadError: If leads are duplicated or none is known.
        RecordFormatError: If the rates are in no usable ratio.
    """
    exact = _as_exact(source, config)
    if exact is not None:
        return _prepare_exact([exact], config)[0]
    record = source.as_record() if isinstance(source, MicrovoltRecord) else source
    record = standardise_leads(record, config.leads)
    # Filters round off the corners that give a saturated lead away.
    saturated = quality.saturated_leads(record.signal, record.sampling_rate, one_millivolt=1.0)
    record = preprocess(record, config)
    samples, range_issues = to_microvolt(record)
    measures = measure(samples, config.sampling_rate)
    issues = record.issues + range_issues
    return judge([samples], [measures], config, [issues], [saturated])[0]


def prepare_records(
    sources: Sequence[Record | MicrovoltRecord], config: PreprocessingConfig
) -> list[Prepared]:
    """Prepare records as `prepare_record` does, in half the time where they are alike.

    Raises:
        RecordError: As `prepare_record` for any of them.
    """
    exact = [_as_exact(source, config) for source in sources]
    alike: dict[object, list[int]] = {}
    for place, source in enumerate(exact):
        if source is not None:
            kind = (source.samples.shape, source.leads, source.sampling_rate)
            alike.setdefault(kind, []).append(place)
    found: dict[int, Prepared] = {}
    for places in alike.values():
        together = [source for place in places if (source := exact[place]) is not None]
        found |= zip(places, _prepare_exact(together, config), strict=True)
    return [
        found[place] if place in found else prepare_record(source, config)
        for place, source in enumerate(sources)
    ]


def _as_exact(
    source: Record | MicrovoltRecord, config: PreprocessingConfig
) -> MicrovoltRecord | None:
    """Return a record as whole microvolts if it needs no filter, no lead and no bridge."""
    if config.highpass_hz is not None or column_order(source.leads, config.leads) is None:
        return None
    return source if isinstance(source, MicrovoltRecord) else as_microvolt_record(source)


def _prepare_exact(
    sources: Sequence[MicrovoltRecord], config: PreprocessingConfig
) -> list[Prepared]:
    """Prepare whole microvolts that need no filter, of one length, rate and order of leads."""
    old, new = sources[0].sampling_rate, config.sampling_rate
    order = column_order(sources[0].leads, config.leads)
    assert order is not None, "the caller has checked that"
    issues = [source.issues for source in sources]
    if old == new:
        samples = [in_order(source.samples, order) for source in sources]
        measures = measure_each(samples, new)
        spans = [(int(own.low.min()), int(own.high.max())) for own in measures]
        saturated = [
            quality.saturated_leads(own, new, one_millivolt=1000.0, extremes=span)
            for own, span in zip(samples, spans, strict=True)
        ]
    else:
        # A filter against aliasing, too, rounds corners off.
        saturated = [
            quality.saturated_leads(source.samples, old, one_millivolt=1000.0)[list(order)]
            for source in sources
        ]
        ratio = usable_ratio(sources[0], new)
        rounded = [
            round_to_microvolt(
                in_order(resample_rows(source.samples, ratio), order), None, config.leads
            )
            for source in sources
        ]
        samples = [integers for integers, _ in rounded]
        note = resampled_note(old, new)
        issues = [(*known, note, *more) for known, (_, more) in zip(issues, rounded, strict=True)]
        measures = measure_each(samples, new)
    return judge(samples, measures, config, issues, saturated)


def in_order(
    samples: Num[np.ndarray, "samples leads"], order: tuple[int, ...]
) -> Num[np.ndarray, "samples leads"]:
    """Return the columns in another order, contiguous."""
    moved = [(target, column) for target, column in enumerate(order) if target != column]
    result = np.ascontiguousarray(samples)
    if not moved:
        return result
    if result is samples:  # and only the columns out of place again: several times faster
        result = samples.copy()
    for target, column in moved:
        result[:, target] = samples[:, column]
    return result


def judge(
    samples: Sequence[Samples],
    measures: Sequence[Measures],
    config: PreprocessingConfig,
    issues: Sequence[tuple[Issue, ...]],
    saturated: Sequence[Bool[np.ndarray, " leads"]],
) -> list[Prepared]:
    """Judge records of one length. What concerns few of them is asked of all at once first."""
    together, length = stack(measures), len(samples[0])
    is_odd = quality.is_suspicious(together, length).tolist()
    are_limbs = config.leads == LEADS
    is_doubtful = lead_order.is_suspicious(together, length).tolist() if are_limbs else is_odd
    scores = quality.quality_scores(together)
    judged = []
    for row, own in enumerate(measures):
        found = quality.saturation_issues(saturated[row], config.leads)
        if is_odd[row]:
            found += quality.quality_issues(own, config.leads, length)
        if are_limbs and is_doubtful[row]:
            found += lead_order.limb_lead_issues(samples[row], own)
            found += lead_order.electrode_hints(own, length)
        missing = {issue.lead for issue in issues[row] if issue.code == "missing_lead"}
        # A lead that is not in the file is said to be missing, and that is all there is to say.
        found = [issue for issue in found if issue.lead not in missing]
        score = round(scores[row], 4)
        unusable = missing | {issue.lead for issue in found if issue.code == "invalid_lead"}
        if score < quality.LOW_SCORE and not unusable:  # of such leads enough is said
            words = f"scores {score:.2f} of 1, like recordings that people find unacceptable"
            found.append(Issue("low_quality", words))
        judged.append(Prepared(samples[row], issues[row] + tuple(found), own, score))
    return judged


def preprocess(record: Record, config: PreprocessingConfig) -> Record:
    """Return the record with the leads, rate and filter that the store has.

    In this order: leads by name, short gaps bridged, baseline wander removed if asked, resampled
    with an anti-aliasing filter.

    Raises:
        LeadError: If leads are duplicated or none is known.
        RecordFormatError: If the rates are in no usable ratio.
    """
    if record.leads != config.leads:
        record = standardise_leads(record, config.leads)
    record = fill_short_gaps(record, config.max_gap_seconds)
    if config.highpass_hz is not None:
        record = remove_baseline(record, config.highpass_hz)
    return resample(record, config.sampling_rate)


def remove_baseline(record: Record, cutoff_hz: float) -> Record:
    """High-pass with a Butterworth filter of order 4, run both ways (no phase shift).

    Invalid samples are bridged for the filter and set back to 0.
    """
    filtered = high_pass(bridge_gaps(record), cutoff_hz, record.sampling_rate)
    filtered[~record.valid] = 0.0
    return replace(record, signal=filtered)


def high_pass(
    signal: Float32[np.ndarray, "samples leads"], cutoff_hz: float, sampling_rate: float
) -> Float32[np.ndarray, "samples leads"]:
    """Filter a signal without gaps as `remove_baseline` does."""
    from scipy import signal as dsp  # takes longer to import than a large store to open

    sections = dsp.butter(4, cutoff_hz, btype="highpass", fs=sampling_rate, output="sos")
    # sosfiltfilt pads by three times the filter's length; shorter records need a shorter pad.
    padding = min(27, len(signal) - 1)
    filtered = dsp.sosfiltfilt(sections, signal.astype(np.float64), axis=0, padlen=padding)
    return np.asarray(filtered, np.float32)


def resample(record: Record, sampling_rate: float) -> Record:
    """Change the sampling rate with a polyphase anti-aliasing filter.

    The ratio is taken as an exact fraction (257 Hz to 500 Hz is 500/257). A resampled sample
    counts as valid if no invalid one lies within one old sampling interval.

    Raises:
        RecordFormatError: If the ratio is not a fraction with terms up to 10,000.
    """
    if record.sampling_rate == sampling_rate:
        return record
    ratio = usable_ratio(record, sampling_rate)
    signal = resample_millivolt(bridge_gaps(record), ratio)
    valid = np.ones(signal.shape, np.bool_)
    if not record.valid.all():
        valid = resample_mask(record.valid, ratio, len(signal))
        signal[~valid] = 0.0
    resampled = replace(record, signal=signal, valid=valid, sampling_rate=sampling_rate)
    return resampled.with_issues(resampled_note(record.sampling_rate, sampling_rate))


def resampled_note(old_rate: float, new_rate: float) -> Issue:
    """Return the note on a change of the sampling rate."""
    return Issue("resampled", f"from {old_rate:g} Hz to {new_rate:g} Hz")
