"""Descriptions of inputs: of arrays and tables only, and what has none is a row that says so."""

import json

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb
from ecg_files import WRITERS

from ecgjepa.errors import InputError, RecordError, RecordFormatError
from ecgjepa.inference.inputs.named import find_inputs, usable_each
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.preprocessing import PreprocessingConfig

TOLD = {"sampling_rate": 500, "unit": "mV", "leads": list(LEADS)}
CONFIG = PreprocessingConfig(sampling_rate=100.0)


@pytest.fixture
def mixed(tmp_path):
    """WFDB, XML, DICOM without an ending, an array and tables, none of them described."""
    root, signal = tmp_path / "in", toy_ecg(np.random.default_rng(0))
    write_wfdb(root / "a.hea", signal)
    WRITERS["muse"].write(root / "b.xml", signal)
    WRITERS["dicom"].write(root / "IM0001", signal)
    np.save(root / "c.npy", signal / 1000)
    for name, mark in (("d.csv", ","), ("e.tsv", "\t"), ("f.csv", ";")):
        names = mark.join(f"{lead} [mV]" if name == "f.csv" else lead for lead in LEADS)
        np.savetxt(root / name, signal / 1000, delimiter=mark, header=names, comments="")
    return root


def failures(found, description=None):
    each = found.usable(CONFIG, description=description)
    return {
        name.rpartition("/")[2]: got.reason for name, got in each if isinstance(got, RecordError)
    }


def test_a_description_is_of_arrays_and_tables_only(mixed):
    place = mixed / "told.json"
    place.write_text(json.dumps(TOLD))
    found = find_inputs([mixed], description=place)
    assert len(found.names()) == 7
    assert found.notices == ()
    assert failures(found, place) == {}
    assert find_inputs([f"{mixed}/*"], description=place).names() == found.names()
    names = [mixed / "a", mixed / "a.dat", mixed / "b.xml", mixed / "IM0001", mixed / "d.csv"]
    each = usable_each(names, CONFIG, description=place)
    assert not any(isinstance(got, RecordError) for _, got in each)


def test_a_table_of_leads_without_a_description_is_a_row(mixed):
    (mixed / "notes.csv").write_text("patient,I,remark\n1,2,3\n")
    found = find_inputs([mixed])
    undescribed = dict.fromkeys(("c.npy", "d.csv", "e.tsv", "f.csv"), "not_described")
    assert failures(found) == undescribed
    assert len(found.names()) == 7
    assert "notes.csv" in found.notices[0]


def test_a_wrong_description_is_refused_before_any_row(mixed):
    place = mixed / "told.json"
    for content in ("{", '{"rate": 5}', None):
        place.unlink() if content is None else place.write_text(content)
        with pytest.raises(RecordFormatError, match=r"told\.json"):
            find_inputs([mixed], description=place)
        with pytest.raises(RecordFormatError, match=r"told\.json"):
            next(usable_each([mixed / "a.hea"], CONFIG, description=place))


def test_inputs_of_which_none_exists_are_refused(mixed):
    with pytest.raises(InputError, match="incomming: no such file; expected"):
        find_inputs(["incomming"])
    with pytest.raises(InputError, match="none of the 2 inputs exists"):
        find_inputs(["x.hea", "y.npy#3"])
    assert len(find_inputs(["x.hea", mixed / "a.hea"]).names()) == 2
