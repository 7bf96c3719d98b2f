"""Channels of one file that differ in rate become the leads of one record."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from ecgjepa.io.content import accept_rate, accept_size
from ecgjepa.signals.leads import parse_lead
from ecgjepa.signals.record import Issue, Record


class Channel(NamedTuple):
    """One channel of a file, at its own rate.

    Attributes:
        lead: Its name, as in the file.
        signal: Amplitudes in mV.
        valid: False where nothing was recorded.
        sampling_rate: In Hz.
    """

    lead: str
    signal: Float32[np.ndarray, " samples"]
    valid: Bool[np.ndarray, " samples"]
    sampling_rate: float


class Aligned(NamedTuple):
    """Channels at one rate.

    Attributes:
        leads: Their names.
        signal: Amplitudes in mV.
        valid: False where nothing was recorded.
        sampling_rate: In Hz.
        issues: What was resampled or left out.
    """

    leads: tuple[str, ...]
    signal: Float32[np.ndarray, "samples leads"]
    valid: Bool[np.ndarray, "samples leads"]
    sampling_rate: float
    issues: list[Issue]


def align_rates(path: Path, channels: Sequence[Channel]) -> Aligned:
    """Bring channels to the highest rate at which one of the twelve leads was sampled.

    Leads of lower rates are resampled; other channels of other rates are left out. All of it is
    noted. A lead that ends earlier than others is invalid from there on.

    Raises:
        RecordFormatError: If a rate is none that an ECG has, or there are too many samples.
    """
    rates = [each.sampling_rate for each in channels if parse_lead(each.lead)]
    rate = accept_rate(path, max(rates or [each.sampling_rate for each in channels]))
    issues: list[Issue] = []
    kept: list[Channel] = []
    for channel in channels:
        own = channel.sampling_rate
        if own == rate:
            kept.append(channel)
        elif parse_lead(channel.lead):
            kept.append(_resample(path, channel, rate))
            words = f"sampled at {own:g} Hz, resampled to the {rate:g} Hz of other leads"
            issues.append(Issue("resampled", words, channel.lead))
        else:
            words = f"channel {channel.lead!r}, sampled at {own:g} Hz, is not used"
            issues.append(Issue("other_channel", words))
    num_samples = max(len(each.signal) for each in kept)
    accept_size(path, num_samples, len(kept))
    signal = np.zeros((num_samples, len(kept)), np.float32)
    valid = np.zeros(signal.shape, np.bool_)
    for column, each in enumerate(kept):
        signal[: len(each.signal), column] = each.signal
        valid[: len(each.signal), column] = each.valid
    return Aligned(tuple(each.lead for each in kept), signal, valid, rate, issues)


def _resample(path: Path, channel: Channel, rate: float) -> Channel:
    from ecgjepa.signals.preprocessing import resample

    accept_rate(path, channel.sampling_rate)
    accept_size(path, round(len(channel.signal) * rate / channel.sampling_rate), 1)
    alone = Record(
        signal=channel.signal[:, None],
        valid=channel.valid[:, None],
        leads=(channel.lead,),
        sampling_rate=channel.sampling_rate,
        record_id=path.stem,
        source=str(path),
    )
    resampled = resample(alone, rate)
    return Channel(channel.lead, resampled.signal[:, 0], resampled.valid[:, 0], rate)
