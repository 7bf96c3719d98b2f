"""Labels, folds and models from which no honest score can come: named, or counted."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import write_ptb_xl
from small_encoders import save_encoder

import ecgjepa
from ecgjepa.errors import ConfigError, TaskError
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.store.prepare import prepare
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.leakage import refuse_seen
from ecgjepa.tasks.opening import open_data

FAST = ["steps=4", "validate_every=2"]  # the batch of 128 stays: it is larger than what is there


@pytest.fixture(scope="module")
def folds(ptb_xl):
    return pd.read_csv(ptb_xl / "ptbxl_database.csv").set_index("ecg_id")["strat_fold"]


def write(path, folds, **labels):
    """Write a table of labels; each is given by the records that have it."""
    columns = {name: folds.index.isin(list(found)).astype(int) for name, found in labels.items()}
    pd.DataFrame({"record": folds.index, **columns}).to_csv(path, index=False)
    return str(path)


def of_fold(folds, *numbers):
    return folds.index[folds.isin(numbers)]


@pytest.fixture
def probe(encoder, ptb_xl, cache, tmp_path):
    def run(task, protocol="linear", out="p", **options):
        overrides = FAST if protocol == "attentive" else ()
        return ecgjepa.probe(
            encoder,
            {"ptb-xl": ptb_xl},
            tmp_path / out,
            task=task,
            protocol=protocol,
            overrides=overrides,
            cache=cache,
            **options,
        )

    return run


def check_finite(results):
    """No number of a defined score may be missing."""
    for model in results["models"].values():
        assert all(isinstance(value, float) for value in model["macro_auroc"])
        assert isinstance(model["validation_macro_auroc"], float)


@pytest.mark.parametrize("protocol", ["linear", "attentive", "knn"])
def test_labels_that_a_part_lacks_are_named(probe, folds, tmp_path, protocol):
    every = folds.index[::2]
    task = write(
        tmp_path / "t.csv",
        folds,
        common=every,
        not_in_test=every.difference(of_fold(folds, 10)),
        not_in_validation=every.difference(of_fold(folds, 9)),
        not_in_training=of_fold(folds, 9, 10)[::2],
        once=of_fold(folds, 1)[:1],
        once_in_test=[*of_fold(folds, 1)[:3], of_fold(folds, 10)[0]],
        always=folds.index,
    )
    results = probe(task, protocol).results
    check_finite(results)
    model = results["models"]["pre-trained"]
    assert model["undefined_labels"] == ["not_in_test", "once", "always"]
    assert model["labels_scored"] == 4
    by_name = {label["label"]: label for label in model["labels"]}
    assert by_name["not_in_training"]["train_positives"] == 0
    assert by_name["not_in_test"]["auroc"] == [None, None, None]
    assert by_name["once_in_test"]["test_positives"] == 1
    assert by_name["once_in_test"]["few_positives"]


@pytest.mark.parametrize("protocol", ["linear", "attentive", "knn"])
def test_a_part_without_any_label_to_score(probe, folds, tmp_path, protocol):
    for fold, part in ((10, "test"), (9, "validation")):
        found = folds.index[::2].difference(of_fold(folds, fold))
        task = write(tmp_path / f"{part}.csv", folds, x=found)
        with pytest.raises(TaskError, match=f"none of the 1 labels .* {part} records"):
            probe(task, protocol)


def test_nothing_to_learn(probe, folds, tmp_path):
    task = write(tmp_path / "t.csv", folds, x=of_fold(folds, 9, 10)[::2])
    with pytest.raises(TaskError, match="training records all have the same labels"):
        probe(task)


def test_a_class_with_one_record(probe, folds, tmp_path):
    kinds = np.where(folds.index % 2, "a", "b").astype(object)
    kinds[folds.index == of_fold(folds, 1)[0]] = "rare"
    pd.DataFrame({"record": folds.index, "kind": kinds}).to_csv(tmp_path / "t.csv", index=False)
    for protocol in ("linear", "attentive", "knn"):
        results = probe(
            str(tmp_path / "t.csv"), protocol, out=protocol, kind="single-label"
        ).results
        check_finite(results)
        assert results["models"]["pre-trained"]["undefined_labels"] == ["rare"]


@pytest.mark.parametrize("protocol", ["linear", "attentive", "knn"])
def test_a_handful_of_training_records(probe, protocol):
    """Fewer than a batch, and than neighbours."""
    results = probe("superdiagnostic", protocol, label_fraction=0.05).results
    assert 2 <= results["counts"]["train"] < 10
    assert results["data"]["label_fraction"] == 0.05
    check_finite(results)


def test_a_share_of_one_patient_or_of_none(probe, ptb_xl, folds, tmp_path):
    patients = pd.read_csv(ptb_xl / "ptbxl_database.csv")["patient_id"].to_numpy()
    task = write(tmp_path / "t.csv", folds, x=folds.index[patients // 10 % 2 == 0])
    with pytest.raises(TaskError, match="training records all have the same labels"):
        probe(task, label_fraction=0.0001)
    with pytest.raises(TaskError, match="share of labels is 0; expected more than 0"):
        probe("superdiagnostic", label_fraction=0.0)


def test_values_that_do_not_vary(probe, folds, tmp_path):
    table = pd.DataFrame({"record": folds.index, "qt": 400 + folds.index % 5})
    table.loc[folds.isin([10]).to_numpy(), "qt"] = 400
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(TaskError, match=r"all \d+ test records have the same value"):
        probe(str(tmp_path / "t.csv"), kind="regression")


def test_a_probe_of_other_labels_is_no_start(probe, encoder, ptb_xl, cache, folds, tmp_path):
    task = write(tmp_path / "t.csv", folds, x=folds.index[::2])
    probed = probe(task, "attentive")
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other/t.csv", folds, y=folds.index[::2])
    for options, match in (
        ({"task": other}, "is a probe of multi-label x; the records have multi-label y"),
        ({"task": task, "label_fraction": 0.5}, "a probe with 100 % of the labels, draw 0; asked"),
    ):
        with pytest.raises(TaskError, match=match):
            ecgjepa.finetune(
                probed.path, {"ptb-xl": ptb_xl}, tmp_path / "f", cache=cache, **options
            )


def first_of_fold(root, fold, place=0):
    table = pd.read_csv(root / "ptbxl_database.csv")
    return table[table["strat_fold"] == fold].iloc[place]


def overwrite(root, old, new):
    """Give a record the samples of another, under its own name and patient."""
    for ending in (".hea", ".dat"):
        content = (root / new["filename_hr"]).with_suffix(ending).read_bytes()
        names = (row["filename_hr"].split("/")[-1].encode() for row in (new, old))
        (root / old["filename_hr"]).with_suffix(ending).write_bytes(content.replace(*names))


def test_copies_in_other_folds_are_left_out_of_training(encoder, tmp_path):
    """A record of a test patient under another name and patient, in a training fold."""
    root = write_ptb_xl(tmp_path / "d", records=60, seconds=3.0)
    tested, trained = first_of_fold(root, 10), first_of_fold(root, 1)
    overwrite(root, trained, tested)
    result = ecgjepa.probe(
        encoder,
        {"ptb-xl": root},
        tmp_path / "p",
        task="superdiagnostic",
        protocol="linear",
        cache=tmp_path / "c",
    )
    assert result.results["data"]["copies_of_others_left_out_of_training"] == 1
    assert result.results["data"]["copies_of_test_left_out_of_validation"] == 0
    split = pd.read_csv(tmp_path / "p/split.csv")
    assert trained["ecg_id"] not in set(split["record_id"])
    assert tested["ecg_id"] in set(split.loc[split["part"] == "test", "record_id"])


def test_copies_of_test_records_select_nothing(encoder, tmp_path):
    """A test record under other names and patients, in a validation and in a training fold."""
    root = write_ptb_xl(tmp_path / "d", records=60, seconds=3.0)
    tested, selected, trained = (first_of_fold(root, fold) for fold in (10, 9, 1))
    overwrite(root, selected, tested)
    overwrite(root, trained, tested)
    result = ecgjepa.probe(
        encoder,
        {"ptb-xl": root},
        tmp_path / "p",
        task="superdiagnostic",
        protocol="linear",
        cache=tmp_path / "c",
    )
    assert result.results["data"]["copies_of_others_left_out_of_training"] == 1
    assert result.results["data"]["copies_of_test_left_out_of_validation"] == 1
    split = pd.read_csv(tmp_path / "p/split.csv")
    assert not {trained["ecg_id"], selected["ecg_id"]} & set(split["record_id"])
    assert tested["ecg_id"] in set(split.loc[split["part"] == "test", "record_id"])
    predictions = pd.read_parquet(tmp_path / "p/predictions.parquet")
    assert str(selected["ecg_id"]) not in set(predictions["record_id"])
    assert result.results["counts"]["validation"] == (split["part"] == "validation").sum()


def test_what_copies_leave_must_still_select(encoder, tmp_path):
    """The only validation record with the label is a copy; or every validation record is."""
    root = write_ptb_xl(tmp_path / "d", records=60, seconds=3.0)
    folds = pd.read_csv(root / "ptbxl_database.csv").set_index("ecg_id")["strat_fold"]
    tested, selected = first_of_fold(root, 10), first_of_fold(root, 9)
    overwrite(root, selected, tested)

    def probe(task):
        data = {"ptb-xl": root}
        ecgjepa.probe(encoder, data, tmp_path / "p", task=task, cache=tmp_path / "c")

    positive = folds.index[::2].difference(of_fold(folds, 9)).union([selected["ecg_id"]])
    with pytest.raises(TaskError, match=r"none of the 1 labels .* validation records"):
        probe(write(tmp_path / "one.csv", folds, x=positive))
    other = first_of_fold(root, 9, 1)
    overwrite(root, other, tested)
    kept = folds[(folds != 9) | folds.index.isin([selected["ecg_id"], other["ecg_id"]])]
    with pytest.raises(TaskError, match="all 2 records of the validation folds are copies of test"):
        probe(write(tmp_path / "all.csv", kept, x=positive))


def test_typos_do_not_pass_for_records_that_a_copy_lacks(encoder, tmp_path):
    """A partial copy, from its folder and from a store: its own table says what is absent."""
    root = write_ptb_xl(tmp_path / "d", records=60, seconds=3.0)
    folds = pd.read_csv(root / "ptbxl_database.csv").set_index("ecg_id")["strat_fold"]
    absent = of_fold(folds, 1, 2)
    for ecg_id in absent:
        (root / f"records500/00000/{ecg_id:05d}_hr.hea").unlink()
    config = load_encoder(encoder)[1]
    prepare(
        {"ptb-xl": root}, tmp_path / "s", folds="all", preprocessing=config.preprocessing, workers=1
    )

    def open_task(data, names):
        task = write(tmp_path / "t.csv", names, x=folds.index[::2])
        split = ecgjepa.Split()
        return open_data(data, config, Cohort(task=task, split=split), cache=tmp_path / "c").task

    typos = folds.rename(index={ecg_id: ecg_id + 700 for ecg_id in absent[:4]})
    for data in ({"ptb-xl": root}, tmp_path / "s"):
        named = ", ".join(f"'{ecg_id}'" for ecg_id in absent[:3])
        assert f"{named} …" in open_task(data, folds).notices[0]
    with pytest.raises(TaskError, match="4 of 60 records are not in the database, such as '70"):
        open_task({"ptb-xl": root}, typos)


def test_a_patient_in_two_folds_is_refused(encoder, tmp_path):
    root = write_ptb_xl(tmp_path / "d", records=60, seconds=3.0)
    table = pd.read_csv(root / "ptbxl_database.csv")
    trained = table.index[table["strat_fold"] == 1][0]
    table.loc[trained, "patient_id"] = table.loc[table["strat_fold"] == 10, "patient_id"].iloc[0]
    table.to_csv(root / "ptbxl_database.csv", index=False)
    with pytest.raises(TaskError, match="is in the train and the test folds"):
        ecgjepa.probe(encoder, {"ptb-xl": root}, tmp_path / "p", cache=tmp_path / "c")


def test_a_database_that_pretraining_saw_whole(tmp_path):
    """It has no folds, so any test record was among what the encoder was trained on."""
    folder = save_encoder(tmp_path / "m", folds={"georgia": None, "ptb-xl": tuple(range(1, 9))})
    _, config = load_encoder(folder)
    with pytest.raises(TaskError, match=r"pre-trained on all records of georgia, .* --allow-seen"):
        refuse_seen(config, ["georgia"], Cohort())
    refuse_seen(config, ["georgia"], Cohort(allow_seen=True))
    refuse_seen(config, ["ningbo", "ptb-xl"], Cohort())
    # Training folds of the tested database are judged as test folds.
    with pytest.raises(TaskError, match="pre-trained on folds"):
        refuse_seen(
            config,
            ["ningbo", "ptb-xl"],
            Cohort(split=ecgjepa.Split(test=(1,)), test_on=("ptb-xl",)),
        )


def test_unknown_databases_to_test_on(probe):
    with pytest.raises(TaskError, match="cannot test on ningbo; found ptb-xl"):
        probe("age", test_on=["ningbo"])
    with pytest.raises(TaskError, match="no database is left to train on"):
        probe("age", test_on=["ptb-xl"])


def test_numbers_in_results_are_json(probe, tmp_path):
    probe("age")
    text = (tmp_path / "p/results.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["measure"] == "r2"


def test_results_of_something_else_are_not_overwritten(probe, encoder, ptb_xl, cache, tmp_path):
    probe("superdiagnostic", "knn")
    before = (tmp_path / "p/results.json").read_bytes()
    with pytest.raises(ConfigError, match=r'task \("superdiagnostic" there, "diagnostic"'):
        probe("diagnostic", "knn")
    with pytest.raises(ConfigError, match=r'protocol \("knn" there, "linear"'):
        probe("superdiagnostic", "linear")
    assert (tmp_path / "p/results.json").read_bytes() == before
    probe("superdiagnostic", "knn")  # the same again may be
    linear = probe("superdiagnostic", "linear", out="linear")
    for model in (linear.path, linear.path / "model"):
        for verb in (ecgjepa.probe, ecgjepa.finetune):
            with pytest.raises(ConfigError, match="holds the model that is evaluated"):
                verb(model, {"ptb-xl": ptb_xl}, linear.path, task="superdiagnostic", cache=cache)


def test_a_table_in_another_folder_names_the_results_beside_the_model(
    encoder, ptb_xl, cache, folds, tmp_path
):
    (tmp_path / "tables").mkdir()
    table = write(tmp_path / "tables/own.csv", folds, even=folds.index[folds.index % 2 == 0])
    model = save_encoder(tmp_path / "model")
    found = ecgjepa.probe(model, {"ptb-xl": ptb_xl}, task=table, protocol="knn", cache=cache)
    assert found.path == tmp_path / "model-own-knn"
