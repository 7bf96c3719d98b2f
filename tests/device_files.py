"""Write ISHNE, MFER, FHIR and vendors' XML, from (samples, leads) int16: independent of readers."""

import base64
import json
import struct

import numpy as np
from scp_files import NUMBERS, crc

from ecgjepa.signals.leads import LEADS

ISHNE_CODES = dict(zip(LEADS, range(5, 17), strict=True))


def ishne_header(
    *,
    announced,
    leads=LEADS,
    nanovolt=1000,
    rate=500,
    text=b"",
    start=None,
    stored=None,
    swapped=False,
) -> bytes:
    """Return the header and the text, with the checksum unless another is given."""
    codes = [ISHNE_CODES.get(lead, lead) for lead in leads]
    steps = [nanovolt] * len(leads) if isinstance(nanovolt, int) else list(nanovolt)
    missing = [-9] * (12 - len(leads))
    fields = bytearray(512)
    start = 522 + len(text) if start is None else start
    struct.pack_into("<iiiih", fields, 0, len(text), announced, 522, start, 1)
    # No date of birth, of recording or of the file.
    struct.pack_into("<9h", fields, 122, *[-9] * 9)
    struct.pack_into("<h", fields, 146, len(leads))
    struct.pack_into("<12h", fields, 148, *codes, *missing)
    struct.pack_into("<12h", fields, 196, *steps, *missing)
    struct.pack_into("<h", fields, 262, rate)
    rest = bytes(fields) + text
    own = crc(rest) if stored is None else stored
    return b"ISHNE1.0" + struct.pack(">H" if swapped else "<H", own) + rest


def write_ishne(path, digital, *, announced=None, **options):
    announced = len(digital) if announced is None else announced
    samples = np.ascontiguousarray(digital, "<i2").tobytes()
    path.write_bytes(ishne_header(announced=announced, **options) + samples)
    return path


def tag(number: int, value: bytes, *, long: bool = False) -> bytes:
    """Return one MFER definition."""
    if long or len(value) > 127:
        return bytes([number, 0x84]) + struct.pack(">I", len(value)) + value
    return bytes([number, len(value)]) + value


def mfer(
    digital,
    *,
    leads=LEADS,
    order="little",
    kind="i2",
    block=None,
    interval=(1, -3, 2),
    resolution=(0, -6, 1),
    preamble=True,
    common=b"",
    own=None,
    wave_type=1,
    end=b"\x80\x00",
) -> bytes:
    """Return a recording; all lengths and numbers are as the arguments say."""
    sign = "<" if order == "little" else ">"
    codes = {"i2": 0, "u2": 1, "i4": 2, "u1": 3, "i1": 5, "u4": 6, "f4": 7, "f8": 8}
    block = len(digital) if block is None else block
    parts = [tag(0x40, b"MFR Standard 12-lead ECG".ljust(32))] if preamble else []
    if order == "little":
        parts.append(tag(0x01, b"\x01"))
    parts += [tag(0x17, b"Maker^Model"), b"\0\0", tag(0x08, struct.pack(f"{sign}H", wave_type))]
    if interval is not None:
        parts.append(tag(0x0B, struct.pack(f"{sign}BbH", *interval)))
    if resolution is not None:
        parts.append(tag(0x0C, struct.pack(f"{sign}BbH", *resolution)))
    parts += [tag(0x0A, bytes([codes[kind]])), tag(0x04, struct.pack(f"{sign}I", block))]
    parts += [tag(0x05, bytes([len(leads)])), common]
    parts.append(tag(0x06, struct.pack(f"{sign}H", len(digital) // block)))
    for channel, lead in enumerate(leads):
        code = NUMBERS.get(lead, lead)
        more = (own or {}).get(channel, b"")
        content = tag(0x09, struct.pack(f"{sign}H", code)) + more
        parts.append(bytes([0x3F, channel, len(content)]) + content)
    parts.append(frame(digital, sign + kind, block))
    return b"".join(parts) + end


def frame(digital, kind: str, block: int) -> bytes:
    """Return samples as a definition: for each sequence, each channel's block."""
    samples = digital.reshape(-1, block, digital.shape[1]).transpose(0, 2, 1)
    return tag(0x1E, np.ascontiguousarray(samples, kind).tobytes(), long=True)


def write_mfer(path, digital, **options):
    path.write_bytes(mfer(digital, **options))
    return path


def sampled_data(values, *, unit="uV", release=4, factor=1, origin=0, period=2, **more):
    data = " ".join(str(value) for value in values)
    times = {"period": period} if release == 4 else {"interval": period, "intervalUnit": "ms"}
    zero = {"value": origin} | ({} if unit is None else {"unit": unit})
    return {"origin": zero, **times, "factor": factor, "dimensions": 1, "data": data, **more}


def component(lead, data):
    code = str(131328 + NUMBERS[lead]) if lead in NUMBERS else lead
    coding = {"system": "urn:oid:2.16.840.1.113883.6.24", "code": code}
    return {"code": {"coding": [coding]}, "valueSampledData": data}


def observation(digital, *, leads=LEADS, **options):
    parts = [
        component(lead, sampled_data(column.tolist(), **options))
        for lead, column in zip(leads, digital.T, strict=True)
    ]
    code = {"coding": [{"system": "urn:oid:2.16.840.1.113883.6.24", "code": "131328"}]}
    return {"resourceType": "Observation", "status": "final", "code": code, "component": parts}


def write_fhir(path, digital, **options):
    path.write_text(json.dumps(observation(digital, **options)))
    return path


def write_cardiosoft(path, digital, *, leads=LEADS, unit="uVperLsb", announced=None, more=""):
    announced = len(digital) if announced is None else announced
    waves = "".join(
        f'<WaveformData lead="{lead}">\n\t{",".join(map(str, column))}\n</WaveformData>'
        for lead, column in zip(leads, digital.T, strict=True)
    )
    medians = f"<MedianSamples>{waves.replace('1', '7')}</MedianSamples>"
    path.write_text(
        '<?xml version="1.0" encoding="ISO-8859-1"?><!DOCTYPE CardiologyXML SYSTEM "restecg.dtd">'
        f"<CardiologyXML><RestingECGMeasurements>{medians}</RestingECGMeasurements><StripData>"
        '<NumberOfLeads>12</NumberOfLeads><SampleRate units="Hz">500</SampleRate>'
        f"<ChannelSampleCountTotal>{announced}</ChannelSampleCountTotal>"
        f'<Resolution units="{unit}">1</Resolution>{waves}</StripData>{more}</CardiologyXML>'
    )
    return path


def write_mortara(path, digital, *, leads=LEADS, duration=None, **changes):
    duration = len(digital) if duration is None else duration
    form = {"BITS": "16", "FORMAT": "SIGNED", "ENCODING": "BASE64", "OFFSET": "0"}
    form |= {"UNITS_PER_MV": "1000", "SAMPLE_FREQ": "500", "DURATION": str(duration)} | changes
    text = " ".join(f'{key}="{value}"' for key, value in form.items())
    channels = "".join(
        f'<CHANNEL NAME="{lead}" {text} DATA="{base64.b64encode(column).decode()}"/>'
        for lead, column in zip(leads, np.ascontiguousarray(digital.T, "<i2"), strict=True)
    )
    cycle = '<TYPICAL_CYCLE BITS="16"><TYPICAL_CYCLE_CHANNEL NAME="I" DATA="AAA="/></TYPICAL_CYCLE>'
    path.write_text(f'<ECG ACQUISITION_TIME="20260101">{cycle}{channels}</ECG>')
    return path


def write_schiller(path, digital, *, leads=LEADS, exponent=1, unit="uV", form="COMMASEPARATE"):
    channels = "".join(
        f"<channel><name>{lead}</name><datastype>{form}</datastype>"
        f"<data>{','.join(map(str, column))}</data></channel>"
        for lead, column in zip(leads, digital.T, strict=True)
    )
    resolution = (
        f"<resolution><samplerate><value>500</value><exponent>{exponent}</exponent></samplerate>"
        f"<yres><unitperbit>1</unitperbit><units>{unit}</units></yres></resolution>"
    )
    path.write_text(
        "<examdescript><eventdata><event><wavedata><type>ECG_AVERAGES</type></wavedata>"
        f"<wavedata><type>ECG_RHYTHMS</type>{resolution}{channels}</wavedata>"
        "</event></eventdata></examdescript>"
    )
    return path
