"""The fast path against the wfdb package, and against everything that can be wrong with a file."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import wfdb
from conftest import toy_ecg, write_wfdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgjepa.errors import EcgjepaError, RecordFormatError
from ecgjepa.io import read_record
from ecgjepa.io.wfdb.header import read_header
from ecgjepa.signals.leads import LEADS


@pytest.fixture
def header(tmp_path, rng) -> Path:
    return write_wfdb(tmp_path / "r1.hea", toy_ecg(rng, num_samples=1000))


def edit(header: Path, old: str, new: str, count: int = 0) -> Path:
    text = header.read_text()
    assert re.search(old, text), old
    header.write_text(re.sub(old, new, text, count=count))
    return header


def same_as_package(path: Path) -> None:
    """Compare with wfdb bit for bit: signal, gaps, names and rate."""
    ours = read_record(path)
    theirs = wfdb.rdrecord(str(path.with_suffix("")))
    expected = theirs.p_signal.astype(np.float32)
    np.testing.assert_array_equal(np.where(ours.valid, ours.signal, np.nan), expected)
    assert ours.leads == tuple(theirs.sig_name)
    assert ours.sampling_rate == theirs.fs


def test_equals_the_package_with_gaps(tmp_path, rng):
    digital = toy_ecg(rng, num_samples=500)
    digital[10:20, 3] = -32768
    same_as_package(write_wfdb(tmp_path / "x.hea", digital))


@pytest.mark.parametrize("gain", ["200/mV", "4.88(12)/mV", "1000(-50)/mV", "0.3333/mV"])
def test_equals_the_package_at_any_gain(tmp_path, rng, gain):
    same_as_package(write_wfdb(tmp_path / "x.hea", toy_ecg(rng, num_samples=300), gain=gain))


def test_equals_the_package_on_challenge_files(tmp_path, rng):
    digital = toy_ecg(rng, num_samples=300)
    same_as_package(write_wfdb(tmp_path / "x.hea", digital, gain="1000/mV", offset=24))


@pytest.mark.parametrize(("unit", "factor"), [("uV", 1e-3), ("µV", 1e-3), ("V", 1e3), ("mv", 1)])
def test_units_are_converted(tmp_path, rng, unit, factor):
    digital = toy_ecg(rng, num_samples=100)
    record = read_record(write_wfdb(tmp_path / "x.hea", digital, gain=f"2(0)/{unit}"))
    np.testing.assert_allclose(record.signal, digital / 2 * factor, rtol=1e-6)


@pytest.mark.parametrize("storage", ["212", "80", "24", "32", "516"])
def test_other_formats_go_through_the_package(tmp_path, rng, storage):
    digital = rng.integers(-100, 100, (400, 2))
    wfdb.wrsamp(
        "o",
        360,
        ["mV"] * 2,
        ["I", "II"],
        d_signal=digital,
        fmt=[storage] * 2,
        adc_gain=[200.0] * 2,
        baseline=[0] * 2,
        write_dir=str(tmp_path),
    )
    record = read_record(tmp_path / "o.hea")
    np.testing.assert_array_equal(record.signal, (digital / 200).astype(np.float32))
    assert record.sampling_rate == 360


def test_a_signal_without_a_name_goes_through_the_package(tmp_path):
    np.arange(20, dtype="<i4").tofile(tmp_path / "n.dat")
    lines = ("n 2 500 10", "n.dat 32 200(0)/mV 16 0 0 90 0 I", "n.dat 32 200(0)/mV")
    (tmp_path / "n.hea").write_text("\n".join(lines))
    assert read_record(tmp_path / "n").leads == ("I", "")


def test_two_signal_files_go_through_the_package(tmp_path, rng):
    """PTB keeps its Frank leads in a second file."""
    digital = rng.integers(-500, 500, (200, 3)).astype(np.int16)
    digital[:, :2].astype("<i2").tofile(tmp_path / "p.dat")
    digital[:, 2:].astype("<i2").tofile(tmp_path / "p.xyz")
    sums = digital.astype(int).sum(axis=0) & 0xFFFF
    (tmp_path / "p.hea").write_text(
        "p 3 1000 200\n"
        + "".join(
            f"{file} 16 2000 16 0 {digital[0, i]} {sums[i]} 0 {lead}\n"
            for i, (file, lead) in enumerate([("p.dat", "i"), ("p.dat", "ii"), ("p.xyz", "vx")])
        )
    )
    record = read_record(tmp_path / "p")
    np.testing.assert_array_equal(record.signal, (digital / 2000).astype(np.float32))


def test_a_record_of_segments_goes_through_the_package(tmp_path, rng):
    first, second = (toy_ecg(rng, num_samples=n) for n in (30, 50))
    write_wfdb(tmp_path / "s1.hea", first)
    write_wfdb(tmp_path / "s2.hea", second)
    (tmp_path / "m.hea").write_text("m/2 12 500 80\ns1 30\ns2 50\n")
    record = read_record(tmp_path / "m.hea")
    expected = np.concatenate([first, second]).astype(np.float32) / np.float32(1000)
    np.testing.assert_array_equal(record.signal, expected)
    assert record.leads == LEADS
    (tmp_path / "s2.hea").unlink()
    with pytest.raises(RecordFormatError, match=r"s2\.hea: no such header"):
        read_record(tmp_path / "m.hea")


@pytest.mark.parametrize("name", ["r1", "r1.hea", "r1.dat"])
def test_a_record_may_be_named_in_three_ways(header, name):
    assert read_record(header.with_name(name)).record_id == "r1"


def test_a_record_name_with_a_dot(tmp_path, rng):
    write_wfdb(tmp_path / "a.b.hea", toy_ecg(rng, num_samples=50))
    assert read_record(tmp_path / "a.b").num_samples == 50


def test_exact_fractional_rate(header):
    assert read_record(edit(header, "12 500 ", "12 257.5 ")).sampling_rate == 257.5


def test_missing_length_is_taken_from_the_file(header):
    assert read_record(edit(header, "12 500 1000", "12 500")).num_samples == 1000


# ---------------------------------------------------------------- what can be wrong


def refused(path: Path, match: str, **options) -> RecordFormatError:
    with pytest.raises(RecordFormatError, match=match) as caught:
        read_record(path, **options)
    assert str(path.parent) in str(caught.value)
    return caught.value


def test_missing_record(tmp_path):
    assert refused(tmp_path / "no.hea", "no such file").reason == "missing_file"


def test_a_folder_is_no_record(tmp_path):
    refused(tmp_path, "is a folder")


def test_an_unknown_format(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"hello")
    refused(tmp_path / "x.bin", "format not recognised")


def test_missing_signal_file(header):
    header.with_suffix(".dat").unlink()
    assert refused(header, r"signal file r1\.dat is missing").reason == "missing_file"


@pytest.mark.parametrize("size", [0, 1, 23_999, 12_000])
def test_truncated_signal_file(header, size):
    data = header.with_suffix(".dat")
    data.write_bytes(data.read_bytes()[:size])
    error = refused(header, rf"truncated: holds {size // 24} of 1000 samples")
    assert error.reason == "truncated"


def test_a_longer_signal_file_is_noted(header):
    with header.with_suffix(".dat").open("ab") as stream:
        stream.write(b"\0" * 48)
    record = read_record(header)
    assert record.num_samples == 1000
    assert [issue.code for issue in record.issues] == ["file_longer_than_header"]


def test_one_changed_byte_breaks_the_checksum(header):
    data = bytearray(header.with_suffix(".dat").read_bytes())
    data[5000] ^= 1
    header.with_suffix(".dat").write_bytes(bytes(data))
    assert refused(header, "samples are not those").reason == "checksum_mismatch"
    record = read_record(header, damaged="flag")
    assert [issue.code for issue in record.issues] == ["checksum_mismatch"]


def test_wrong_first_sample(tmp_path):
    digital = np.arange(24, dtype=np.int16).reshape(2, 12)
    header = write_wfdb(tmp_path / "x.hea", digital)
    refused(edit(header, r"16 0 5 ", "16 0 99 "), "first sample is 5, the header says 99")


def test_header_without_checksums_is_noted(header):
    edit(header, r" 16 0 -?\d+ \d+ 0 \S+", "")
    assert [i.code for i in read_header(header).signals and read_record(header).issues] == [
        "no_checksum"
    ]


def test_gain_zero_is_uncalibrated(tmp_path, rng):
    digital = toy_ecg(rng, num_samples=50)
    record = read_record(write_wfdb(tmp_path / "x.hea", digital, gain="0/mV"))
    assert {issue.code for issue in record.issues} == {"uncalibrated"}
    np.testing.assert_allclose(record.signal, digital / 200, rtol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (r"1000\.0\(0\)/mV ", "", "is the gain field missing"),
        (r"1000\.0\(0\)/mV", "abc", "gain 'abc' is not like"),
        (r"12 500 1000", "12", "has no sampling rate"),
        (r"12 500 1000", "12 -500 1000", "sampling rate '-500' is no positive"),
        (r"12 500 1000", "12 0 1000", "sampling rate '0' is no positive"),
        (r"12 500 1000", "12 5e999 1000", "is no positive"),
        (r"12 500 1000", "13 500 1000", "announces 13 signals, but 12"),
        (r"12 500 1000", "8 500 1000", "announces 8 signals, but 12"),
        (r"12 500 1000", "0 500 1000", "0 signals announced"),
        (r"12 500 1000", "twelve 500 1000", "non-number"),
        (r"12 500 1000", "12 500 -5", "negative count"),
        (r"12 500 1000", "12 500 100000000000", "truncated"),
        (r"r1\.dat 16 ", "r1.dat sixteen ", "no file and storage format"),
        (r"r1\.dat", "../r1.dat", "may only name files in its own folder"),
        (r"r1\.dat", "/etc/passwd", "may only name files in its own folder"),
        (r"r1\.dat", r"..\\\\r1.dat", "may only name files in its own folder"),
        (r"/mV", "/mmHg", "unknown amplitude unit"),
    ],
)
def test_lying_headers(header, old, new, match):
    edit(header, old, new)
    with pytest.raises(EcgjepaError, match=match):
        read_record(header)


def test_a_wrong_format_is_caught_before_it_gives_garbage(header):
    """The wfdb package reads format 212 out of format 16 without complaint."""
    edit(header, r"\.dat 16 ", ".dat 212 ")
    with pytest.raises(RecordFormatError):
        read_record(header)


@pytest.mark.parametrize("content", ["", "\n\n", "# only a comment\n", "\0\0\0\0", "x", "x 1"])
def test_empty_or_garbage_header(tmp_path, content):
    (tmp_path / "g.hea").write_text(content)
    with pytest.raises(RecordFormatError):
        read_record(tmp_path / "g.hea")


def test_a_record_that_names_itself_as_its_segment(tmp_path):
    (tmp_path / "x.hea").write_text("x/2 12 500 100\nx 50\nx 50\n")
    with pytest.raises(RecordFormatError, match="is a segment, but consists of segments itself"):
        read_record(tmp_path / "x.hea")


def test_a_multi_segment_header_may_not_leave_its_folder(tmp_path):
    (tmp_path / "m.hea").write_text("m/1 2 500 100\n../secret 100\n")
    refused(tmp_path / "m.hea", "may only name files in its own folder")


def test_duplicated_lead_names_are_found_by_name(tmp_path, rng):
    from ecgjepa.errors import LeadError
    from ecgjepa.signals.record import standardise_leads

    leads = ("I", "I", *LEADS[2:])
    record = read_record(write_wfdb(tmp_path / "x.hea", toy_ecg(rng, num_samples=9), leads=leads))
    with pytest.raises(LeadError, match="lead I appears twice"):
        standardise_leads(record)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_mutated_files_give_named_errors_only(tmp_path, data):
    """Flip, cut or insert bytes anywhere in header or samples: an error of ours, or a record."""
    folder = tmp_path / "mutant"
    shutil.rmtree(folder, ignore_errors=True)
    header = write_wfdb(folder / "m.hea", toy_ecg(np.random.default_rng(0), num_samples=40))
    target = data.draw(st.sampled_from([header, header.with_suffix(".dat")]))
    content = bytearray(target.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        if kind == "flip":
            content[place] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            del content[place : place + data.draw(st.integers(1, 30))]
        else:
            content[place:place] = data.draw(st.binary(min_size=1, max_size=6))
        if not content:
            break
    target.write_bytes(bytes(content))
    try:
        record = read_record(header)
    except EcgjepaError:
        return
    assert np.isfinite(record.signal).all()
    assert record.signal.size < 10_000_000


# ---------------------------------------------------------------- real records


@pytest.mark.slow
@pytest.mark.realdata
def test_every_real_record_equals_the_package(real_data, tmp_path):
    """Bit for bit on each record at hand.

    The Georgia headers give the record name as ``E00001.mat``, which the package refuses; they
    are compared through a copy with the name put right.
    """
    headers = sorted(real_data.rglob("*.hea"))
    assert len(headers) > 1000
    for header in headers:
        ours = read_record(header)
        first, rest = header.read_text().split("\n", 1)
        if first.split()[0].endswith(".mat"):
            copied = tmp_path / header.name
            copied.write_text(first.replace(".mat ", " ", 1) + "\n" + rest)
            shutil.copy(header.with_suffix(".mat"), tmp_path)
            header = copied
        theirs = wfdb.rdrecord(str(header.with_suffix("")))
        expected = theirs.p_signal.astype(np.float32)
        np.testing.assert_array_equal(np.where(ours.valid, ours.signal, np.nan), expected)
        assert ours.leads == tuple(theirs.sig_name)
        assert ours.sampling_rate == theirs.fs
        # Some headers of the Challenge write mv.
        assert {issue.code for issue in ours.issues} <= {"unit_spelling"}
