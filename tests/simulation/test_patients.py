"""The simulated population: shares, determinism, patients seen more than once."""

import numpy as np
import pytest

from ecgjepa.simulation.heart.patients import draw_patient, generator
from ecgjepa.simulation.heart.records import trace_visit
from ecgjepa.simulation.heart.statements import SIMULATED, find_conflict


@pytest.fixture(scope="module")
def patients():
    return [draw_patient(0, number) for number in range(2000)]


def superclasses(patient):
    return {SIMULATED[code].superclass for code in patient.codes} - {None}


@pytest.mark.parametrize(
    ("name", "target"),
    [("NORM", 0.42), ("MI", 0.25), ("STTC", 0.24), ("CD", 0.22), ("HYP", 0.12)],
)
def test_superclasses_are_as_common_as_in_ptb_xl(patients, name, target):
    found = np.mean([name in superclasses(patient) for patient in patients])
    assert abs(found - target) < 0.035


def test_few_patients_have_no_diagnosis_and_every_code_occurs(patients):
    assert np.mean([not superclasses(patient) for patient in patients]) < 0.05
    days = {"SR", "STACH", "SBRAD", "SARRH"}
    assert set().union(*(patient.codes for patient in patients)) == set(SIMULATED) - days


def test_findings_of_a_patient_never_contradict_each_other(patients):
    for patient in patients:
        assert find_conflict(patient.codes) is None
        if "NORM" in patient.codes:
            assert patient.codes == ("NORM",)


def test_ages_sexes_and_visits(patients):
    ages = np.array([patient.traits.age for patient in patients])
    assert 17 <= ages.min() <= ages.max() <= 95
    assert 58 <= np.median(ages) <= 66
    assert 0.42 < np.mean([patient.traits.female for patient in patients]) < 0.54
    assert 0.10 < np.mean([patient.visits > 1 for patient in patients]) < 0.15


def test_severity_covers_mild_and_strong(patients):
    values = [value for patient in patients for value in patient.severity.values()]
    assert min(values) < 0.15
    assert max(values) > 0.95
    likelihoods = {patient.likelihood[code] for patient in patients for code in patient.severity
                   if SIMULATED[code].diagnostic}  # fmt: skip
    assert likelihoods == {50.0, 80.0, 100.0}
    assert patients[0].likelihood["SR"] == 0.0


def test_a_patient_is_the_same_whatever_else_is_drawn(patients):
    again = draw_patient(0, 1234)
    assert again.codes == patients[1234].codes
    assert np.array_equal(again.heart.ventricles.dipole, patients[1234].heart.ventricles.dipole)
    assert draw_patient(1, 1234).field[0, 0] != again.field[0, 0]


def test_keys_of_different_length_give_different_randomness():
    draws = {generator(*key).random() for key in [(0,), (0, 0), (0, 0, 0), (0, 1), (0, 1, 0)]}
    assert len(draws) == 5


def test_two_visits_share_the_heart_and_differ_in_rate_and_noise(patients):
    patient = next(p for p in patients if p.visits > 1 and p.codes == ("NORM",))
    first, second = (trace_visit(0, patient, visit) for visit in range(2))
    assert not np.array_equal(first.rhythm.intervals, second.rhythm.intervals)
    shapes = []
    for tracing in (first, second):
        beats = [
            tracing.leads[start : start + 60]
            for start in np.rint(tracing.rhythm.onsets * 500).astype(int)
            if 0 <= start < 4900
        ]
        beat = np.median(beats, axis=0)
        shapes.append((beat - beat[:2].mean(axis=0)).ravel())
    assert np.corrcoef(*shapes)[0, 1] > 0.9
