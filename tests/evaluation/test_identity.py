"""A record is a database and an id: two archives whose files have the same names."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import toy_ecg, write_wfdb
from small_encoders import describe, save_encoder

import ecgjepa
from ecgjepa.errors import TaskError
from ecgjepa.model.folder import ModelConfig
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.reporting import examples
from ecgjepa.results.reading import read_results
from ecgjepa.store.manifest import find_store
from ecgjepa.store.reading import Store
from ecgjepa.tasks.leakage import refuse_leak
from ecgjepa.tasks.split import Split

CLINICS = ("clinic-a", "clinic-b")
# The last ones are in the test fold of both: see `ecgjepa.tasks.folds.hashed_fold`.
NUMBERS = (*range(40), 72, 166, 174, 199)
RECORDS = len(NUMBERS)


@pytest.fixture(scope="module")
def clinics(tmp_path_factory):
    """Two folders of records with equal names, and a table of labels of the pairs."""
    root, rng, rows = tmp_path_factory.mktemp("clinics"), np.random.default_rng(5), []
    first = rng.integers(0, 2, 200)
    for place, clinic in enumerate(CLINICS):
        for number in NUMBERS:
            sick = int(first[number] + place) % 2
            digital = toy_ecg(rng, num_samples=1000, kind=2 * sick)
            write_wfdb(root / clinic / f"{number:04d}.hea", digital)
            rows.append({"database": clinic, "record": f"{number:04d}", "sick": sick})
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)
    return root


@pytest.fixture(scope="module")
def data(clinics):
    return {clinic: clinics / clinic for clinic in CLINICS}


@pytest.fixture(scope="module")
def evaluation(clinics, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    model = save_encoder(folder / "encoder")
    return ecgjepa.probe(
        model,
        data,
        folder / "probe",
        task=str(clinics / "labels.csv"),
        protocol="linear",
        cache=folder / "cache",
    )


def truth_of(clinics):
    table = pd.read_csv(clinics / "labels.csv", dtype=str)
    return table.set_index(["database", "record"])["sick"] == "1"


def test_predictions_name_the_database_of_every_record(clinics, evaluation):
    table = pd.read_parquet(evaluation.path / "predictions.parquet")
    assert set(table["database"]) == set(CLINICS)
    test = table[(table["part"] == "test") & (table["model"] == "untrained")]
    assert test["record_id"].duplicated().sum() >= 4
    assert not table[["model", "database", "record_id"]].duplicated().any()
    truth = truth_of(clinics)
    pairs = pd.MultiIndex.from_frame(table[["database", "record_id"]])
    np.testing.assert_array_equal(table["target:sick"], truth[pairs])
    split = pd.read_csv(evaluation.path / "split.csv", dtype=str)
    assert len(split) == 2 * RECORDS
    assert not split[["database", "record_id"]].duplicated().any()
    with np.load(evaluation.path / "embeddings.npz") as arrays:
        pairs = pd.MultiIndex.from_arrays([arrays["database"], arrays["record_id"]])
        np.testing.assert_array_equal(arrays["targets"][:, 0], truth[pairs])


def test_results_describe_every_database(evaluation):
    databases = evaluation.results["databases"]
    assert {name: summary["stored"] for name, summary in databases.items()} == dict.fromkeys(
        CLINICS, RECORDS
    )
    assert evaluation.results["format_version"] == 2


def test_the_table_holds_numbers_and_the_evaluation_is_one_line(evaluation):
    table = evaluation.table()
    numbers = table.select_dtypes("number")
    assert list(numbers) == ["test_positives", "auroc", "low", "high", "average_precision"]
    score = evaluation.score("untrained")
    row = table[table["model"] == "untrained"].iloc[0]
    assert tuple(row[["auroc", "low", "high"]]) == pytest.approx(score)
    assert table["auroc"].mean() == pytest.approx(table["auroc"].sum() / 2)
    assert "task='labels', protocol='linear', macro_auroc=" in repr(evaluation)
    assert len(repr(evaluation)) < 300


def test_the_card_names_every_database_once(evaluation):
    card = (evaluation.path / "model/README.md").read_text()
    assert "Trained on clinic-a, clinic-b, folds [1, 2, 3, 4, 5, 6, 7, 8]; selected on [9]" in card
    assert card.count("selected on") == card.count("tested on") == 1
    content = json.loads((evaluation.path / "model/config.json").read_text())
    assert content["training"]["databases"] == list(CLINICS)


def test_models_compare_on_records_of_the_same_id(evaluation):
    found = ecgjepa.compare_predictions(
        evaluation.path, evaluation.path / "predictions.parquet", second_model="untrained"
    )
    assert found.records == evaluation.results["counts"]["test"]
    value, low, high = evaluation.results["differences"]["pre-trained - untrained"]
    assert found.difference == pytest.approx((value, low, high))


def test_the_ecg_on_the_page_is_that_of_the_prediction(evaluation, monkeypatch, tmp_path):
    """The records of a database, drawn for a prediction of the other, are another patient's."""
    drawn = []
    draw = examples.draw_ecg

    def watch(record, *, title, note):
        drawn.append((record, title, note))
        return draw(record, title=title, note=note)

    monkeypatch.setattr(examples, "draw_ecg", watch)
    ecgjepa.report([evaluation.path], tmp_path / "page.html")
    table = pd.read_parquet(evaluation.path / "predictions.parquet")
    table = table[(table["model"] == "pre-trained") & (table["part"] == "test")]
    model = ecgjepa.load_model(evaluation.path)
    calibrated = model.config.calibration.apply(
        table[[f"probability:{label}" for label in model.task.labels]].to_numpy()
    )
    shown = pd.Series(calibrated[:, model.task.labels.index("sick")], table.index)
    with Store(find_store(evaluation.results["store_fingerprint"])) as store:
        index = store.table()
        sick = table[table["target:sick"]]
        extremes = (sick["probability:sick"].idxmax(), sick["probability:sick"].idxmin())
        assert len(drawn) == 2
        for (record, title, note), place in zip(drawn, extremes, strict=True):
            row = table.loc[place]
            same = (index["database"] == row["database"]) & (index["record_id"] == row["record_id"])
            samples = store.read_record(int(np.flatnonzero(same)[0]))
            np.testing.assert_allclose(record.signal, samples / 1000, atol=1e-6)
            assert f"Record {row['database']}/{row['record_id']}: " in title
            assert f"{shown[place]:.2f}" in note
    page = (tmp_path / "page.html").read_text()
    assert all(f'<td class="left">{clinic}</td>' in page for clinic in CLINICS)


# ---------------------------------------------------------------- older folders


@pytest.fixture
def old(evaluation, tmp_path):
    """The evaluation as version 1 wrote it."""
    folder = tmp_path / "old"
    folder.mkdir()
    results = json.loads((evaluation.path / "results.json").read_text())
    databases = results.pop("databases")
    results |= {"format_version": 1, "database": databases["clinic-a"]}
    (folder / "results.json").write_text(json.dumps(results))
    table = pd.read_parquet(evaluation.path / "predictions.parquet").drop(columns="database")
    table.attrs.clear()
    table.to_parquet(folder / "predictions.parquet", index=False)
    split = (evaluation.path / "split.csv").read_text()
    (folder / "split.csv").write_text(split)
    return folder


def test_an_old_folder_compares_with_a_new_one(evaluation, old):
    found = ecgjepa.compare_predictions(old, evaluation.path, num_resamples=20)
    assert found.difference == (0, 0, 0)
    (old / "split.csv").unlink()
    with pytest.raises(ecgjepa.errors.ScoreError, match="records come twice"):
        ecgjepa.compare_predictions(old, evaluation.path)


def test_an_old_folder_is_shown_with_the_right_ecgs(evaluation, old, monkeypatch, tmp_path):
    titles = []
    draw = examples.draw_ecg

    def watch(record, *, title, note):
        titles.append(title)
        return draw(record, title=title, note=note)

    monkeypatch.setattr(examples, "draw_ecg", watch)
    for folder in (evaluation.path, old):
        ecgjepa.report([folder], tmp_path / "page.html")
    assert titles[:2] == titles[2:]
    assert read_results(old)["databases"] == {
        "clinic-a": evaluation.results["databases"]["clinic-a"]
    }
    # Nothing tells the databases now, so no ECG is sure to be the right one.
    (old / "split.csv").unlink()
    titles.clear()
    ecgjepa.report([old], tmp_path / "page.html")
    assert titles == []


# ---------------------------------------------------------------- what was seen


def test_every_database_of_an_online_probe_is_no_test_of_what_it_selected(clinics, data):
    task = str(clinics / "labels.csv")
    probe = ecgjepa.online_probe(data, task=task, cache=clinics / "cache")(describe())
    assert probe.databases == CLINICS
    assert [stage["database"] for stage in probe.seen] == list(CLINICS)
    assert not any(stage["published"] for stage in probe.seen)
    config = describe().model_copy(update={"training": {"seen": probe.seen}})
    for clinic in CLINICS:
        with pytest.raises(TaskError, match=rf"folds \[\] of {clinic} and selected on \[9\]"):
            refuse_leak(config, clinic, Split((1, 2), (8,), (9,)))


def test_joined_names_of_an_older_folder_are_split():
    stage = {"database": "georgia+ningbo", "train": [], "validation": [9], "published": False}
    content = describe().model_dump(mode="json") | {"training": {"seen": [stage]}}
    config = ModelConfig.model_validate(content)
    assert [stage["database"] for stage in config.training["seen"]] == ["georgia", "ningbo"]
    for name in ("georgia", "ningbo"):
        with pytest.raises(TaskError, match="selected on"):
            refuse_leak(config, name, Split((1, 2), (8,), (9,)))


def test_an_encoder_may_be_chosen_by_a_regression(ptb_xl, tmp_path):
    model = save_encoder(tmp_path / "encoder")
    data = {"ptb-xl": ptb_xl}
    encoder, config = load_encoder(model)
    probe = ecgjepa.online_probe(data, task="age", cache=tmp_path / "cache")(config)
    assert (probe.measure, probe.score_name) == ("r2", "probe_r2")
    final = ecgjepa.probe(
        model, data, tmp_path / "out", task="age", protocol="linear", cache=tmp_path / "cache"
    )
    expected = final.results["models"]["pre-trained"]["validation_r2"]
    assert probe.score(encoder) == pytest.approx(expected, abs=0.01)
