"""The one type every reader returns: an ECG in millivolt, with what is known about its faults."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int16

from ecgjepa.errors import LeadError, RecordFormatError
from ecgjepa.signals.leads import LEADS, LIMB_LEAD_WEIGHTS, derive_limb_lead, lead_positions

IssueCode = Literal[
    "checksum_mismatch",
    "initial_value_mismatch",
    "no_checksum",
    "file_longer_than_header",
    "uncalibrated",
    "invalid_samples",
    "invalid_lead",
    "flat_lead",
    "saturated_lead",
    "noisy_lead",
    "low_quality",
    "implausible_amplitude",
    "truncated",
    "unit_spelling",
    "derived_lead",
    "missing_lead",
    "other_channel",
    "samples_per_frame",
    "shifted_channel",
    "other_waveform",
    "joined_parts",
    "calibration_pulse",
    "limb_lead_residual",
    "electrode_hint",
    "out_of_range",
    "resampled",
    "short_record",
    "unlike_training_records",
    "lead_set",
]


class Issue(NamedTuple):
    """Something a reader or a preprocessing step noticed.

    Attributes:
        code: One of a fixed set, for counting.
        message: What was found, for people.
        lead: The lead concerned, or None for the whole record.
    """

    code: IssueCode
    message: str
    lead: str | None = None


@dataclass(frozen=True, eq=False)
class Record:
    """A multi-lead ECG.

    Attributes:
        signal: Amplitudes in mV; 0 wherever ``valid`` is False.
        valid: False where the device recorded nothing usable (gap, lead off, clipping marker).
        leads: Column names; the standard spelling once `standardise_leads` has run.
        sampling_rate: Samples per second, exact (257.5 stays 257.5).
        record_id: Name of the record within its database or folder.
        patient_id: Patient, where known: what splits must respect.
        source: File the samples came from, for messages and provenance.
        issues: What was noticed so far, in order.

    Example:
        >>> import ecgjepa
        >>> record = ecgjepa.read_record("data/ptb-xl/records500/00000/00001_hr.hea")
        >>> record.signal.shape, record.valid.all()
        ((5000, 12), np.True_)
    """

    signal: Float32[np.ndarray, "samples leads"]
    valid: Bool[np.ndarray, "samples leads"]
    leads: tuple[str, ...]
    sampling_rate: float
    record_id: str
    patient_id: str | None = None
    source: str = ""
    issues: tuple[Issue, ...] = field(default=())

    def __post_init__(self) -> None:
        """Refuse shapes and rates that no ECG has."""
        if self.signal.shape != self.valid.shape or self.signal.ndim != 2:
            raise RecordFormatError(
                f"{self.source or self.record_id}: signal {self.signal.shape} and valid mask "
                f"{self.valid.shape} differ; expected both as (samples, leads)"
            )
        if self.signal.shape[1] != len(self.leads) or not self.leads:
            raise RecordFormatError(
                f"{self.source or self.record_id}: {self.signal.shape[1]} columns but "
                f"{len(self.leads)} lead names"
            )
        if self.num_samples == 0:
            raise RecordFormatError(f"{self.source or self.record_id}: no samples")
        if not (np.isfinite(self.sampling_rate) and self.sampling_rate > 0):
            raise RecordFormatError(
                f"{self.source or self.record_id}: sampling rate {self.sampling_rate} Hz; "
                "expected a positive number"
            )

    @property
    def num_samples(self) -> int:
        """Number of samples per lead."""
        return int(self.signal.shape[0])

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sampling_rate

    def with_issues(self, *issues: Issue) -> "Record":
        """Return the same record with more issues noted."""
        return replace(self, issues=self.issues + issues) if issues else self


@dataclass(frozen=True, eq=False)
class MicrovoltRecord:
    """A faultless ECG whose samples are whole microvolts: it needs no arithmetic to be stored.

    Attributes:
        samples: In µV; none is invalid.
        leads: Column names as in the file.
        sampling_rate: Samples per second.
        record_id: See `Record`.
        source: File the samples came from.
        issues: What was noticed so far.
    """

    samples: Int16[np.ndarray, "samples leads"]
    leads: tuple[str, ...]
    sampling_rate: float
    record_id: str
    source: str = ""
    issues: tuple[Issue, ...] = ()

    @property
    def num_samples(self) -> int:
        """Number of samples per lead."""
        return int(self.samples.shape[0])

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sampling_rate

    def as_record(self) -> Record:
        """Return the same ECG in mV; each value is the float32 nearest to the exact one."""
        return Record(
            signal=self.samples.astype(np.float32) / np.float32(1000.0),
            valid=np.ones(self.samples.shape, np.bool_),
            leads=self.leads,
            sampling_rate=self.sampling_rate,
            record_id=self.record_id,
            source=self.source,
            issues=self.issues,
        )


@dataclass(frozen=True, eq=False)
class LongRecord:
    """An ECG that is read in pieces, because all of its samples would fill the memory.

    Attributes:
        read: Returns the samples from one to before another. Pieces have the leads, the rate and
            the issues of the whole, and are all of the same type.
        num_samples: Samples per lead.
        leads: Column names as in the file.
        sampling_rate: Samples per second.
        record_id: See `Record`.
        source: File the samples come from.
        issues: What was noticed so far, of the whole record.
    """

    read: Callable[[int, int], Record | MicrovoltRecord]
    num_samples: int
    leads: tuple[str, ...]
    sampling_rate: float
    record_id: str
    source: str = ""
    issues: tuple[Issue, ...] = ()

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sampling_rate


def standardise_leads(record: Record, leads: tuple[str, ...] = LEADS) -> Record:
    """Return the record with exactly ``leads``, found by name, in that order.

    Missing III, aVR, aVL and aVF are computed from I and II; any other missing lead becomes an
    all-invalid column. Channels that are not a standard lead are left out. All of it is noted as
    issues.

    Raises:
        LeadError: If a lead appears twice or none is known.
    """
    found = lead_positions(record.leads, source=record.source or record.record_id)
    issues: list[Issue] = []
    used = {column for column, _ in found.values()}
    for column, name in enumerate(record.leads):
        if column not in used:
            issues.append(Issue("other_channel", f"channel {name!r} is not one of the 12 leads"))

    signal = np.zeros((record.num_samples, len(leads)), np.float32)
    valid = np.zeros(signal.shape, np.bool_)
    for target, lead in enumerate(leads):
        if lead in found:
            column, sign = found[lead]
            signal[:, target] = record.signal[:, column] if sign > 0 else -record.signal[:, column]
            valid[:, target] = record.valid[:, column]
        elif lead in LIMB_LEAD_WEIGHTS and "I" in found and "II" in found:
            (column_i, sign_i), (column_ii, sign_ii) = found["I"], found["II"]
            signal[:, target] = derive_limb_lead(
                lead,
                np.float32(sign_i) * record.signal[:, column_i],
                np.float32(sign_ii) * record.signal[:, column_ii],
            )
            valid[:, target] = record.valid[:, column_i] & record.valid[:, column_ii]
            issues.append(Issue("derived_lead", "computed from I and II", lead))
        else:
            issues.append(Issue("missing_lead", "is not in the file", lead))
    signal[~valid] = 0.0
    if sum(issue.code == "missing_lead" for issue in issues) == len(leads):
        raise LeadError(
            f"{record.source or record.record_id}: has leads {sorted(found)}, "
            f"but {list(leads)} are needed"
        )
    standard = replace(record, signal=signal, valid=valid, leads=leads)
    return standard.with_issues(*issues)
