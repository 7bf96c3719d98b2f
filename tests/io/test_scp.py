import struct

import numpy as np
import pytest
import scp_files
from conftest import toy_ecg
from hypothesis import given, settings
from hypothesis import strategies as st
from scp_files import Beat, Code, assemble, scp_sections, write_scp

from ecgjepa import read_record
from ecgjepa.errors import LeadError, RecordFormatError, UnitError
from ecgjepa.io.devices.scp import read_scp
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.record import standardise_leads


@pytest.fixture
def digital():
    return toy_ecg(np.random.default_rng(11), num_samples=300)


def in_millivolt(digital, nanovolt=1000):
    return (digital * (nanovolt / 1e6)).astype(np.float32)


def codes(record):
    return [issue.code for issue in record.issues]


@pytest.mark.parametrize("table", ["default", None])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_every_coding_gives_the_same_leads(tmp_path, digital, table, order):
    path = write_scp(tmp_path / "x.scp", digital, table=table, order=order, nanovolt=2500)
    record = read_record(path)
    assert (record.leads, record.sampling_rate, record.record_id) == (LEADS, 500.0, "x")
    assert record.valid.all()
    assert record.issues == ()
    np.testing.assert_array_equal(record.signal, in_millivolt(digital, 2500))


@st.composite
def tables(draw):
    """A prefix code: leaves of a tree that is split at random, the first of them for any value."""
    leaves = [""]
    for _ in range(draw(st.integers(2, 14))):
        leaf = leaves.pop(draw(st.integers(0, len(leaves) - 1)))
        leaves += [leaf + "0", leaf + "1"] if len(leaf) < 11 else [leaf]
    values = st.integers(-40, 40)
    own = [Code(leaf, draw(st.sampled_from([0, 0, 3, 8])), draw(values)) for leaf in leaves[1:]]
    return [*own, Code(leaves[0], 16, 0)]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_samples_survive_any_coding(tmp_path_factory, data):
    num_samples, num_leads = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 4))
    any_value = st.one_of(st.integers(-9, 9), st.integers(-200, 200), st.integers(-32768, 32767))
    rows = st.lists(any_value, min_size=num_leads * num_samples, max_size=num_leads * num_samples)
    digital = np.array(data.draw(rows), np.int64).reshape(num_samples, num_leads)
    first = data.draw(st.sampled_from([1, 1, 2, 17]))
    sections = scp_sections(
        digital,
        leads=LEADS[:num_leads],
        order=data.draw(st.sampled_from([0, 1, 2])),
        table=data.draw(st.one_of(st.sampled_from(["default", None]), tables())),
        first=first,
    )
    path = tmp_path_factory.getbasetemp() / "any.scp"
    path.write_bytes(assemble(sections))
    record = read_scp(path)
    np.testing.assert_array_equal(record.signal, in_millivolt(digital))
    assert record.issues == ()


def test_beats_that_were_subtracted_are_added_again(tmp_path, digital):
    reference = toy_ecg(np.random.default_rng(2), num_samples=60).astype(np.int64)
    beats = [Beat(0, 21, 40, 70), Beat(1, 90, 100, 110), Beat(0, 131, 160, 190)]
    options = {"reference": reference, "fiducial": 30, "beats": beats}
    record = read_record(write_scp(tmp_path / "x.scp", digital, **options))
    np.testing.assert_array_equal(record.signal, in_millivolt(digital))
    # Without the flag, the same samples are what is in section 6.
    plain = read_record(write_scp(tmp_path / "y.scp", digital, flags=0x64, **options))
    assert (plain.signal != record.signal).any()


def test_beats_that_do_not_fit_are_refused(tmp_path, digital):
    reference = np.ones((60, 12), np.int64)
    options = {"reference": reference, "fiducial": 30, "beats": [Beat(0, 21, 40, 70)]}
    with pytest.raises(RecordFormatError, match=r"reference beat has 5000 nV .* rhythm 1000 nV"):
        read_record(write_scp(tmp_path / "x.scp", digital, reference_nanovolt=5000, **options))
    sections = scp_sections(digital, **options)
    for start, end in ((21, 71), (9, 20), (290, 301), (50, 49 - 5)):
        sections[4] = struct.pack("<HHHHIII", 120, 30, 1, 0, start, 40, end)
        (tmp_path / "y.scp").write_bytes(assemble(sections))
        with pytest.raises(RecordFormatError, match=r"section 4 adds beat 1 to the samples"):
            read_record(tmp_path / "y.scp")
    del sections[5]
    (tmp_path / "z.scp").write_bytes(assemble(sections))
    with pytest.raises(RecordFormatError, match=r"sections 4 and 5 do not say which"):
        read_record(tmp_path / "z.scp")


@pytest.mark.parametrize("table", ["default", None])
def test_ranges_that_begin_at_0(tmp_path, digital, table):
    """Some writers count 0 to 300 for 300 samples, others 0 to 299: neither gains a sample."""
    digital[-1] = 77  # not what padding decodes to
    for last in (300, 299):
        path = write_scp(tmp_path / "x.scp", digital, first=0, last=last, table=table)
        record = read_record(path)
        assert record.num_samples == 300
        np.testing.assert_array_equal(record.signal, in_millivolt(digital))


def test_samples_that_are_announced_and_missing_are_no_samples(tmp_path, digital):
    for table in ("default", None):
        path = write_scp(tmp_path / "x.scp", digital, last=340, table=table, order=0)
        with pytest.raises(RecordFormatError, match=r"truncated: holds 3\d\d of 340") as caught:
            read_record(path)
        assert caught.value.reason == "truncated"


def test_a_lead_cut_off_by_its_byte_count_is_told(tmp_path):
    """A byte count of 16 bits ends at 32,767 samples; a real writer announces all it had."""
    digital = np.arange(32767)[:, None] % 900
    options = {"leads": ("II",), "last": 37855, "order": 0, "table": None, "microseconds": 1250}
    path = write_scp(tmp_path / "x.scp", digital, **options)
    record = read_record(path)
    assert (record.num_samples, record.sampling_rate) == (32767, 800.0)
    assert codes(record) == ["truncated"]
    assert record.issues[0].message.startswith("holds 32,767 of 37,855 samples of each lead: a")


def test_more_samples_than_announced_are_told(tmp_path, digital):
    record = read_record(write_scp(tmp_path / "x.scp", digital, last=200, order=1))
    assert record.num_samples == 200
    assert codes(record) == ["file_longer_than_header"] * 12
    np.testing.assert_array_equal(record.signal, in_millivolt(digital[:200]))


def test_leads_apart_are_refused(tmp_path, digital):
    with pytest.raises(RecordFormatError, match=r"not recorded at the same time") as caught:
        read_record(write_scp(tmp_path / "x.scp", digital, flags=3 << 3))
    assert caught.value.reason == "leads_apart"
    sections = scp_sections(digital)
    rows = bytearray(sections[3])
    rows[2:10] = struct.pack("<II", 301, 600)
    (tmp_path / "y.scp").write_bytes(assemble(sections | {3: bytes(rows)}))
    with pytest.raises(RecordFormatError, match=r"I 301-600, II 1-300, .* 12 of 12 leads together"):
        read_record(tmp_path / "y.scp")
    # Flags of 0 say nothing: a real writer leaves them so.
    assert read_record(write_scp(tmp_path / "z.scp", digital, flags=0)).num_samples == 300


def test_lead_numbers(tmp_path, digital):
    leads = ("II", "V1", "-aVR", "V7", "X", "I")
    record = read_record(write_scp(tmp_path / "x.scp", digital[:, :6], leads=leads))
    assert record.leads == leads
    standard = standardise_leads(record)
    np.testing.assert_array_equal(standard.signal[:, 3], -in_millivolt(digital[:, 2]))
    path = write_scp(tmp_path / "y.scp", digital[:, :2], leads=("V7", "X"))
    with pytest.raises(LeadError, match=r"none of the lead names"):
        standardise_leads(read_record(path))


@pytest.mark.parametrize("where", [1, 40, 400, -10])
def test_checksums(tmp_path, digital, where):
    path = write_scp(tmp_path / "x.scp", digital)
    content = bytearray(path.read_bytes())
    content[where] ^= 4
    path.write_bytes(content)
    for damaged in ("raise", "mask"):
        with pytest.raises(RecordFormatError, match=r"checksum of .* is \d+, the stored") as caught:
            read_record(path, damaged=damaged)
        assert caught.value.reason == "checksum_mismatch"
    if where in (1, -10):
        assert "checksum_mismatch" in codes(read_record(path, damaged="flag"))


def test_a_cut_file_is_refused_and_a_longer_one_told(tmp_path, digital):
    path = write_scp(tmp_path / "x.scp", digital)
    content = path.read_bytes()
    for size in (len(content) - 1, len(content) // 2, 200):
        path.write_bytes(content[:size])
        with pytest.raises(RecordFormatError, match=r"truncated: holds") as caught:
            read_record(path)
        assert caught.value.reason == "truncated"
    path.write_bytes(content + b"\r\n")
    assert codes(read_record(path)) == ["file_longer_than_header"]


def test_what_is_not_read_is_refused_by_name(tmp_path, digital):
    for name, options, match in (
        ("bimodal", {"bimodal": 1}, "compressed bimodally"),
        ("order", {"order": 3}, "differences 3; expected"),
        ("no_time", {"microseconds": 0}, "has 0 µs from sample to sample"),
    ):
        with pytest.raises(RecordFormatError, match=match):
            read_record(write_scp(tmp_path / f"{name}.scp", digital, **options))
    with pytest.raises(UnitError, match=r"x\.scp: section 6 gives a resolution of 0 nV"):
        read_record(write_scp(tmp_path / "x.scp", digital, nanovolt=0))
    sections = scp_sections(digital)
    rhythm = sections.pop(6)
    for more, match in (({}, "has no section 6"), ({12: rhythm}, "is SCP-ECG 3")):
        (tmp_path / "y.scp").write_bytes(assemble(sections | more, version=30))
        with pytest.raises(RecordFormatError, match=match):
            read_record(tmp_path / "y.scp")
    for rows, match in (
        (struct.pack("<BBBhI", 1, 1, 0, 2, 0), "switches between Huffman tables"),
        (struct.pack("<BBBhI", 20, 20, 1, 2, 0), "a prefix of 20 bits"),
        (struct.pack("<BBBhI", 2, 30, 1, 2, 0), "a code of 30 bits with a prefix of 2"),
        (struct.pack("<BBBhI", 1, 1, 1, 2, 0) * 2, "begin with one another"),
    ):
        table = struct.pack("<HH", 1, len(rows) // 9) + rows
        (tmp_path / "z.scp").write_bytes(assemble(scp_sections(digital) | {2: table}))
        with pytest.raises(RecordFormatError, match=match):
            read_record(tmp_path / "z.scp")


def test_bits_that_are_no_code(tmp_path, digital):
    table = [Code("0", 16, 0), Code("10", 0, 5)]
    sections = scp_sections(digital, table=table)
    rhythm = bytearray(sections[6])
    rhythm[30:32] = b"\xff\xff"
    (tmp_path / "x.scp").write_bytes(assemble(sections | {6: bytes(rhythm)}))
    with pytest.raises(RecordFormatError, match=r"lead I holds bits that are not a Huffman code"):
        read_record(tmp_path / "x.scp")


def test_a_record_without_the_name_in_section_0(tmp_path, digital):
    content = write_scp(tmp_path / "x.scp", digital).read_bytes().replace(b"SCPECG", bytes(6))
    (tmp_path / "y.scp").write_bytes(scp_files.seal(content))
    assert read_record(tmp_path / "y.scp", damaged="flag").num_samples == 300


def test_the_tests_own_checksum_is_the_known_one():
    assert scp_files.crc(b"123456789") == 0x29B1
