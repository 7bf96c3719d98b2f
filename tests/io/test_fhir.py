import json

import numpy as np
import pytest
from conftest import toy_ecg
from device_files import component, observation, sampled_data, write_fhir

from ecgjepa import read_record
from ecgjepa.errors import LeadError, RecordFormatError, UnitError
from ecgjepa.signals.leads import LEADS


@pytest.fixture
def digital():
    return toy_ecg(np.random.default_rng(8), num_samples=200)


def codes(record):
    return [issue.code for issue in record.issues]


def write(path, resource):
    path.write_text(json.dumps(resource))
    return path


@pytest.mark.parametrize("release", [4, 5])
@pytest.mark.parametrize(("unit", "factor"), [("uV", 1), ("mV", 0.001), ("µV", 2.5)])
def test_releases_and_units(tmp_path, digital, release, unit, factor):
    path = write_fhir(tmp_path / "x.json", digital, release=release, unit=unit, factor=factor)
    record = read_record(path)
    assert (record.leads, record.sampling_rate, record.issues) == (LEADS, 500.0, ())
    scale = factor if unit == "mV" else factor / 1000
    np.testing.assert_allclose(record.signal, digital * scale, rtol=1e-6)


def test_origin_is_added_after_the_factor(tmp_path):
    data = sampled_data([0, 1, -1], factor=2, origin=50)
    record = read_record(write(tmp_path / "x.json", observation(np.zeros((3, 0)), leads=()) | {
        "component": [component("I", data)]}))  # fmt: skip
    np.testing.assert_allclose(record.signal[:, 0], [0.05, 0.052, 0.048], rtol=1e-6)


def test_letters_are_no_samples(tmp_path):
    data = sampled_data(["1", "E", "U", "L", "1.5e1"])
    resource = {"resourceType": "Observation", "component": [component("II", data)]}
    record = read_record(write(tmp_path / "x.json", resource))
    assert record.valid[:, 0].tolist() == [True, False, False, False, True]
    np.testing.assert_allclose(record.signal[:, 0], [0.001, 0, 0, 0, 0.015], rtol=1e-6)


def test_a_unit_by_its_code_or_in_words(tmp_path):
    for code, unit, scale in (("mV", "millivolts", 1), ("266418", "uV", 1e-3), ("uV", None, 1e-3)):
        data = sampled_data([1, 2], unit=unit)
        data["origin"]["code"] = code
        resource = {"resourceType": "Observation", "component": [component("I", data)]}
        record = read_record(write(tmp_path / "x.json", resource))
        np.testing.assert_allclose(record.signal[:, 0], [scale, 2 * scale], rtol=1e-6)
    data["origin"] = {"value": 0, "code": "266418", "unit": "counts"}
    with pytest.raises(UnitError, match=r"unknown amplitude unit 'counts'"):
        read_record(write(tmp_path / "x.json", resource))


def test_parts_of_a_lead_are_joined(tmp_path):
    """A watch's export has a component for each ten seconds of its one lead."""
    parts = [component("I", sampled_data(values)) for values in ([1, 2], [3, 4], [5])]
    resource = {"resourceType": "Observation", "component": parts}
    record = read_record(write(tmp_path / "x.json", resource))
    np.testing.assert_allclose(record.signal[:, 0] * 1000, [1, 2, 3, 4, 5], rtol=1e-6)
    assert codes(record) == ["joined_parts"]
    resource["component"].append(component("II", sampled_data([1, 2, 3, 4, 5])))
    with pytest.raises(RecordFormatError, match=r"leads differ in rate .* or in the number"):
        read_record(write(tmp_path / "y.json", resource))


def test_the_standards_own_example_has_no_unit(tmp_path):
    """Its origin is the number that stands for 0, without a unit: amplitudes are not known."""
    data = sampled_data([2041, 2043, 2037], unit=None, origin=2048, factor=1.612, period=10)
    data |= {"lowerLimit": -3300, "upperLimit": 3300}
    resource = {"resourceType": "Observation", "component": [component("I", data)]}
    with pytest.raises(UnitError, match=r"x\.json: lead I has an origin without a unit"):
        read_record(write(tmp_path / "x.json", resource))
    data["origin"]["unit"] = "uV"
    with pytest.raises(RecordFormatError, match=r"a median of 5338.*limits -3300 to 3300: is its"):
        read_record(write(tmp_path / "x.json", resource))


def test_bundles_and_single_values(tmp_path, digital):
    ecg = observation(digital)
    heart_rate = {"resourceType": "Observation", "valueQuantity": {"value": 70}}
    entries = [{"resource": {"resourceType": "Patient"}}, {"resource": heart_rate}]
    bundle = {"resourceType": "Bundle", "entry": [*entries, {"resource": ecg}]}
    assert read_record(write(tmp_path / "x.json", bundle)).leads == LEADS
    for number in (0, 2):
        several = bundle | {"entry": entries + [{"resource": ecg}] * number}
        with pytest.raises(RecordFormatError, match=rf"Bundle with {number} Observations"):
            read_record(write(tmp_path / "y.json", several))
    single = component("V2", sampled_data([1, 2])) | {"resourceType": "Observation"}
    assert read_record(write(tmp_path / "z.json", single)).leads == ("V2",)


def test_leads_by_words_and_other_components(tmp_path):
    by_words = {"code": {"text": "lead V3"}, "valueSampledData": sampled_data([1])}
    named = {"code": {"coding": [{"code": "MDC_ECG_ELEC_POTL_AVF"}]}}
    named["valueSampledData"] = sampled_data([2])
    pleth = component("150452", sampled_data([3]))
    note = {"code": {"text": "I"}, "valueString": "sinus rhythm"}
    resource = {"resourceType": "Observation", "component": [by_words, named, pleth, note]}
    record = read_record(write(tmp_path / "x.json", resource))
    assert len(record.leads) == 2
    assert [issue.message for issue in record.issues] == ["'MDC 150452' is not one of the 12 leads"]
    with pytest.raises(LeadError, match=r"none of the components with SampledData \['MDC 150452'"):
        read_record(write(tmp_path / "y.json", resource | {"component": [pleth]}))


def test_what_is_not_read_is_refused_by_name(tmp_path):
    for change, match in (
        ({"dimensions": 2}, "SampledData of 2 dimensions"),
        ({"offsets": "0 1"}, "or with offsets"),
        ({"period": 0}, "an interval of 0 'ms'"),
        ({"interval": 1, "intervalUnit": "mm"}, "an interval of 1 'mm'"),
        ({"factor": "2"}, "factor is '2'; expected a number"),
        ({"data": "1 nan"}, "holds what is not a finite number"),
        ({"data": "1 x"}, "not readable as FHIR"),
        ({"data": None}, "SampledData without data"),
    ):
        data = sampled_data([1, 2]) | change
        resource = {"resourceType": "Observation", "component": [component("I", data)]}
        with pytest.raises(RecordFormatError, match=match):
            read_record(write(tmp_path / "x.json", resource))
    for text, match in (
        ('{"resourceType": "Patient"}', "is FHIR Patient with 0 Observations"),
        ('{"resourceType": "Observation", "component": ' + "[" * 5000, "nested too deeply"),
        ('{"resourceType": ', "not readable as FHIR: JSONDecodeError"),
        ('{"name": 1}', "format not recognised"),
    ):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(RecordFormatError, match=match):
            read_record(tmp_path / "x.json")
    (tmp_path / "x.xml").write_text('<Observation xmlns="http://hl7.org/fhir"/>')
    with pytest.raises(RecordFormatError, match=r"is FHIR Observation as XML, which is not read"):
        read_record(tmp_path / "x.xml")
