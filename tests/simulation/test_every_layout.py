"""What holds for every layout: readers find what was simulated, and nothing half-written stays."""

import errno
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import wfdb

import ecgjepa
from ecgjepa.databases import database_names, list_records
from ecgjepa.databases.listing import SIMULATED_FILE
from ecgjepa.errors import ConfigError
from ecgjepa.files import DiskFullError
from ecgjepa.signals.leads import LEADS, LIMB_LEAD_WEIGHTS
from ecgjepa.signals.record import standardise_leads
from ecgjepa.simulation import simulate
from ecgjepa.simulation.database import LAYOUTS, write_plan
from ecgjepa.simulation.heart.recorder import INVALID, Tracing
from ecgjepa.simulation.heart.rhythm import sinus
from ecgjepa.simulation.heart.statements import SIMULATED
from ecgjepa.simulation.layouts import code_15, wfdb_files
from ecgjepa.simulation.layouts.challenge_2021 import SNOMED
from ecgjepa.simulation.layouts.mimic_iv_ecg import _SENTENCES, _num_studies
from ecgjepa.simulation.layouts.population import Population

pytest.importorskip("h5py")

RECORDS = 25
SECONDS = 4.0
RATES = {"code-15": 400, "ptb": 1000, "st-petersburg": 257}
WFDB = sorted(set(LAYOUTS) - {"code-15"})


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Return a small simulation in every layout."""
    root = tmp_path_factory.mktemp("layouts")
    return {name: simulate(RECORDS, root / name, layout=name, seconds=SECONDS) for name in LAYOUTS}


def records_of(name: str, folder: Path):
    listing = list_records(name, folder)
    return [standardise_leads(listing.read(entry)) for entry in listing.entries()]


def content(folder: Path) -> dict[str, bytes]:
    """Return every file that holds signals."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".dat", ".mat", ".hea")
    }


def test_every_database_but_a_copy_can_be_imitated():
    assert set(LAYOUTS) == set(database_names()) - {"challenge-ptb-xl"}


def test_no_two_layouts_share_a_patient():
    layouts = sorted(LAYOUTS.values(), key=lambda layout: layout.first_patient)
    for one, other in pairwise(layouts):
        # At worst, every record is another patient's.
        assert one.first_patient + one.most_records <= other.first_patient


@pytest.mark.parametrize("name", LAYOUTS)
def test_readers_find_every_record(name, folders):
    listing = list_records(name, folders[name])
    assert len(listing.table) == RECORDS
    assert listing.absent == ()
    notice = f"{RECORDS} simulated ECGs; results on them say nothing about patients"
    assert listing.notices[0] == notice
    assert not any("partial" in text or "no diagnosis" in text for text in listing.notices)
    for record in records_of(name, folders[name]):
        assert record.leads == LEADS
        assert record.sampling_rate == RATES.get(name, 500)
        assert record.num_samples == SECONDS * record.sampling_rate
        # PTB's headers say "mv", in the real files as in these.
        codes = [issue.code for issue in record.issues]
        assert codes == (["unit_spelling"] if name == "ptb" else [])
        assert 0.05 < record.signal.std() < 10


@pytest.mark.parametrize("name", LAYOUTS)
def test_labels_are_what_was_simulated(name, folders):
    plan = Population(RECORDS, 0, SECONDS, first_patient=LAYOUTS[name].first_patient)
    visits = plan.visits(_num_studies if name == "mimic-iv-ecg" else None)
    entries = list_records(name, folders[name]).entries()
    for entry, visit in zip(entries, visits, strict=True):
        codes = plan.trace(visit, RATES.get(name, 500)).codes
        expected = {
            "ptb-xl": set(codes),
            "mimic-iv-ecg": {_SENTENCES[code] for code in codes if code in _SENTENCES}
            | {"Normal ECG" if "NORM" in codes else "Abnormal ECG"},
            "code-15": {flag for flag, code in code_15._FLAGS.items() if code in codes},
        }.get(name, {SNOMED[code] for code in codes if code in SNOMED})
        labels = set(json.loads(entry.labels))
        assert labels - {"NORM"} == expected - {"NORM"}
        if entry.age is not None:
            assert entry.age in (visit.patient.traits.age, 300.0)
            assert entry.sex == ("female" if visit.patient.traits.female else "male")


def test_all_become_one_store(tmp_path):
    databases = {
        name: simulate(3, tmp_path / name, layout=name, seconds=10.0, seed=5) for name in LAYOUTS
    }
    manifest = ecgjepa.prepare(databases, tmp_path / "store", folds="all")
    assert manifest.num_records == 3 * len(LAYOUTS)
    assert set(manifest.databases) == set(LAYOUTS)


def test_every_statement_has_its_words():
    assert set(_SENTENCES) == set(SNOMED) == set(SIMULATED) - {"NORM"}


@pytest.mark.parametrize("name", WFDB)
def test_the_wfdb_package_reads_the_same_numbers(name, folders):
    for header in sorted(folders[name].rglob("*.hea"))[:8]:
        theirs = wfdb.rdrecord(str(header.with_suffix("")), physical=False)
        assert theirs.fs == RATES.get(name, 500)
        assert theirs.init_value == theirs.d_signal[0].tolist()
        sums = theirs.d_signal.sum(axis=0, dtype=np.int64)
        assert ((np.array(theirs.checksum) - sums) % 65536 == 0).all()
        gain = 200 if name == "mimic-iv-ecg" else 1000
        assert theirs.adc_gain == [gain] * 12
        assert theirs.baseline == [0] * 12
        entry = next(
            entry
            for entry in list_records(name, folders[name]).entries()
            if folders[name] / entry.path == header
        )
        ours = list_records(name, folders[name]).read(entry)
        assert (ours.valid == (theirs.d_signal != INVALID)).all()
        expected = np.where(ours.valid, theirs.d_signal / gain, 0)
        np.testing.assert_array_equal(ours.signal, expected.astype(np.float32))


@pytest.mark.parametrize("name", LAYOUTS)
def test_limb_leads_obey_einthoven_and_goldberger(name, folders):
    step = 0.005 if name == "mimic-iv-ecg" else 0.001
    for record in records_of(name, folders[name]):
        usable = record.valid.all(axis=1)
        i, ii = record.signal[usable, 0], record.signal[usable, 1]
        for lead, (of_i, of_ii) in LIMB_LEAD_WEIGHTS.items():
            found = record.signal[usable, LEADS.index(lead)]
            assert np.abs(found - of_i * i - of_ii * ii).max(initial=0) <= 0.51 * step


def spikes(seed, patient, visit, *, num_samples, sampling_rate, drift) -> Tracing:
    """Return a record with one spike per lead, each at a moment of its own."""
    leads = np.zeros((num_samples, 8), np.float32)
    for lead in range(8):
        leads[100 + 20 * lead, lead] = 1.0 + 0.2 * lead
    # Something in every sample, as zeros at the ends of CODE-15's exams are not a signal.
    leads[:, 7] += 0.1
    rhythm = sinus(np.random.default_rng(0), 60.0, num_samples / sampling_rate)
    return Tracing(leads, None, sampling_rate, ("SR",), {}, rhythm)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_spike_in_each_lead_comes_back_in_that_lead(name, tmp_path):
    plan = Population(2, 0, 2.0, first_patient=LAYOUTS[name].first_patient, tracer=spikes)
    write_plan(tmp_path / "x", name, plan)
    for record in records_of(name, tmp_path / "x"):
        expected = np.zeros((record.num_samples, 12))
        expected[100, [LEADS.index(lead) for lead in ("I", "III", "aVR", "aVL", "aVF")]] = (
            1.0, -1.0, -0.5, 1.0, -0.5,
        )  # fmt: skip
        expected[120, [LEADS.index(lead) for lead in ("II", "III", "aVR", "aVL", "aVF")]] = (
            1.2, 1.2, -0.6, -0.6, 1.2,
        )  # fmt: skip
        for number in range(6):
            expected[140 + 20 * number, 6 + number] = 1.4 + 0.2 * number
        expected[:, 11] += 0.1
        np.testing.assert_allclose(record.signal, expected, atol=1e-6)


@pytest.mark.parametrize("name", WFDB)
def test_record_does_not_depend_on_how_many_there_are(name, folders, tmp_path):
    few = content(simulate(7, tmp_path / "few", layout=name, seconds=SECONDS))
    many = content(folders[name])
    assert len(few) == 14
    assert few == {path: many[path] for path in few}


@pytest.mark.parametrize("name", LAYOUTS)
def test_seeds_differ_and_repeat(name, tmp_path):
    first, again, other = (
        [
            record.signal
            for record in records_of(
                name, simulate(2, tmp_path / folder, layout=name, seed=seed, seconds=2.0)
            )
        ]
        for folder, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_interrupted_simulation_leaves_nothing(name, tmp_path):
    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(5, tmp_path / "x", layout=name, seconds=2.0, progress=interrupt)
    assert list((tmp_path / "x").iterdir()) == []


@pytest.mark.parametrize("name", LAYOUTS)
def test_progress_reaches_the_end(name, tmp_path):
    calls = []
    simulate(3, tmp_path / "x", layout=name, seconds=2.0, progress=lambda *done: calls.append(done))
    assert calls == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_full_disk_is_named_and_leaves_nothing(name, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    # The first thing that each writer does while it writes signals.
    monkeypatch.setattr(code_15, "generator", fail)
    monkeypatch.setattr(wfdb_files.Path, "write_bytes", fail)
    with pytest.raises(DiskFullError, match="no space left"):
        simulate(3, tmp_path / "x", layout=name, seconds=2.0)
    assert list((tmp_path / "x").iterdir()) == []


def test_another_layout_replaces_an_earlier_one_and_spares_the_rest(tmp_path):
    root = simulate(2, tmp_path / "x", layout="mimic-iv-ecg", seconds=2.0)
    (root / "georgia").mkdir()
    (root / "georgia/notes.txt").write_text("mine")
    simulate(2, root, layout="ptb", seconds=2.0)
    assert sorted(path.name for path in root.iterdir()) == [SIMULATED_FILE, "georgia", "ptb"]
    simulate(2, root, layout="code-15", seconds=2.0)
    assert sorted(path.name for path in root.iterdir()) == [
        SIMULATED_FILE,
        "exams.csv",
        "exams_part0.hdf5",
        "georgia",
    ]
    assert "layout: code-15" in (root / SIMULATED_FILE).read_text()


def test_folder_with_other_data_is_refused(tmp_path):
    (tmp_path / "record_list.csv").write_text("precious")
    with pytest.raises(ConfigError, match="holds no earlier simulation"):
        simulate(1, tmp_path, layout="mimic-iv-ecg")
    assert (tmp_path / "record_list.csv").read_text() == "precious"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"layout": "mimic"}, "layout 'mimic'; expected ptb-xl, mimic-iv-ecg, code-15"),
        ({"layout": "ptb", "records": 550}, r"550 records of ptb; expected 1 to 549"),
        ({"layout": "ptb", "rates": (100,)}, "only ptb-xl has files at several rates"),
        ({"layout": "code-15", "seconds": 11}, r"seconds is 11; expected 1 to 10\.24"),
        ({"layout": "ptb", "seconds": 0.5}, r"seconds is 0\.5; expected 1 to 1800"),
        ({"layout": "ptb", "seconds": float("nan")}, "seconds is nan"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, options, match):
    with pytest.raises(ConfigError, match=match):
        simulate(**({"records": 1, "to": tmp_path / "x"} | options))
    assert not (tmp_path / "x").exists()
