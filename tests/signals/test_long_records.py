"""Long records are worked on in other pieces than short ones, with the same result."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import toy_ecg

from ecgjepa.errors import RecordError
from ecgjepa.signals import acceptance, resampling
from ecgjepa.signals.acceptance import prepare_each
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.preprocessing import PreprocessingConfig, prepare_record
from ecgjepa.signals.record import Record


@pytest.fixture
def record():
    signal = toy_ecg(np.random.default_rng(0)).astype(np.float32) / np.float32(1000.3)
    valid = np.ones(signal.shape, bool)
    valid[700:1900, 4] = False
    signal[~valid] = 0
    return Record(signal, valid, LEADS, 500.0, "x")


@pytest.mark.parametrize("rate", [100.0, 257.0, 640.0])
def test_leads_are_resampled_one_by_one_to_the_same_integers(record, rate, monkeypatch):
    config = PreprocessingConfig(sampling_rate=rate)
    expected = prepare_record(record, config)
    monkeypatch.setattr(resampling, "_MOST_TOGETHER", 1000)
    found = prepare_record(record, config)
    np.testing.assert_array_equal(found.samples, expected.samples)
    assert found.issues == expected.issues


@pytest.mark.parametrize(
    "names", [("I", "II", "V1"), ("I", "V1", "V2"), ("V1", "V2"), ("I", "II", "V1", "V2")]
)
@pytest.mark.parametrize("leads", [LEADS, ("I", "II", "III", "V1"), ("V1",)])
def test_too_few_names_are_refused_as_too_few_leads_are(record, names, leads, monkeypatch):
    columns = [LEADS.index(name) for name in names]
    few = replace(
        record, signal=record.signal[:, columns], valid=record.valid[:, columns], leads=names
    )
    config = PreprocessingConfig(sampling_rate=100.0)
    ((_, expected),) = prepare_each([("x", few)], config, [leads])
    monkeypatch.setattr(acceptance, "_LONG_SAMPLES", 1)
    ((_, found),) = prepare_each([("x", few)], config, [leads])
    assert isinstance(found, RecordError) == isinstance(expected, RecordError)
    if isinstance(expected, RecordError):
        assert (str(found), found.reason) == (str(expected), expected.reason)
