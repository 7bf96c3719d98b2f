"""Long recordings, which are read in pieces, give what whole ones give."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb
from device_files import write_ishne
from ecg_files import describe, write_edf, write_npy
from tiny_model import save_tiny_model

import ecgjepa
from ecgjepa.errors import ConfigError, RecordFormatError
from ecgjepa.inference import windows
from ecgjepa.io import open_record, pieces, read_exact
from ecgjepa.io.long import opening
from ecgjepa.io.wfdb import long as wfdb_long
from ecgjepa.reporting import plotting
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.long import preparing, survey
from ecgjepa.signals.record import LongRecord, Record
from ecgjepa.signals.stretches.samples import LongSamples


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("long") / "model")


@pytest.fixture
def digital(rng):
    return np.concatenate([toy_ecg(rng, num_samples=6000) for _ in range(4)])


@pytest.fixture
def in_pieces(monkeypatch):
    """Let records be long that are not."""
    monkeypatch.setattr(pieces, "LONG_VALUES", 100_000)
    monkeypatch.setattr(opening, "LONG_VALUES", 100_000)
    monkeypatch.setattr(survey, "PIECE_VALUES", 30_000)
    monkeypatch.setattr(preparing, "PIECE_VALUES", 30_000)


def wfdb_plain(folder, digital):
    return write_wfdb(folder / "x.hea", digital)


def wfdb_coarse(folder, digital):
    return write_wfdb(folder / "x.hea", digital // 3, gain="204.8(7)/mV", offset=24)


def wfdb_with_gaps(folder, digital):
    digital[3000:9000, 3], digital[12_000:12_500] = -32768, -32768
    return write_wfdb(folder / "x.hea", digital)


def wfdb_with_others(folder, digital):
    path = write_wfdb(folder / "x.hea", digital)
    lines = path.read_text().splitlines()
    lines[8] = lines[8].replace("/mV", "/mmHg").replace(" V2", " ABP")
    path.write_text("\n".join(lines) + "\n")
    return path


def wfdb_twice(folder, digital):
    wide = np.column_stack([digital, digital[:, 6]])
    return write_wfdb(folder / "x.hea", wide, leads=(*LEADS, "V1"))


def wfdb_damaged(folder, digital):
    path = write_wfdb(folder / "x.hea", digital)
    content = bytearray(path.with_suffix(".dat").read_bytes())
    content[24 * 5000 + 6] ^= 1  # lead aVR
    path.with_suffix(".dat").write_bytes(content)
    return path


def wfdb_short(folder, digital):
    path = write_wfdb(folder / "x.hea", digital)
    path.with_suffix(".dat").write_bytes(digital[:20_003].astype("<i2").tobytes()[:-5])
    return path


def pack_12(digital):
    """Return samples of 12 bits, two in three bytes; the last alone takes two."""
    low = digital.reshape(-1).astype(np.int64) & 0xFFF
    pairs = np.append(low, np.zeros(len(low) % 2, np.int64)).reshape(-1, 2)
    middle = pairs[:, 0] >> 8 | pairs[:, 1] >> 4 & 0xF0
    content = np.stack([pairs[:, 0] & 0xFF, middle, pairs[:, 1] & 0xFF], axis=1)
    packed = content.astype(np.uint8).tobytes()
    return packed[:-1] if len(low) % 2 else packed


def wfdb_packed(folder, digital, columns=12):
    """Format 212, with samples of which none is known."""
    twelve = np.clip(digital, -2047, 2047)[:, :columns]
    twelve[6000:6500, 4], twelve[12_000:12_500] = -2048, -2048
    path = write_wfdb(folder / "x.hea", twelve, leads=LEADS[:columns], storage="212")
    path.with_suffix(".dat").write_bytes(pack_12(twelve))
    return path


def wfdb_packed_odd(folder, digital):
    """A sample of an odd number of signals may begin in the middle of a byte."""
    return wfdb_packed(folder, digital[:23_999], columns=11)


def wfdb_packed_short(folder, digital):
    path = wfdb_packed(folder, digital)
    path.with_suffix(".dat").write_bytes(path.with_suffix(".dat").read_bytes()[:-7])
    return path


def edf_plain(folder, digital):
    return write_edf(folder / "x.edf", digital)


def edf_with_tail(folder, digital):
    digital[-300:] = -32768
    return write_edf(folder / "x.edf", digital)


def ishne_plain(folder, digital):
    digital[4000:9000, 2] = -32768
    return write_ishne(folder / "x.ecg", digital, text=b"a patient")


def ishne_with_other(folder, digital):
    leads = (*LEADS[:11], 1)
    return write_ishne(folder / "x.ecg", digital, leads=leads, nanovolt=[*[2500] * 11, 0])


def ishne_short(folder, digital):
    return write_ishne(folder / "x.ecg", digital, announced=len(digital) + 100)


def array_plain(folder, digital):
    return write_npy(folder / "x.npy", digital)


def array_of_floats(folder, digital):
    values = digital / 1e3
    values[7000:8000, 1] = np.nan
    np.save(folder / "x.npy", values)
    describe(folder / "x.npy", unit="mV")
    return folder / "x.npy"


def array_across(folder, digital):
    np.save(folder / "x.npy", digital.T)
    describe(folder / "x.npy")
    return folder / "x.npy"


def array_of_fortran(folder, digital):
    np.save(folder / "x.npy", np.asfortranarray(digital))
    describe(folder / "x.npy")
    return folder / "x.npy"


def array_across_of_fortran(folder, digital):
    np.save(folder / "x.npy", np.asfortranarray(digital.T))
    describe(folder / "x.npy")
    return folder / "x.npy"


WHOLE = [wfdb_twice]
WRITERS = [wfdb_plain, wfdb_coarse, wfdb_with_gaps, wfdb_with_others, wfdb_damaged, wfdb_short]
WRITERS += [edf_plain, edf_with_tail, ishne_plain, ishne_with_other, ishne_short]
WRITERS += [array_plain, array_of_floats, array_across, array_of_fortran, *WHOLE]
WRITERS += [array_across_of_fortran, wfdb_packed, wfdb_packed_odd]


DAMAGED = [wfdb_damaged, wfdb_short, ishne_short]
CASES = [(write, "skip") for write in WRITERS] + [(write, "mask") for write in DAMAGED]


@pytest.mark.parametrize(("write", "on_bad"), CASES, ids=lambda case: getattr(case, "__name__", ""))
def test_predictions_and_features_equal_those_of_whole_records(
    write, on_bad, tmp_path, digital, model, request
):
    path = write(tmp_path, digital)
    loaded = ecgjepa.load_model(model, device="cpu")
    (expected,) = loaded.predict(path, on_bad=on_bad)
    wanted = ecgjepa.embed(path, model, pool="window", on_bad=on_bad, device="cpu")
    request.getfixturevalue("in_pieces")
    assert isinstance(open_record(path, damaged="mask"), LongRecord) == (write not in WHOLE)
    (found,) = loaded.predict(path, on_bad=on_bad)
    assert found == expected
    features = ecgjepa.embed(path, model, pool="window", on_bad=on_bad, device="cpu")
    assert features.equals(wanted)
    assert features.attrs == wanted.attrs
    is_refused = on_bad == "skip" and write in DAMAGED
    assert (found.error is not None) == is_refused


def test_what_a_record_in_pieces_reads_is_what_the_whole_holds(tmp_path, digital, in_pieces):
    path = wfdb_coarse(tmp_path, digital)
    whole, long = read_exact(path), open_record(path)
    part = long.read(5000, 5100)
    np.testing.assert_array_equal(part.signal, whole.signal[5000:5100])
    assert (long.num_samples, long.leads, long.issues) == (24_000, LEADS, whole.issues)
    assert (long.duration, long.record_id, long.source) == (48.0, "x", str(path))


@pytest.mark.parametrize("write", [wfdb_packed, wfdb_packed_odd, array_across, array_of_fortran])
def test_any_part_of_it_is_that_of_the_whole(write, tmp_path, digital, in_pieces, rng):
    path = write(tmp_path, digital)
    whole, long = ecgjepa.read_record(path), open_record(path)
    assert (long.num_samples, long.issues) == (whole.num_samples, whole.issues)
    for start, length in [
        (0, 1),
        (1, 1),
        (whole.num_samples - 1, 1),
        *rng.integers(1, 9999, (9, 2)),
    ]:
        stop = min(start + length, whole.num_samples)
        part = long.read(int(start), int(stop))
        part = part if isinstance(part, Record) else part.as_record()
        np.testing.assert_array_equal(part.signal, whole.signal[start:stop])
        np.testing.assert_array_equal(part.valid, whole.valid[start:stop])


def test_a_packed_file_that_is_too_short_is_refused_as_a_whole_one_is(tmp_path, digital, in_pieces):
    path = wfdb_packed_short(tmp_path, digital)
    with pytest.raises(RecordFormatError) as whole:
        read_exact(path)
    with pytest.raises(RecordFormatError) as long:
        open_record(path)
    assert str(long.value) == str(whole.value)


@pytest.mark.parametrize("write", [wfdb_plain, wfdb_packed])
def test_a_page_of_a_long_recording_is_drawn_from_what_it_shows(
    write, tmp_path, digital, in_pieces, monkeypatch
):
    path, read = write(tmp_path, digital), []
    real, drawn = plotting.open_record, []

    def opened(*args, **options):
        found = real(*args, **options)
        return replace(found, read=lambda a, b: read.append((a, b)) or found.read(a, b))

    monkeypatch.setattr(plotting, "open_record", opened)
    monkeypatch.setattr(wfdb_long, "_look", None)  # that would read all of it
    draw = plotting.draw_ecg
    monkeypatch.setattr(
        plotting,
        "draw_ecg",
        lambda record, **options: drawn.append(record) or draw(record, **options),
    )
    ecgjepa.plot(path, tmp_path / "a.svg")
    ecgjepa.plot(path, tmp_path / "b.svg", start=20.5, duration=4)
    ecgjepa.plot(path, tmp_path / "c.svg", start=47)
    assert read == [(0, 5000), (10_250, 12_250), (23_500, 24_000)]
    whole = ecgjepa.read_record(path).signal
    for record, (first, stop) in zip(drawn, read, strict=True):
        np.testing.assert_array_equal(record.signal, whole[first:stop])
    for options in ({"start": 48}, {"start": -1}, {"duration": 0}, {"duration": 11}):
        with pytest.raises(ConfigError, match=r"lasts 48 s|holds up to 10 s"):
            ecgjepa.plot(path, tmp_path / "d.svg", **options)
    text = (tmp_path / "b.svg").read_text()
    assert "4 s from 20.5 s of 48 s" in text
    assert "checksums were not compared" in text


def test_a_file_that_changes_meanwhile_is_an_error_of_that_file(tmp_path, digital, in_pieces):
    path = wfdb_plain(tmp_path, digital)
    long = open_record(path)
    path.with_suffix(".dat").write_bytes(digital[:23_000].astype("<i2").tobytes())
    with pytest.raises(RecordFormatError, match=r"x\.dat: was changed while it was read"):
        long.read(0, 10)


@pytest.mark.parametrize("pool", ["record", "window"])
def test_a_file_that_changes_while_the_model_runs_stops_no_other(
    pool, tmp_path, digital, in_pieces, model, monkeypatch
):
    path, other = wfdb_plain(tmp_path, digital), write_wfdb(tmp_path / "y.hea", digital[:5000])
    real = windows.find_windows

    def find_windows(samples, **options):
        """Change the file between its preparation and the model, once half of it was run."""
        if isinstance(samples, LongSamples):
            half, make = len(samples) // 2, samples._make

            def changing(start, stop):
                if start >= half:
                    path.with_suffix(".dat").write_bytes(b"")
                return make(start, stop)

            samples._make = changing
        return real(samples, **options)

    monkeypatch.setattr(windows, "find_windows", find_windows)
    if pool == "window":
        frame = ecgjepa.embed([path, other], model, pool="window", device="cpu")
        assert set(frame.index.get_level_values("file")) == {str(other)}
        assert "was changed while" in frame.attrs["errors"][str(path)]
        return
    bad, good = ecgjepa.load_model(model, device="cpu").predict([path, other])
    assert "was changed while it was read" in bad.error
    assert good.error is None
