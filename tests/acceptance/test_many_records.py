"""The benchmark's tree is one that readers accept, and no record of it is another's copy."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgjepa.databases import list_records
from ecgjepa.errors import ConfigError
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.record import standardise_leads

PROGRAM = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks/many_records.py"))
write_many = PROGRAM["write_many"]


@pytest.mark.parametrize("gain", [200, 1000])
def test_readers_accept_every_record(tmp_path, gain):
    root = write_many(tmp_path / "tree", 23, gain=gain, signals=3)
    listing = list_records("mimic-iv-ecg", root)
    assert len(listing.table) == 23
    assert listing.table["patient_id"].nunique() == 5
    assert listing.absent == ()
    assert listing.notices[0].startswith("23 simulated ECGs")
    contents = set()
    for entry in listing.entries():
        path = root / entry.path
        contents.add(path.with_suffix(".dat").read_bytes())
        theirs = wfdb.rdrecord(str(path.with_suffix("")), physical=False)
        assert (theirs.fs, theirs.sig_len, theirs.adc_gain) == (500, 5000, [gain] * 12)
        assert theirs.sig_name[4:6] == ["aVF", "aVL"]
        assert theirs.init_value == theirs.d_signal[0].tolist()
        sums = theirs.d_signal.sum(axis=0, dtype=np.int64)
        assert ((np.array(theirs.checksum) - sums) % 65536 == 0).all()
        record = standardise_leads(listing.read(entry))
        assert record.leads == LEADS
        assert record.issues == ()
        assert record.valid.all()
        expected = theirs.d_signal[:, [theirs.sig_name.index(lead) for lead in LEADS]] / gain
        np.testing.assert_array_equal(record.signal, expected.astype(np.float32))
        i, ii, iii, avr, avl, avf = record.signal[:, :6].T.astype(float)
        for residual in (ii - i - iii, avr + (i + ii) / 2, avl - i + ii / 2, avf - ii + i / 2):
            assert np.abs(residual).max() <= 0.51 / gain
    assert len(contents) == 23


def test_every_variation_of_a_signal_differs(tmp_path):
    pool = PROGRAM["make_pool"](1, 200, 0)
    seen = {PROGRAM["vary"](pool, number).tobytes() for number in range(5000)}
    assert len(seen) == 5000


def test_wrong_use_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected 1 to 5,000"):
        write_many(tmp_path / "x", 5001, signals=1)
    with pytest.raises(ConfigError, match="gain is 2000"):
        write_many(tmp_path / "x", 1, gain=2000)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ConfigError, match="not empty"):
        write_many(tmp_path, 1)
