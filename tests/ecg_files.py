"""Write ECGs in the formats that are read, from (samples, leads) int16 µV."""

import base64
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from ecgjepa.signals.leads import LEADS

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
MDC_CODES = dict(zip(LEADS, (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), strict=True))


def dicom_group(digital, *, leads=LEADS, rate=500, label="RHYTHM", scheme="MDC", **fields):
    from pydicom.dataset import Dataset

    group = Dataset()
    group.WaveformOriginality = "ORIGINAL" if label == "RHYTHM" else "DERIVED"
    group.MultiplexGroupLabel = label
    group.NumberOfWaveformChannels = len(leads)
    group.NumberOfWaveformSamples = len(digital)
    group.SamplingFrequency = str(rate)
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.WaveformData = np.ascontiguousarray(digital, "<i2").tobytes()
    group.ChannelDefinitionSequence = [_dicom_channel(lead, scheme) for lead in leads]
    for name, value in fields.items():
        setattr(group, name, value)
    return group


def _dicom_channel(lead, scheme):
    from pydicom.dataset import Dataset

    source, unit, channel = Dataset(), Dataset(), Dataset()
    source.CodeValue = {
        "MDC": f"2:{MDC_CODES[lead]}",
        "SCPECG": f"5.6.3-9-{MDC_CODES[lead]}",
        "99OWN": "x",
    }[scheme]
    source.CodingSchemeDesignator, source.CodeMeaning = scheme, f"Lead {lead} (Einthoven)"
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "uV", "UCUM", "microvolt"
    channel.ChannelSourceSequence, channel.ChannelSensitivityUnitsSequence = [source], [unit]
    channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = "1", "1"
    channel.ChannelBaseline, channel.WaveformBitsStored = "0", 16
    return channel


def save_dicom(path, groups, *, syntax="1.2.840.10008.1.2.1"):
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.9.1.1")
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = UID("1.2.3"), UID(syntax)
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, UID("1.2.3")
    if groups:
        dataset.WaveformSequence = groups
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_dicom(path, digital, *, leads=LEADS, rate=500):
    return save_dicom(path, [dicom_group(digital, leads=leads, rate=rate)])


def aecg_set(digital, *, leads=LEADS, step="0.002", unit="s", head="20260101"):
    parts = [
        '<component><sequence><code code="TIME_ABSOLUTE"/><value xsi:type="GLIST_TS">'
        f'<head value="{head}"/><increment value="{step}" unit="{unit}"/></value></sequence>'
        "</component>"
    ]
    parts += [
        f'<component><sequence><code code="MDC_ECG_LEAD_{lead.upper()}"/>'
        '<value xsi:type="SLIST_PQ"><origin value="0" unit="uV"/><scale value="1" unit="uV"/>'
        f"<digits>{' '.join(map(str, column))}</digits></value></sequence></component>"
        for lead, column in zip(leads, digital.T, strict=True)
    ]
    return f"<component><sequenceSet>{''.join(parts)}</sequenceSet></component>"


def save_aecg(path, sets, code="RHYTHM"):
    path.write_text(
        '<?xml version="1.0"?><!-- ECG --><AnnotatedECG xmlns="urn:hl7-org:v3" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><component><series>'
        f'<code code="{code}"/>{"".join(sets)}</series></component></AnnotatedECG>'
    )
    return path


def write_aecg(path, digital, *, leads=LEADS, rate=500):
    return save_aecg(path, [aecg_set(digital, leads=leads, step=repr(1 / rate))])


def muse_waveform(digital, *, leads=EIGHT, rate=500, kind="Rhythm", exponent=0, **fields):
    fields = {
        "LeadAmplitudeUnitsPerBit": "1",
        "LeadAmplitudeUnits": "MICROVOLTS",
        "LeadOffsetFirstSample": "0",
        "LeadSampleSize": "2",
        "LeadOff": "FALSE",
    } | fields
    told = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    blocks = [
        f"<LeadData><LeadSampleCountTotal>{len(column)}</LeadSampleCountTotal>{told}"
        f"<LeadID>{lead}</LeadID><WaveFormData>\n"
        f"{base64.encodebytes(column.astype('<i2').tobytes()).decode()}</WaveFormData></LeadData>"
        for lead, column in zip(leads, digital.T, strict=True)
    ]
    return (
        f"<Waveform><WaveformType>{kind}</WaveformType><NumberofLeads>{len(leads)}</NumberofLeads>"
        f"<SampleBase>{rate}</SampleBase><SampleExponent>{exponent}</SampleExponent>"
        f"{''.join(blocks)}</Waveform>"
    )


def save_muse(path, waveforms):
    path.write_text(
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<!DOCTYPE RestingECG SYSTEM "restecg.dtd">\n'
        f"<RestingECG>{''.join(waveforms)}</RestingECG>",
        encoding="latin-1",
    )
    return path


def write_muse(path, digital, *, leads=LEADS, rate=500):
    eight = digital[:, [leads.index(lead) for lead in EIGHT]]
    median = muse_waveform(eight[:100], rate=rate, kind="Median")
    return save_muse(path, [median, muse_waveform(eight, rate=rate)])


def write_sierra(path, digital, *, leads=LEADS, rate=500, microvolt=1, version="1.03", pulse=0):
    """Write XLI whose LZW codes are all single bytes; ``pulse`` is its height in steps."""
    stored = digital.astype(np.int64) // microvolt
    if pulse:
        shape = np.repeat([0, pulse, 0], [30, 100, 50])
        stored = np.concatenate((stored, np.tile(shape[:, None], (1, 12))))
    one, two, three, avr, avl, avf = stored.T[:6].copy()
    stored[:, 2] = two - one - three
    stored[:, 3] = -avr - (one + two) // 2
    stored[:, 4] = (one - three) // 2 - avl
    stored[:, 5] = (two + three) // 2 - avf
    text = base64.b64encode(b"".join(_xli_chunk(column) for column in stored.T)).decode()
    path.write_text(
        '<?xml version="1.0"?><restingecgdata xmlns="http://www3.medical.philips.com">'
        f"<documentinfo><documenttype>SierraECG</documenttype><documentversion>{version}"
        "</documentversion></documentinfo><dataacquisition><signalcharacteristics>"
        f"<samplingrate>{rate}</samplingrate><signalresolution>{microvolt}</signalresolution>"
        "<acquisitiontype>STD-12</acquisitiontype>"
        "<numberchannelsallocated>12</numberchannelsallocated></signalcharacteristics>"
        '</dataacquisition><waveforms><parsedwaveforms compressmethod="XLI" dataencoding="Base64" '
        f'durationperchannel="{round(1000 * len(stored) / rate)}">{text}</parsedwaveforms>'
        "</waveforms></restingecgdata>"
    )
    return path


def _xli_chunk(x):
    ahead = 2 * x[1:-1] - x[:-2] - x[2:]
    deltas = np.concatenate((x[:2], ahead[1:] + 64, [64])).astype(">i2")
    pairs = np.frombuffer(deltas.tobytes(), np.uint8).reshape(-1, 2)
    bits = "".join(f"{byte:010b}" for byte in pairs.T.ravel())
    bits += "1" * 10 + "0" * 8  # a code past the last ends the chunk
    codes = bytes(int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8))
    head = len(codes).to_bytes(4, "little") + b"\1\0"
    return head + int(ahead[0]).to_bytes(2, "little", signed=True) + codes


def write_edf(path, digital, *, leads=LEADS, rate=500, unit="uV", prefix="ECG ", more=()):
    import edfio

    signals = [
        edfio.EdfSignal.from_digital(
            np.ascontiguousarray(column),
            rate,
            label=f"{prefix}{lead}",
            physical_dimension=unit,
            physical_range=(-32768, 32767),
            digital_range=(-32768, 32767),
        )
        for lead, column in zip(leads, digital.T, strict=True)
    ]
    edf = edfio.Edf([*signals, *more], annotations=[edfio.EdfAnnotation(0.1, None, "beat")])
    edf.write(path)
    return path


def describe(path, *, leads=LEADS, rate=500, unit="uV", **more):
    told = {"sampling_rate": rate, "unit": unit, "leads": list(leads) if leads else None, **more}
    Path(f"{path}.json").write_text(json.dumps(told))


def write_npy(path, digital, *, leads=LEADS, rate=500):
    np.save(path, digital)
    describe(path, leads=leads, rate=rate)
    return path


def write_npz(path, digital, *, leads=LEADS, rate=500):
    np.savez_compressed(path, signal=digital, other=np.zeros(3))
    describe(path, leads=leads, rate=rate)
    return path


def write_csv(path, digital, *, leads=LEADS, rate=500):
    np.savetxt(path, digital, fmt="%d", delimiter=",", header=",".join(leads), comments="")
    describe(path, leads=None, rate=rate)
    return path


def write_parquet(path, digital, *, leads=LEADS, rate=500):
    import pandas as pd

    pd.DataFrame(digital, columns=list(leads)).to_parquet(path)
    describe(path, leads=None, rate=rate)
    return path


def write_tsv(path, digital, *, leads=LEADS, rate=500):
    rows = ["\t".join([f"{lead} [uV]" for lead in leads])]
    path.write_text("\n".join([*rows, *("\t".join(map(str, row)) for row in digital.tolist())]))
    describe(path, leads=None, unit=None, rate=rate)
    return path


def write_matlab(path, digital, *, leads=LEADS, rate=500):
    from scipy import io

    io.savemat(path, {"val": digital.T, "fs": float(rate)}, do_compression=True)
    describe(path, leads=leads, rate=rate)
    return path


def write_hdf5(path, digital, *, leads=LEADS, rate=500):
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("ecg", data=digital, compression="gzip")
    describe(path, leads=leads, rate=rate)
    return path


WRITERS = {
    "dicom": SimpleNamespace(write=write_dicom, suffix=".dcm"),
    "aecg": SimpleNamespace(write=write_aecg, suffix=".xml"),
    "muse": SimpleNamespace(write=write_muse, suffix=".xml"),
    "sierra": SimpleNamespace(write=write_sierra, suffix=".xml"),
    "edf": SimpleNamespace(write=write_edf, suffix=".edf"),
    "npy": SimpleNamespace(write=write_npy, suffix=".npy"),
    "npz": SimpleNamespace(write=write_npz, suffix=".npz"),
    "csv": SimpleNamespace(write=write_csv, suffix=".csv"),
    "parquet": SimpleNamespace(write=write_parquet, suffix=".parquet"),
    "tsv": SimpleNamespace(write=write_tsv, suffix=".tsv"),
    "matlab": SimpleNamespace(write=write_matlab, suffix=".mat"),
    "hdf5": SimpleNamespace(write=write_hdf5, suffix=".h5"),
}
