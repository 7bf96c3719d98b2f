"""Store, evaluation and use treat a record alike, whatever database it comes from."""

import numpy as np
import pandas as pd
import pytest
from small_encoders import describe, save_encoder

import ecgjepa
from ecgjepa.databases import highpass_of, list_records
from ecgjepa.errors import TaskError
from ecgjepa.inference.windows import cut_windows, record_windows, window_size
from ecgjepa.model.folder import read_model_config
from ecgjepa.pretraining.run import describe_start
from ecgjepa.signals.record import MicrovoltRecord
from ecgjepa.simulation.database import LAYOUTS
from ecgjepa.store.prepare import prepare_cached
from ecgjepa.store.reading import Store
from ecgjepa.tasks.treatment import check_treatment, one_treatment

pytest.importorskip("h5py")
CONFIG = describe()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a small simulation in every layout."""
    root = tmp_path_factory.mktemp("layouts")
    return {name: ecgjepa.simulate(3, root / name, layout=name, seconds=5.0) for name in LAYOUTS}


def records(name, folder):
    listing = list_records(name, folder)
    for entry in listing.entries():
        source = listing.reader(folder, entry, "raise")
        yield source.as_record() if isinstance(source, MicrovoltRecord) else source


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_store_for_evaluation_holds_what_a_prediction_sees(name, folders, tmp_path):
    treatment = one_treatment(CONFIG.preprocessing, [name])
    assert treatment.highpass_hz == list_records(name, folders[name]).highpass_hz
    config = CONFIG.model_copy(update={"preprocessing": treatment})
    with Store(
        prepare_cached({name: folders[name]}, tmp_path, folds="all", preprocessing=treatment)
    ) as store:
        assert store.manifest.common_preprocessing == treatment
        size, stride = window_size(config)
        for row, record in enumerate(records(name, folders[name])):
            stored = cut_windows(store.read_record(row), size=size, stride=stride)
            windows, _ = record_windows(record, config)
            np.testing.assert_array_equal(next(windows.chunks(len(windows))), stored)


def test_databases_of_one_task_get_one_filter(folders, tmp_path):
    names = ["georgia", "st-petersburg"]
    treatment = one_treatment(CONFIG.preprocessing, names)
    assert treatment.highpass_hz == 0.5
    assert one_treatment(CONFIG.preprocessing, ["georgia"]) == CONFIG.preprocessing
    chosen = CONFIG.preprocessing.model_copy(update={"highpass_hz": 0.3})
    assert one_treatment(chosen, names) == chosen
    data = {name: folders[name] for name in names}
    path = prepare_cached(data, tmp_path, folds="all", preprocessing=treatment)
    with Store(path) as store:
        check_treatment(path, store.manifest, treatment)
        cutoffs = {one.highpass_hz for one in store.manifest.databases.values()}
        assert cutoffs == {0.5}


def test_a_training_store_with_several_filters_is_no_store_for_a_classifier(folders, tmp_path):
    data = {name: folders[name] for name in ("georgia", "st-petersburg")}
    manifest = ecgjepa.prepare(data, tmp_path / "s", preprocessing=CONFIG.preprocessing)
    assert manifest.common_preprocessing == CONFIG.preprocessing
    with pytest.raises(TaskError, match=r"no high-pass for georgia, a high-pass at 0\.5 Hz for st"):
        check_treatment(tmp_path / "s", manifest, one_treatment(CONFIG.preprocessing, data))
    slower = CONFIG.preprocessing.model_copy(update={"sampling_rate": 50.0})
    with pytest.raises(TaskError, match=r"sampling_rate 100\.0; this encoder needs sampling_rate"):
        check_treatment(tmp_path / "s", manifest, slower)


def test_an_encoder_of_filtered_records_alone_asks_for_the_filter(folders, tmp_path):
    data = {"st-petersburg": folders["st-petersburg"]}
    manifest = ecgjepa.prepare(data, tmp_path / "s", preprocessing=CONFIG.preprocessing)
    assert manifest.preprocessing.highpass_hz is None
    assert manifest.common_preprocessing.highpass_hz == highpass_of("st-petersburg") == 0.5
    preset = ecgjepa.config.load_preset("tiny")
    with Store(tmp_path / "s") as store:
        assert describe_start(preset, store).preprocessing.highpass_hz == 0.5


def test_a_classifier_predicts_as_it_was_scored(tmp_path):
    folder = ecgjepa.simulate(60, tmp_path / "db", layout="st-petersburg", seconds=5.0)
    encoder = save_encoder(tmp_path / "encoder")
    result = ecgjepa.probe(
        encoder,
        {"st-petersburg": folder},
        tmp_path / "out",
        task="codes",
        protocol="linear",
        cache=tmp_path / "cache",
    )
    config = read_model_config(result.path / "model")
    assert config.preprocessing.highpass_hz == 0.5
    table = pd.read_parquet(result.path / "predictions.parquet")
    scored = table[(table["model"] == "pre-trained") & (table["part"] == "test")].iloc[0]
    model = ecgjepa.load_model(result.path, calibrated=False)
    files = list(folder.rglob(f"{scored['record_id']}.hea"))
    label = model.task.labels[0]
    predicted = model.predict(files)[0].probabilities[label]
    assert predicted == pytest.approx(scored[f"probability:{label}"], abs=2e-3)
