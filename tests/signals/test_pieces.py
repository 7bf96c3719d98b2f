"""A record that is read in pieces is prepared to the same numbers as the whole one."""

from dataclasses import replace

import hypothesis
import numpy as np
import pytest
from conftest import toy_ecg
from hypothesis import strategies as st

from ecgjepa.signals.acceptance import prepare_each
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.long import preparing, survey
from ecgjepa.signals.long.preparing import prepare_long
from ecgjepa.signals.long.survey import GapFinder, Rests
from ecgjepa.signals.measures import runs
from ecgjepa.signals.microvolt import as_microvolt_record
from ecgjepa.signals.preprocessing import PreprocessingConfig, prepare_record
from ecgjepa.signals.quality import saturated_leads
from ecgjepa.signals.record import Issue, LongRecord, MicrovoltRecord, Record
from ecgjepa.signals.stretches.samples import LongSamples


def whole_record(rate=500.0, seconds=24, *, step=1.0, leads=LEADS):
    rng = np.random.default_rng(3)
    parts = [toy_ecg(rng, num_samples=round(rate * 8), rate=rate) for _ in range(seconds // 8)]
    digital = np.concatenate(parts)[:, [LEADS.index(lead) for lead in leads]]
    drift = 200 * np.sin(np.arange(len(digital)) / rate / 3)[:, None]
    millivolt = np.rint((digital + drift) / step) * step / 1000
    signal = millivolt.astype(np.float32)
    issues = (Issue("no_checksum", "none"),)
    return Record(signal, np.ones(signal.shape, bool), leads, rate, "x", source="x", issues=issues)


def with_gaps(record):
    """Return the record with gaps short and long, of one lead and of all, and at both ends."""
    signal, valid = record.signal.copy(), record.valid.copy()
    for lead, start, stop in [
        (0, 700, 705), (0, 4000, 4012), (1, 3000, 5500), (2, 0, 2600), (3, 9_600, 12_000),
        (4, 6000, 6800), (4, 6900, 7900), (5, 100, 11_900), (7, 7900, 7901),
    ]:  # fmt: skip
        valid[start:stop, lead] = False
    valid[8_100:9_500] = False
    signal[~valid] = 0.0
    return replace(record, signal=signal, valid=valid)


def with_artefacts(record):
    """Return the record with an amplifier at its limit, steps, and two limb leads exchanged."""
    signal = record.signal.copy()
    signal[:, [0, 1]] = signal[:, [1, 0]]
    signal[5000:5030, 7], signal[9000:9006, 8], signal[:, 9] = 7.5, 6.0, 0.25
    signal[11_000:11_040, 10] = 40.0
    return replace(record, signal=signal)


def in_pieces(record):
    def read(start, stop):
        assert 0 <= start < stop <= record.num_samples
        if isinstance(record, MicrovoltRecord):
            return replace(record, samples=record.samples[start:stop])
        return replace(
            record, signal=record.signal[start:stop].copy(), valid=record.valid[start:stop].copy()
        )

    return LongRecord(
        read, record.num_samples, record.leads, record.sampling_rate, record.record_id,
        record.source, record.issues,
    )  # fmt: skip


RECORDS = {
    "whole microvolts": whole_record(),
    "integers": as_microvolt_record(whole_record()),
    "integers at 257 Hz": as_microvolt_record(whole_record(257.0)),
    "another order": as_microvolt_record(whole_record(leads=LEADS[::-1])),
    "steps of 4.88 µV": whole_record(step=4.88),
    "eight leads": whole_record(leads=(*LEADS[:2], *LEADS[6:])),
    "without V2": whole_record(leads=(*LEADS[:7], *LEADS[8:])),
    "gaps": with_gaps(whole_record()),
    "gaps, steps of 4.88 µV": with_gaps(whole_record(step=4.88)),
    "artefacts": with_artefacts(whole_record()),
}


# A margin of 5 s on both sides; at the usual 0.5 Hz it would take in all of the record.
FILTERED = PreprocessingConfig(sampling_rate=100.0, highpass_hz=5.0)
CASES = [(name, PreprocessingConfig(sampling_rate=100.0)) for name in RECORDS]
CASES += [("gaps, steps of 4.88 µV", FILTERED), ("artefacts", FILTERED)]
CASES += [("gaps", PreprocessingConfig(sampling_rate=360.0, max_gap_seconds=1.0))]
CASES += [("gaps", PreprocessingConfig(sampling_rate=500.0, highpass_hz=5.0))]
CASES += [("another order", PreprocessingConfig(sampling_rate=500.0))]


@pytest.mark.parametrize(("name", "config"), CASES)
def test_pieces_are_prepared_as_the_whole(name, config, monkeypatch):
    record = RECORDS[name]
    expected = prepare_record(record, config)
    monkeypatch.setattr(survey, "PIECE_VALUES", 25_000)
    monkeypatch.setattr(preparing, "PIECE_VALUES", 25_000)
    found = prepare_long(in_pieces(record), config)
    assert isinstance(found.samples, LongSamples)
    np.testing.assert_array_equal(np.concatenate(list(found.samples.stretches())), expected.samples)
    assert found.issues == expected.issues
    assert found.quality == expected.quality
    np.testing.assert_array_equal(found.measures.drift, expected.measures.drift)
    for measure, value in expected.measures._asdict().items():
        if measure == "block_means":  # of which the drift alone is kept
            continue
        np.testing.assert_array_equal(getattr(found.measures, measure), value, err_msg=measure)
    # Slices in any order, and longer than what is prepared at a time.
    for first, last in [(700, 1900), (0, 50), (1890, 1900), (300, 301), (5, 5)]:
        np.testing.assert_array_equal(found.samples[first:last], expected.samples[first:last])


def test_other_records_go_the_same_way_beside_one_in_pieces():
    config = PreprocessingConfig(sampling_rate=100.0)
    sources = [("a", RECORDS["integers"]), ("b", in_pieces(RECORDS["without V2"]))]
    sources += [("c", in_pieces(whole_record(leads=("I", "II", "V1")))), ("d", sources[0][1])]
    found = dict(prepare_each(sources, config))
    assert [type(each).__name__ for each in found.values()] == [
        "Usable", "Usable", "FewLeadsError", "Usable",
    ]  # fmt: skip
    assert found["c"].reason == "too_few_leads"
    np.testing.assert_array_equal(found["a"].prepared.samples, found["d"].prepared.samples)


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=60, deadline=None)
def test_rests_and_gaps_are_found_across_pieces(data):
    values = data.draw(st.lists(st.sampled_from([-6, 0, 1, 6]), min_size=1, max_size=60))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(values)), max_size=8)) | {len(values)})
    column = np.repeat(np.array(values, np.int16), 3)[:, None]
    parts = np.split(column, [3 * cut for cut in cuts if cut < len(values)])
    rests, gaps = Rests(1, 500.0, 1.0), GapFinder(1, least=4)
    for part in parts:
        rests.add(part)
        gaps.add(part != 0)
    assert rests.saturated().tolist() == saturated_leads(column, 500.0, 1.0).tolist()
    (found,) = gaps.finish()
    expected = [gap for gap in runs(column[:, 0] == 0) if gap[1] - gap[0] > 4]
    assert list(zip(found.starts, found.stops, strict=True)) == expected
