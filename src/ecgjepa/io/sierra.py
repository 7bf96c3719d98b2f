"""Philips Sierra XML 1.03 and 1.04 (PageWriter, TraceMaster); reading needs sierraecg.

Leads are stored base64 coded in XLI: LZW over second differences, and III, aVR, aVL and aVF as what
remains of them after I and II. The package sierraecg decodes LZW and differences; the loop over
leads is ours, so that a damaged file can neither unpack without bound nor loop for ever. Some
exports append a calibration pulse to every lead: https://github.com/BIVectors/BRAVEHEART/issues/5.

Format: https://github.com/sixlettervariables/sierra-ecg-tools.
"""

import base64
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.content import accept_step, make_record, require, without_pulse
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.record import Record

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_TYPES, _VERSIONS = ("SierraECG", "PhilipsECG"), ("1.03", "1.04", "1.04.01", "1.04.02")
# Of both kinds of file, which name the leads "STD-12" or "10-WIRE" where they do not list them.
_STANDARD = ("STD-12", "10-WIRE")
# Decoding takes 3 s for a million values.
_MOST_LEADS, _MOST_VALUES = 18, 1_000_000
_BITS = 10


def read_sierra(path: Path, root: "Element") -> Record:
    """Read a Philips Sierra file.

    Args:
        path: The file, for messages.
        root: Its root element.

    Returns:
        The leads in mV, without the calibration pulse if there is one (an issue says so).

    Raises:
        RecordFormatError: If sierraecg is missing, the version or coding is not known, or the data
            are damaged.
    """
    waveforms = root.find(".//{*}parsedwaveforms")
    kind, version = _text(root, "documenttype"), _text(root, "documentversion")
    if waveforms is None or kind not in _TYPES or version not in _VERSIONS:
        raise RecordFormatError(
            f"{path}: is {kind} {version}{' without waveforms' if waveforms is None else ''}; "
            f"expected {' or '.join(_TYPES)} {', '.join(_VERSIONS)}"
        )
    coding = waveforms.get("compressmethod") or waveforms.get("compression")
    if coding != "XLI" or waveforms.get("dataencoding") != "Base64":
        raise RecordFormatError(f"{path}: waveforms coded as {coding} are not read; expected XLI")
    leads, rate = _leads(path, root, waveforms), float(_text(root, "samplingrate"))
    num_samples = round(int(waveforms.get("durationperchannel", "0")) * rate / 1000)
    if not 0 < num_samples * len(leads) <= _MOST_VALUES:
        raise RecordFormatError(f"{path}: announces {num_samples} samples")
    digital = _decode(path, waveforms.text or "", len(leads), num_samples)
    _restore_limb_leads(digital)
    microvolt = float(_text(root, "signalresolution") or _text(root, "resolution"))
    step = accept_step("", microvolt / 1000)
    signal, issues = without_pulse(digital * step, rate, step / 2)
    return make_record(path, signal, leads, rate, issues=issues)


def _leads(path: Path, root: "Element", waveforms: "Element") -> list[str]:
    named = waveforms.get("leadlabels", "").split()
    if named:
        leads = named[: int(waveforms.get("numberofleads", len(named)))]
    else:
        count = int(_text(root, "numberchannelsallocated"))
        leads = list(LEADS) if _text(root, "acquisitiontype") in _STANDARD and count == 12 else []
    if tuple(leads[:6]) != LEADS[:6] or len(leads) > _MOST_LEADS:
        raise RecordFormatError(
            f"{path}: leads are {leads or _text(root, 'acquisitiontype')}; expected "
            f"{', '.join(LEADS[:6])} first, from which some are coded"
        )
    return leads


def _decode(
    path: Path, text: str, num_leads: int, num_samples: int
) -> Int64[np.ndarray, "samples leads"]:
    """Return the leads as stored; each is a chunk of 8 bytes (length, first value) and codes."""
    lzw, xli = require(path, "sierraecg.lzw"), require(path, "sierraecg.xli")
    content, offset, columns = base64.b64decode(text), 0, []
    for _ in range(num_leads):
        size = int.from_bytes(content[offset : offset + 4], "little", signed=True)
        first = int.from_bytes(content[offset + 6 : offset + 8], "little", signed=True)
        chunk = content[offset + 8 : offset + 8 + max(size, 0)]
        offset += 8 + max(size, 0)
        decoder = lzw.LzwDecoder(chunk, bits=_BITS)
        # Two bytes a sample, at times one more that fills the last code.
        unpacked = list(islice(iter(decoder.read, -1), 2 * num_samples + 2))
        values = xli.xli_decode_deltas(unpacked + [0] * (len(unpacked) % 2), first)
        if len(values) != num_samples:
            raise RecordFormatError(
                f"{path}: truncated or damaged: a lead holds {len(values)} of {num_samples} "
                "samples",
                reason="truncated",
            )
        columns.append(values.astype(np.int64))
    return np.stack(columns, axis=1)


def _restore_limb_leads(digital: Int64[np.ndarray, "samples leads"]) -> None:
    """Add to III, aVR, aVL and aVF, in place, what I and II predict of them."""
    one, two, three, avr, avl, avf = digital.T[:6]
    three[:] = two - one - three
    avr[:] = -avr - (one + two) // 2
    avl[:] = (one - three) // 2 - avl
    avf[:] = (two + three) // 2 - avf


def _text(root: "Element", name: str) -> str:
    return (root.findtext(f".//{{*}}{name}") or "").strip()
