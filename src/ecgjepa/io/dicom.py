"""DICOM waveforms, such as 12-lead ECG Waveform Storage; reading needs pydicom.

A file holds up to five multiplex groups: the rhythm, often a median beat, sometimes a rhythm strip.
Only rhythm is an ECG as recorded.

Format: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.10.9.html; the codes
of leads: https://dicom.nema.org/medical/dicom/current/output/chtml/part16/sect_CID_3001.html (those
of SCP-ECG have the same numbers).
"""

import re
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from ecgjepa.errors import RecordFormatError, UnitError
from ecgjepa.io.content import (
    Waveform,
    accept_size,
    accept_step,
    choose_waveforms,
    counted,
    make_record,
    require,
)
from ecgjepa.io.opening import open_file, read_bytes
from ecgjepa.signals.leads import parse_lead
from ecgjepa.signals.record import Issue, Record
from ecgjepa.signals.units import millivolt_per_unit

# Implicit and explicit VR, little endian. A deflated file could unpack to any size, and in a big
# endian one (retired in 2006) the samples are swapped.
_PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
# What a file without the preamble begins with: group 2 (the file's own head), else group 8 of the
# data set, both in little endian.
_STARTS = (b"\x02\x00\x00\x00UL\x04\x00",)
_GROUP_8 = re.compile(rb"\x08\x00[\x00\x01\x05\x08\x12-\x18]\x00(?:[A-Z]{2}|..\x00\x00)", re.DOTALL)
_CODE = re.compile(r"(?:2:|5\.6\.3-9-)(\d+)")
_LEADS = {1: "I", 2: "II", **{number: f"V{number - 2}" for number in range(3, 9)}}
_LEADS |= {61: "III", 62: "aVR", 63: "aVL", 64: "aVF", 65: "-aVR"}
# Channel Time Skew, Channel Sample Skew and Channel Offset.
_SKEWS = {0x003A0214, 0x003A0215, 0x003A0218}
# A skew in seconds is written with few digits.
_TOLERATED_SKEW = 0.01
_FORMATS = {(8, "SB"), (8, "UB"), (16, "SS"), (16, "US"), (32, "SL"), (32, "UL")}


def is_dicom(head: bytes) -> bool:
    """Return whether a file begins as DICOM, with the preamble or, as from some carts, without."""
    start = head.removeprefix(b"DICM")
    is_bare = start.startswith(_STARTS) or _GROUP_8.match(start) is not None
    return head[128:132] == b"DICM" or is_bare


def read_dicom(path: Path) -> Record:
    """Read the rhythm of a DICOM waveform file.

    Returns:
        The leads in mV, by sensitivity, correction factor and baseline of each channel. Samples
        that have the group's padding value are invalid.

    Raises:
        RecordFormatError: If pydicom is missing, there is no rhythm, its leads were not recorded
            at the same time, or the file is damaged.
        UnitError: If a channel has no sensitivity, or one in no unit of voltage.
    """
    dataset = _dataset(path)
    groups = [group for group in dataset.get("WaveformSequence", []) if _is_rhythm(group)]
    chosen, issues = choose_waveforms(path, [_describe(path, group) for group in groups])
    num_others = len(dataset.get("WaveformSequence", [])) - len(groups)
    if num_others:
        what = counted(num_others, "derived waveform", "derived waveforms")
        issues.append(Issue("other_waveform", f"not used: {what}, such as a median beat"))
    parts = [_read_group(path, groups[index], issues) for index in chosen]
    return make_record(
        path,
        np.concatenate([signal for signal, _ in parts], axis=1),
        [lead for index in chosen for lead in _lead_names(groups[index])],
        float(groups[chosen[0]].SamplingFrequency),
        valid=np.concatenate([valid for _, valid in parts], axis=1),
        issues=issues,
    )


def _dataset(path: Path) -> Any:  # noqa: ANN401
    pydicom = require(path, "pydicom")
    with _with_preamble(path) as stream:
        has_preamble = stream.read(132)[128:] == b"DICM"
        if has_preamble:
            # Before the data set is looked at, which might unpack to any size.
            meta = pydicom.filereader.read_dataset(
                stream, False, True, stop_when=lambda tag, *_: tag >> 16 != 2
            )
            syntax = meta.get("TransferSyntaxUID", _PLAIN[0])
            if syntax not in _PLAIN:
                raise _not_plain(path, syntax)
        stream.seek(0)
        # Nothing else is looked at: neither pixels nor who the patient is.
        tags = ["SOPClassUID", "WaveformSequence"]
        dataset = pydicom.dcmread(stream, specific_tags=tags, force=not has_preamble)
    if not dataset.original_encoding[1]:
        raise _not_plain(path, "big endian")
    if "WaveformSequence" not in dataset:
        raise RecordFormatError(
            f"{path}: is a DICOM file without waveforms (SOP class {dataset.get('SOPClassUID')})",
            reason="no_rhythm",
        )
    return dataset


def _with_preamble(path: Path) -> BufferedIOBase:
    """Open a file; what some carts leave out of its beginning is put back."""
    stream = open_file(path)
    start = stream.read(8)
    stream.seek(0)
    if not start.startswith((b"DICM", *_STARTS)):
        return stream
    stream.close()
    content = read_bytes(path)
    return BytesIO(bytes(128) + b"DICM" + content.removeprefix(b"DICM"))


def _not_plain(path: Path, syntax: str) -> RecordFormatError:
    return RecordFormatError(
        f"{path}: transfer syntax {syntax} is not read; expected implicit or explicit VR, little "
        "endian, not compressed"
    )


def _is_rhythm(group: Any) -> bool:  # noqa: ANN401
    label = str(group.get("MultiplexGroupLabel", "")).upper()
    if "RHYTHM" in label:
        return True
    derived = str(group.get("WaveformOriginality", "ORIGINAL")).upper() == "DERIVED"
    return not (derived or "MEDIAN" in label or "BEAT" in label or "AVERAGE" in label)


def _describe(path: Path, group: Any) -> Waveform:  # noqa: ANN401
    leads, num_channels = _lead_names(group), int(group.NumberOfWaveformChannels)
    if len(leads) != num_channels:
        raise RecordFormatError(f"{path}: {num_channels} channels, but {len(leads)} definitions")
    start = float(group.get("MultiplexGroupTimeOffset", 0.0))
    rate, num_samples = float(group.SamplingFrequency), int(group.NumberOfWaveformSamples)
    return Waveform(tuple(leads), rate, num_samples, start)


def _lead_names(group: Any) -> list[str]:  # noqa: ANN401
    return [_lead_name(channel) for channel in group.ChannelDefinitionSequence]


def _lead_name(channel: Any) -> str:  # noqa: ANN401
    """Return a channel's lead by code, else the meaning of the code or the label as written."""
    source = channel.get("ChannelSourceSequence", [{}])[0]
    code = str(source.get("CodeValue", "")).strip(" \0")
    found = _CODE.fullmatch(code)
    if found and int(found[1]) in _LEADS:
        return _LEADS[int(found[1])]
    if parse_lead(code):  # the name of a code in place of its number, as in MDC_ECG_LEAD_I
        return code
    # As in "Lead I (Einthoven)".
    meaning = str(source.get("CodeMeaning", "") or channel.get("ChannelLabel", ""))
    return re.sub(r"\(.*\)", "", meaning).strip()


def _read_group(
    path: Path,
    group: Any,  # noqa: ANN401
    issues: list[Issue],
) -> tuple[Float64[np.ndarray, "samples leads"], Bool[np.ndarray, "samples leads"]]:
    """Return a group's amplitudes in mV and which of them are not padding."""
    kind = (int(group.WaveformBitsAllocated), str(group.WaveformSampleInterpretation))
    if kind not in _FORMATS:
        raise RecordFormatError(f"{path}: samples of {kind[0]} bits as {kind[1]} are not read")
    dtype = np.dtype(f"<{'u' if kind[1].startswith('U') else 'i'}{kind[0] // 8}")
    num_samples, num_channels = int(group.NumberOfWaveformSamples), len(_lead_names(group))
    content, expected = group.WaveformData, num_samples * num_channels * dtype.itemsize
    if num_samples < 1 or len(content) < expected:
        raise RecordFormatError(
            f"{path}: truncated: holds {len(content):,} bytes of {num_samples} samples of "
            f"{num_channels} leads",
            reason="truncated",
        )
    accept_size(path, num_samples, num_channels)
    digital = np.frombuffer(content[:expected], dtype).reshape(num_samples, num_channels)
    scale = np.array([_scale(channel) for channel in group.ChannelDefinitionSequence])
    padding = group.get("WaveformPaddingValue")
    valid = np.ones(digital.shape, np.bool_)
    if padding is not None:
        valid = digital != np.frombuffer(_as_bytes(padding, dtype), dtype)[0]
    signal = digital * scale[:, 0] + scale[:, 1]
    rate = float(group.SamplingFrequency)
    for column, channel in enumerate(group.ChannelDefinitionSequence):
        if not _SKEWS & channel.keys():
            continue
        if shift := _skew(path, channel, rate, num_samples):
            _move(signal[:, column], valid[:, column], shift)
            words = (
                f"starts {abs(shift)} samples {'later' if shift > 0 else 'earlier'} than the group "
                f"({abs(shift) / rate:.4g} s) and was moved; samples outside the group's time are "
                "left out, those it lacks are invalid"
            )
            issues.append(Issue("shifted_channel", words, _lead_name(channel)))
    return signal, valid


def _skew(path: Path, channel: Any, rate: float, num_samples: int) -> int:  # noqa: ANN401
    """Return by how many samples a channel starts later than its group.

    Raises:
        RecordFormatError: If it is not a whole number of samples, or as long as the channel.
    """
    told = {
        "ChannelSampleSkew": float(channel.get("ChannelSampleSkew") or 0.0),
        "ChannelTimeSkew": float(channel.get("ChannelTimeSkew") or 0.0) * rate,
    }
    skew, other = told.values()
    if skew and other and abs(skew - other) > _TOLERATED_SKEW:
        raise RecordFormatError(
            f"{path}: channel {_lead_name(channel)} starts {skew:g} samples later by its sample "
            f"skew, and {other:g} by its time skew"
        )
    exact = (skew or other) + float(channel.get("ChannelOffset") or 0.0) * rate
    if not abs(exact) < num_samples or abs(exact - round(exact)) > _TOLERATED_SKEW:
        raise RecordFormatError(
            f"{path}: channel {_lead_name(channel)} starts {exact:.6g} samples later than its "
            f"group, by its skew and offset; expected a whole number below {num_samples}",
            reason="leads_apart",
        )
    return round(exact)


def _move(
    signal: Float64[np.ndarray, " samples"], valid: Bool[np.ndarray, " samples"], shift: int
) -> None:
    """Move samples in place to later (or, below 0, earlier) times."""
    for values, empty in ((signal, 0.0), (valid, False)):
        values[:] = np.roll(values, shift)
        values[slice(shift) if shift > 0 else slice(shift, None)] = empty


def _as_bytes(value: Any, dtype: np.dtype[Any]) -> bytes:  # noqa: ANN401
    """Return the padding value as samples are stored; pydicom gives bytes or a number."""
    return value if isinstance(value, bytes) else np.array(int(value)).astype(dtype).tobytes()


def _scale(channel: Any) -> tuple[float, float]:  # noqa: ANN401
    """Return mV per step, and what a sample of 0 stands for in mV."""
    if "ChannelSensitivity" not in channel or "ChannelSensitivityUnitsSequence" not in channel:
        raise UnitError(
            f"channel {_lead_name(channel)} has no sensitivity or no unit of it; its "
            "amplitudes are not known"
        )
    unit = str(channel.ChannelSensitivityUnitsSequence[0].CodeValue)
    factor = millivolt_per_unit(unit)
    correction = float(channel.get("ChannelSensitivityCorrectionFactor", 1.0))
    step = float(channel.ChannelSensitivity) * correction * factor
    step = accept_step(_lead_name(channel), step, may_be_negative=True)
    return step, float(channel.get("ChannelBaseline", 0.0)) * factor
