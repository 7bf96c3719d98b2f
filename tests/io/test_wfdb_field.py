"""WFDB as it is met in the field: several rates, foreign channels, Latin-1, FLAC, segments."""

import numpy as np
import pytest
import wfdb
from conftest import toy_ecg, write_wfdb

from ecgjepa import read_record
from ecgjepa.errors import LeadError, RecordFormatError, UnitError
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.record import standardise_leads


@pytest.fixture
def digital(rng):
    return toy_ecg(rng, num_samples=1000)


def codes(record):
    return [issue.code for issue in record.issues]


def write_frames(path, digital, per_frame, rate=500, slow=None):
    """Write each lead with ``per_frame`` samples a frame, and a slow channel with one."""
    num_frames = len(digital) // per_frame
    frames = digital.reshape(num_frames, per_frame, -1).transpose(0, 2, 1)
    frames = frames.reshape(num_frames, -1)
    names = LEADS[: digital.shape[1]]
    if slow is not None:
        frames = np.column_stack([frames, slow])
    lines = [f"{path.stem} {len(names) + (slow is not None)} {rate / per_frame:g} {num_frames}"]
    for column, name in enumerate(names):
        total = int(digital[:, column].astype(int).sum()) & 0xFFFF
        lines.append(
            f"{path.stem}.dat 16x{per_frame} 1000(0)/mV 16 0 {digital[0, column]} {total} 0 {name}"
        )
    if slow is not None:
        lines.append(f"{path.stem}.dat 16 10(0)/degC 16 0 {slow[0]} {slow.sum() & 0xFFFF} 0 Temp")
    path.with_suffix(".dat").write_bytes(np.ascontiguousarray(frames, "<i2").tobytes())
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("per_frame", [2, 4, 500])
def test_each_signal_is_read_at_its_own_rate(tmp_path, digital, per_frame):
    slow = np.arange(1000 // per_frame)
    record = read_record(write_frames(tmp_path / "x.hea", digital, per_frame, slow=slow))
    assert (record.sampling_rate, record.leads) == (500.0, LEADS)
    np.testing.assert_array_equal(record.signal, digital.astype(np.float32) / np.float32(1000))
    assert codes(record) == ["other_channel", "samples_per_frame"]
    assert f"{per_frame} samples a frame: read at 500 Hz" in record.issues[1].message


def test_checksums_hold_with_several_samples_a_frame(tmp_path, digital):
    path = write_frames(tmp_path / "x.hea", digital, 4)
    data = bytearray(path.with_suffix(".dat").read_bytes())
    data[777] ^= 1
    path.with_suffix(".dat").write_bytes(bytes(data))
    with pytest.raises(RecordFormatError, match="samples are not those"):
        read_record(path)


def test_checksums_that_are_all_0_were_never_computed(tmp_path, digital):
    path = write_frames(tmp_path / "x.hea", digital, 4)
    lines = [line.split() for line in path.read_text().splitlines()]
    told = [" ".join([*line[:6], "0", *line[7:]]) for line in lines[1:]]
    path.write_text("\n".join([" ".join(lines[0]), *told]))
    assert codes(read_record(path)) == ["no_checksum", "samples_per_frame"]


def test_leads_of_several_rates_come_to_the_highest(tmp_path):
    """A sine of 5 Hz, in lead II at half the rate, is the same sine afterwards."""
    fast = np.round(1000 * np.sin(2 * np.pi * 5 * np.arange(2000) / 500)).astype(int)
    frames = np.stack([fast[0::2], fast[1::2], fast[0::2]], axis=1)
    lines = (
        "x 2 250 1000",
        "x.dat 16x2 1000(0)/mV 16 0 0 0 0 I",
        "x.dat 16 1000(0)/mV 16 0 0 0 0 II",
    )
    (tmp_path / "x.hea").write_text("\n".join(lines))
    (tmp_path / "x.dat").write_bytes(frames.astype("<i2").tobytes())
    record = read_record(tmp_path / "x.hea", damaged="flag")
    assert record.sampling_rate == 500
    middle = slice(200, 1800)
    assert np.abs(record.signal[middle, 1] - record.signal[middle, 0]).max() < 0.01
    assert [i.lead for i in record.issues if i.code == "resampled"] == ["II"]


def test_rates_that_no_ecg_has_are_refused(tmp_path, digital):
    for rate in (0.05, 24, 1e6):
        path = write_wfdb(tmp_path / "x.hea", digital, rate=rate)
        with pytest.raises(RecordFormatError, match="expected 25 Hz to 50,000 Hz"):
            read_record(path)
        with pytest.raises(RecordFormatError, match="expected 25 Hz to 50,000 Hz"):
            read_record(write_frames(tmp_path / "y.hea", digital, 2, rate=rate))


def with_pressure(path, digital, unit, name):
    columns = np.column_stack([digital, np.arange(len(digital))])
    write_wfdb(path, columns, leads=(*LEADS, name))
    lines = path.read_text().splitlines()
    lines[13] = lines[13].replace("/mV", f"/{unit}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("unit", ["mmHg", "NU", "%", "l/min"])
@pytest.mark.parametrize("storage", ["16", "32"])
def test_channels_that_are_no_voltage_are_left_out(tmp_path, digital, unit, storage):
    path = with_pressure(tmp_path / "x.hea", digital, unit, "ABP")
    if storage == "32":
        path.write_text(path.read_text().replace(".dat 16 ", ".dat 32 "))
        data = np.fromfile(path.with_suffix(".dat"), "<i2")
        path.with_suffix(".dat").write_bytes(data.astype("<i4").tobytes())
    record = read_record(path)
    assert record.leads == LEADS
    np.testing.assert_array_equal(record.signal, digital.astype(np.float32) / np.float32(1000))
    assert codes(record) == ["other_channel"]
    assert f"channel 'ABP' is in {unit}, which is no voltage" in record.issues[0].message


def test_a_lead_without_a_voltage_is_refused_by_file_and_name(tmp_path, digital):
    path = write_wfdb(tmp_path / "x.hea", digital)
    path.write_text(path.read_text().replace("/mV", "/mmHg", 1))
    with pytest.raises(UnitError, match=r"x\.hea: lead I: unknown amplitude unit 'mmHg'"):
        read_record(path)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
@pytest.mark.parametrize("storage", ["16", "32"])
def test_microvolt_in_any_encoding(tmp_path, digital, encoding, storage):
    path = write_wfdb(tmp_path / "x.hea", digital, gain="1(0)/µV", storage=storage)
    if storage == "32":
        path.with_suffix(".dat").write_bytes(digital.astype("<i4").tobytes())
    path.write_bytes((path.read_text() + "# größer\n").encode(encoding))
    np.testing.assert_allclose(read_record(path).signal, digital / 1000, rtol=1e-6)


def test_flac_may_pack_as_tightly_as_it_does(tmp_path, rng):
    digital = np.full((30_000, 12), 5)
    digital[:, 0] = rng.integers(-9, 9, 30_000)
    wfdb.wrsamp(
        "f",
        500,
        ["mV"] * 12,
        list(LEADS),
        d_signal=digital,
        fmt=["516"] * 12,
        adc_gain=[1000.0] * 12,
        baseline=[0] * 12,
        write_dir=str(tmp_path),
    )
    assert read_record(tmp_path / "f").num_samples == 30_000
    path = tmp_path / "f.hea"
    path.write_text(path.read_text().replace("30000", "9000000", 1))
    with pytest.raises(RecordFormatError, match="announces 9,000,000 frames"):
        read_record(path)


def test_a_shift_beyond_the_record_is_refused_before_memory_is_taken(tmp_path, digital):
    path = write_wfdb(tmp_path / "x.hea", digital[:20])
    path.write_text(path.read_text().replace(".dat 16 ", ".dat 16:9999 ", 1))
    with pytest.raises(RecordFormatError, match="shifted by more than there are"):
        read_record(path)


# ------------------------------------------------------------------------------ segments


def test_a_variable_layout_joins_signals_by_name(tmp_path, rng):
    one, two = toy_ecg(rng, num_samples=200), toy_ecg(rng, num_samples=300)
    write_wfdb(tmp_path / "a.hea", one[:, :2], leads=("I", "II"))
    write_wfdb(tmp_path / "b.hea", two[:, [1, 6]], leads=("II", "V1"))
    layout = [f"~ 0 1000(0)/mV 16 0 0 0 0 {lead}" for lead in ("I", "II", "V1")]
    (tmp_path / "m_layout.hea").write_text("\n".join(("m_layout 3 500 0", *layout)))
    (tmp_path / "m.hea").write_text("m/4 3 500 600\nm_layout 0\na 200\n~ 100\nb 300\n")
    record = read_record(tmp_path / "m.hea")
    assert (record.leads, record.num_samples) == (("I", "II", "V1"), 600)
    np.testing.assert_allclose(record.signal[:200, 0], one[:, 0] / 1000, rtol=1e-6)
    np.testing.assert_allclose(record.signal[300:, 1], two[:, 1] / 1000, rtol=1e-6)
    assert not record.valid[200:300].any()
    assert not record.valid[200:, 0].any()
    assert not record.valid[:300, 2].any()
    assert "0.2 s between segments" in record.issues[-1].message
    with pytest.raises(RecordFormatError, match="lists the signals of a record of several") as no:
        read_record(tmp_path / "m_layout.hea")
    assert no.value.reason == "layout_header"


def test_a_gap_between_segments_of_a_fixed_layout(tmp_path, digital):
    write_wfdb(tmp_path / "a.hea", digital)
    (tmp_path / "m.hea").write_text("m/3 12 500 2100\na 1000\n~ 100\na 1000\n")
    record = read_record(tmp_path / "m")
    assert record.valid.sum() == 2000 * 12
    np.testing.assert_array_equal(record.signal[:1000], record.signal[1100:])


def test_segments_are_verified_and_measured(tmp_path, digital):
    write_wfdb(tmp_path / "a.hea", digital)
    (tmp_path / "m.hea").write_text("m/1 12 500 900\na 900\n")
    with pytest.raises(RecordFormatError, match=r"segment a holds 1,000 samples; .* tells 900"):
        read_record(tmp_path / "m")
    (tmp_path / "m.hea").write_text("m/1 12 250 1000\na 1000\n")
    with pytest.raises(RecordFormatError, match=r"segment a holds 1,000 samples; .* tells 2,000"):
        read_record(tmp_path / "m")
    (tmp_path / "m.hea").write_text("m/1 12 500 1000\na 1000\n")
    data = bytearray((tmp_path / "a.dat").read_bytes())
    data[99] ^= 1
    (tmp_path / "a.dat").write_bytes(bytes(data))
    with pytest.raises(RecordFormatError, match="samples are not those"):
        read_record(tmp_path / "m")


def test_many_segments_of_one_header_are_parsed_once(tmp_path, digital, monkeypatch):
    from ecgjepa.io.wfdb import header as headers

    write_wfdb(tmp_path / "a.hea", digital[:10])
    (tmp_path / "m.hea").write_text("m/500 12 500 5000\n" + "a 10\n" * 500)
    opened = []
    real = headers.read_once
    monkeypatch.setattr(
        headers, "read_once", lambda path, most: opened.append(path) or real(path, most)
    )
    assert len(headers.read_header(tmp_path / "m.hea").parts) == 500
    assert len(opened) == 2


# ------------------------------------------------------------------------------ names twice


def test_a_channel_that_is_there_twice_is_used_once(tmp_path, digital):
    twice = np.column_stack([digital, digital[:, 1]])
    record = read_record(write_wfdb(tmp_path / "x.hea", twice, leads=(*LEADS, "II")))
    assert record.leads == LEADS
    assert "'II' is there again, with the same samples" in record.issues[-1].message
    twice[5, 12] += 1
    other = read_record(write_wfdb(tmp_path / "y.hea", twice, leads=(*LEADS, "II")))
    with pytest.raises(LeadError, match="lead II appears twice"):
        standardise_leads(other)


def test_a_zero_that_no_converter_has_is_refused(tmp_path, digital):
    path = write_wfdb(tmp_path / "x.hea", digital, gain="1000/mV")
    path.write_text(path.read_text().replace("/mV 16 0 ", f"/mV 16 {'9' * 400} ", 1))
    with pytest.raises(RecordFormatError, match="a zero that no converter has"):
        read_record(path)


@pytest.mark.parametrize("is_split", [False, True], ids=["one file", "a file each"])
def test_samples_with_the_highest_byte_first(tmp_path, digital, is_split):
    """Format 61, which the wfdb package reads as amplitudes only: checksums count all the same."""
    header = write_wfdb(tmp_path / "r.hea", digital, storage="61")
    lines = header.read_text().splitlines()
    swapped = digital.astype(">i2")
    swapped.tofile(tmp_path / "r.dat")
    if is_split:
        lines[1:] = [line.replace("r.dat", f"r{n}.dat") for n, line in enumerate(lines[1:])]
        for column in range(12):
            np.ascontiguousarray(swapped[:, column]).tofile(tmp_path / f"r{column}.dat")
        header.write_text("\n".join(lines))
    record = read_record(header)
    np.testing.assert_array_equal(record.signal, digital.astype(np.float32) / np.float32(1000))
    assert record.issues == ()
    place = tmp_path / ("r0.dat" if is_split else "r.dat")
    place.write_bytes(b"\x11" + place.read_bytes()[1:])
    with pytest.raises(RecordFormatError, match="checksum of the samples"):
        read_record(header)
