"""PTB-XL and the Challenge's copy of it are one database to whoever must not be tested on it."""

import dataclasses
import json

import pandas as pd
import pytest
from conftest import copy_as_challenge, write_ptb_xl
from small_encoders import describe, save_encoder, small_encoder
from tiny_model import save_tiny_model

import ecgjepa
from ecgjepa.errors import TaskError
from ecgjepa.judging import records as judged
from ecgjepa.model.folder import read_model_config
from ecgjepa.protocols.run import run_protocol
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.early.refusing import refuse_early
from ecgjepa.tasks.folds import other_name
from ecgjepa.tasks.leakage import open_unseen, refuse_leak, refuse_seen
from ecgjepa.tasks.opening import open_data

ORIGINAL, COPY, TABLE = "ptb-xl", "challenge-ptb-xl", "ptbxl_database.csv"
TRAINING = tuple(range(1, 9))


def seen(folds=None, records=None, stages=()):
    """Describe an encoder that has seen these folds, and labels in these stages."""
    config = describe(folds=folds)
    facts = config.pretraining.model_copy(update={"records": records or {}})
    training = {"seen": list(stages)} if stages else {}
    return config.model_copy(update={"pretraining": facts, "training": training})


def stage(database, train=TRAINING, validation=(9,), **more):
    return {"database": database, "train": list(train), "validation": list(validation), **more}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_ptb_xl(tmp_path_factory.mktemp("source"), records=60, seconds=3.0)


@pytest.fixture(scope="module")
def copies(source, tmp_path_factory):
    """All records of ``source`` as the Challenge has them, without a table."""
    root = tmp_path_factory.mktemp("copies")
    folder = copy_as_challenge(source, list(range(1, 61)), root / "ptb-xl")
    for number, header in enumerate(sorted(folder.glob("*.hea"))):
        header.write_text(header.read_text() + f"#Age: {40 + number}\n#Dx: 426783006\n")
    return root


@pytest.mark.parametrize(("one", "other"), [(COPY, ORIGINAL), (ORIGINAL, COPY)])
def test_folds_of_one_are_folds_of_the_other(one, other):
    config = seen({one: TRAINING, "georgia": None})
    both = rf"folds \[1, 2, .* 8\] of {one} \(which shares patients and folds with {other}\)"
    with pytest.raises(TaskError, match=both + r", which include \[8\]"):
        refuse_seen(config, [other], Cohort(split=ecgjepa.Split((1,), (9,), (8,))))
    with pytest.raises(TaskError, match=both):
        refuse_seen(config, [other], Cohort(split=ecgjepa.Split((1,), (8,), (9,))))
    refuse_seen(config, [other], Cohort(split=ecgjepa.Split((1,), (9,), (10,))))
    # In a transfer, each is judged by what it is used for.
    transfer = ecgjepa.Split(TRAINING, (9,), (1,))
    refuse_seen(config, ["ningbo", other], Cohort(split=transfer, test_on=("ningbo",)))
    with pytest.raises(TaskError, match=both):
        refuse_seen(config, ["ningbo", other], Cohort(split=transfer, test_on=(other,)))


def test_copies_of_unknown_folds_may_be_any_record():
    config = seen({COPY: None}, {COPY: 100})
    with pytest.raises(
        TaskError, match=f"records of {COPY} .* shares its patients with {ORIGINAL}"
    ):
        refuse_leak(config, ORIGINAL, ecgjepa.Split())
    refuse_leak(config, ORIGINAL, ecgjepa.Split(), allow_seen=True)
    refuse_leak(config, "georgia", ecgjepa.Split())


def test_a_database_that_gave_no_record_was_not_seen():
    """None of its folds is known either: nothing was stored of it."""
    config = seen({COPY: None, ORIGINAL: TRAINING}, {COPY: 0, ORIGINAL: 100})
    for database in (COPY, ORIGINAL):
        refuse_leak(config, database, ecgjepa.Split())


@pytest.mark.parametrize(("one", "other"), [(COPY, ORIGINAL), (ORIGINAL, COPY)])
def test_labels_of_one_are_labels_of_the_other(one, other):
    config = seen(stages=[stage(one)])
    refuse_leak(config, other, ecgjepa.Split())
    both = rf"trained on folds \[1, .* 8\] of {one} \(which shares patients and folds with {other}"
    with pytest.raises(TaskError, match=both):
        refuse_leak(config, other, ecgjepa.Split((1,), (9,), (8,)))
    with pytest.raises(TaskError, match=rf"{both}\) and selected on \[9\]"):
        refuse_leak(config, other, ecgjepa.Split((1,), (10,), (9,)))


def open_copies(config, copies, cache, **options):
    return open_unseen({COPY: copies}, config, Cohort(task="age", **options), cache=cache)


def test_folds_by_hash_are_not_those_of_ptb_xl(source, copies, cache, tmp_path):
    """Without PTB-XL's table, the copies' folds 9 and 10 hold records of its training folds."""
    for name in (ORIGINAL, COPY):
        config = seen({name: TRAINING})
        with pytest.raises(TaskError, match=rf"{name}.*the folds of {COPY} are made by a hash"):
            open_copies(config, copies, cache)
        assert len(open_copies(config, copies, cache, allow_seen=True).parts.test)
    # Not to be had by opening the records for another encoder either.
    opened = open_copies(seen({"georgia": TRAINING}), copies, cache)
    with pytest.raises(TaskError, match="here the folds of challenge-ptb-xl are made by a hash"):
        run_protocol((small_encoder(), config), opened, protocol="linear", cache=cache)
    with_table = tmp_path / "known"
    with_table.mkdir()
    (with_table / "ptb-xl").symlink_to(copies / "ptb-xl")
    (with_table / TABLE).symlink_to(source / TABLE)
    assert len(open_copies(seen({ORIGINAL: TRAINING}), with_table, cache).parts.test)


def test_labels_by_folds_of_another_kind(copies, cache):
    for stages in ([stage(ORIGINAL)], [stage(COPY, published=True)]):
        for allow_seen in (False, True):  # it is for signals, not for labels
            with pytest.raises(TaskError, match=r"those were published ones, and .* made by hash"):
                open_copies(seen(stages=stages), copies, cache, allow_seen=allow_seen)
    # The same records by the same hash.
    assert open_copies(seen(stages=[stage(COPY, published=False)]), copies, cache)
    assert open_copies(seen(stages=[stage(COPY)]), copies, cache)


def test_a_model_remembers_that_its_folds_were_by_hash(source, copies, cache, tmp_path):
    encoder = save_encoder(tmp_path / "encoder")
    done = ecgjepa.probe(
        encoder,
        {COPY: copies},
        tmp_path / "p",
        task=str(labels(tmp_path, [f"HR{number:05d}" for number in range(1, 61)])),
        protocol="linear",
        cache=cache,
    )
    stages = json.loads((done.path / "model/config.json").read_text())["training"]["seen"]
    assert stages == [stage(COPY, published=False)]
    with pytest.raises(TaskError, match=f"of {COPY} .* made by hash, and the folds of {ORIGINAL}"):
        ecgjepa.finetune(
            done.path / "model",
            {ORIGINAL: source},
            tmp_path / "f",
            task="superdiagnostic",
            cache=cache,
        )


def labels(folder, names):
    path = folder / "labels.csv"
    rows = [(name, number // 3 % 2) for number, name in enumerate(names)]
    pd.DataFrame(rows, columns=["record", "x"]).to_csv(path, index=False)
    return path


def test_a_patient_of_both_is_one_patient(source, copies, cache):
    data, config = {ORIGINAL: source, COPY: copies}, describe()
    opened = open_data(data, config, Cohort(task="age"), cache=cache)
    tested = opened.patients(opened.parts.test)
    patients = pd.read_csv(source / TABLE).query("strat_fold == 10")["patient_id"]
    assert len(tested) == 2 * len(patients)
    assert set(tested) == {f"ptb-xl/{int(patient)}" for patient in patients}


@pytest.mark.parametrize("tested", [ORIGINAL, COPY])
def test_a_transfer_does_not_test_patients_it_trained_on(source, copies, cache, tested):
    data = {ORIGINAL: source, COPY: copies}
    transfer = Cohort(task="age", test_on=(tested,))
    overlapping = dataclasses.replace(transfer, split=ecgjepa.Split(TRAINING, (9,), (8,)))
    with pytest.raises(TaskError, match=r"patient ptb-xl/\d+ is in the train and the test folds"):
        open_data(data, describe(), overlapping, cache=cache)
    opened = open_data(data, describe(), transfer, cache=cache)
    other = ORIGINAL if tested == COPY else COPY
    assert (opened.trained, opened.tested) == ((other,), (tested,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Nummer;Diagnose\n1;MI\n", "expected one column that names the record"),
        ("record;Diagnose\n1;X\n", r"none of its labels \(X\) is one of the model's \(A, B, C\)"),
    ],
)
def test_a_table_that_fits_nothing_is_refused_before_any_record_is_read(tmp_path, text, message):
    """The folder of the records is not there: nobody has looked for it."""
    table = tmp_path / "labels.csv"
    table.write_text(text)
    task, data = f"{table}:Diagnose", {"clinic": tmp_path / "nowhere"}
    config = read_model_config(save_tiny_model(tmp_path / "model"))
    with pytest.raises(TaskError, match=message):
        judged.refuse_early(config, data, judged.Choice(task))
    if "record" in message:
        with pytest.raises(TaskError, match=message):
            refuse_early(data, config, Cohort(task=task))


def test_an_archive_under_another_name_is_recognised_by_its_copies():
    advice = "give --data clinic=DIR: folds made by hash depend on the name"
    assert advice in other_name(["klinik"], {"clinic": (1,)}, ["clinic", "clinic"])
    assert not other_name(["clinic"], {"clinic": (1,)}, ["clinic"])
    assert not other_name(["a", "b"], {"clinic": (1,)}, ["clinic"])
