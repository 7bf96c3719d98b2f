"""ECGs in scikit-learn: the contract of a transformer, which `check_estimator` does not test."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from conftest import toy_ecg, write_wfdb
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from small_encoders import save_encoder
from tiny_model import save_tiny_model

import ecgjepa
from ecgjepa import ECGEncoder
from ecgjepa.errors import (
    ConfigError,
    EcgjepaError,
    InputError,
    LeadError,
    ModelFolderError,
    RecordFormatError,
)
from ecgjepa.signals.leads import LEADS

FACTS = {"sampling_rate": 500, "leads": LEADS, "unit": "uV"}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """An encoder, and eight records of two kinds and two durations."""
    root = tmp_path_factory.mktemp("clinic")
    save_encoder(root / "model")
    rng = np.random.default_rng(0)
    for number in range(8):
        samples = 1500 if number % 3 else 2500
        write_wfdb(root / f"{number}.hea", toy_ecg(rng, num_samples=samples, kind=number % 2))
    (root / "cut.hea").write_text("cut 12 500")
    return root


@pytest.fixture(scope="module")
def files(clinic):
    return [str(clinic / f"{number}.hea") for number in range(8)]


@pytest.fixture(scope="module")
def features(clinic, files):
    return ecgjepa.embed(files, clinic / "model").to_numpy()


def test_paths_records_and_arrays_give_the_features_of_embed(clinic, files, features):
    encoder = ECGEncoder(clinic / "model")
    np.testing.assert_array_equal(encoder.transform(files), features)
    order = [5, 0, 7, 0]  # the order of the rows, and a record that comes twice
    found = encoder.fit_transform(np.array(files, dtype=object)[order])
    np.testing.assert_allclose(found, features[order], atol=1e-5)
    records = [ecgjepa.read_record(file) for file in files]
    np.testing.assert_allclose(encoder.transform(records), features, atol=1e-5)
    told = ECGEncoder(clinic / "model", **FACTS)
    arrays = [np.rint(1000 * record.signal).astype(np.int16) for record in records]
    np.testing.assert_allclose(told.transform(arrays), features, atol=1e-4)
    cube = np.stack([arrays[0], arrays[3]])
    np.testing.assert_allclose(told.transform(cube), features[[0, 3]], atol=1e-4)
    turned = clone(told).set_params(axes=("leads", "samples"))
    found = turned.transform(cube.swapaxes(1, 2))
    np.testing.assert_allclose(found, features[[0, 3]], atol=1e-4)


def test_columns_have_names_and_a_frame_its_index(clinic, files, features):
    series = pd.Series(files[:3], index=["a", "b", "c"], name="file")
    encoder = ECGEncoder(clinic / "model", layer="all").set_output(transform="pandas")
    for given in (series, series.to_frame()):
        frame = encoder.fit(given).transform(given)
        assert frame.index.tolist() == ["a", "b", "c"]
        assert frame.columns.tolist() == encoder.get_feature_names_out().tolist()
    assert frame.columns[[0, -1]].tolist() == ["layer1_f0", "layer3_f15"]
    np.testing.assert_allclose(frame.iloc[:, -16:], features[:3], atol=1e-5)
    table = series.to_frame().assign(age=[40, 50, 60])
    columns = ColumnTransformer(
        [("ecg", ECGEncoder(clinic / "model"), "file")], remainder="passthrough"
    )
    assert columns.fit(table).get_feature_names_out()[[0, -1]].tolist() == [
        "ecg__f0",
        "remainder__age",
    ]
    assert columns.transform(table).shape == (3, 17)


def test_the_contract_of_parameters(clinic, files, features):
    encoder = ECGEncoder(clinic / "model", **FACTS, on_bad="nan", device="cpu")
    copied = clone(encoder)
    assert copied.get_params() == encoder.get_params()
    assert "on_bad='nan'" in repr(copied)
    encoder.transform(files[:1])
    # A model that was loaded is not the one of other parameters.
    assert encoder.set_params(layer=np.int64(1)).transform(files[:1]).shape == (1, 16)
    assert not np.allclose(encoder.transform(files[:1]), features[:1], atol=1e-3)
    for wrong in ({"on_bad": "skip"}, {"axes": "samples"}, {"layer": 9}, {"layer": "first"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            ECGEncoder(clinic / "model").set_params(**wrong).fit(files)


def test_a_pickle_loads_its_model_again_and_refuses_another(clinic, files, features, tmp_path):
    folder = save_encoder(tmp_path / "model")
    encoder = ECGEncoder(folder).fit(files)
    encoder.transform(files[:1])
    pickled = pickle.dumps(encoder)
    assert len(pickled) < 2_000  # without the weights
    np.testing.assert_allclose(pickle.loads(pickled).transform(files), features, atol=1e-5)
    save_encoder(folder, seed=1)
    with pytest.raises(ModelFolderError, match=r"another model than when this ECGEncoder.*fit it"):
        pickle.loads(pickled).transform(files)
    pickle.loads(pickled).fit(files).transform(files[:1])


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_a_search_by_workers_gives_what_a_loop_gives(clinic, files, backend):
    pipeline = make_pipeline(ECGEncoder(clinic / "model"), LogisticRegression(max_iter=1000))
    labels = [number % 2 for number in range(8)]
    scores = []
    for jobs in (1, 2):
        grid = {"ecgencoder__layer": [1, "last"]}
        search = GridSearchCV(pipeline, grid, cv=2, n_jobs=jobs, error_score="raise")
        with joblib.parallel_config(backend=backend):
            scores.append(search.fit(files, labels).cv_results_["mean_test_score"])
    np.testing.assert_array_equal(*scores)


def test_a_bad_file_is_named_or_has_a_row_of_nan(clinic, files, features, caplog):
    given = [files[0], str(clinic / "cut.hea"), files[1], str(clinic / "nowhere.hea")]
    with pytest.raises(RecordFormatError, match=r"cut\.hea"):
        ECGEncoder(clinic / "model").transform(given)
    encoder = ECGEncoder(clinic / "model", on_bad="nan")
    found = encoder.transform(given)
    np.testing.assert_allclose(found[[0, 2]], features[:2], atol=1e-5)
    assert np.isnan(found[[1, 3]]).all()
    assert list(encoder.errors_) == [1, 3]
    assert "2 of 4 ECGs cannot be used: row 1: " in caplog.text
    assert "nowhere.hea" in caplog.text
    assert "Their features are NaN" in caplog.text
    encoder.transform(files[:1])
    assert encoder.errors_ == {}


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("x.hea", InputError, r"one ECG and not a list of them; give \[X\]"),
        ([], InputError, "X is empty"),
        (np.zeros((500, 12)), InputError, r"of a single ECG, give X\[None\]"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), InputError, "a table of 2 columns, a, b"),
        ([3], InputError, "row 0 of X is of type int"),
        ({"x.hea", "y.hea"}, InputError, "X is of type set"),
        ((each for each in "ab"), InputError, "X is of type generator"),
        (np.zeros((2, 500, 12)), ConfigError, "sampling_rate: X holds arrays"),
    ],
)
def test_what_is_not_a_list_of_ecgs_is_refused(clinic, given, error, words):
    with pytest.raises(error, match=words):
        ECGEncoder(clinic / "model", on_bad="nan").transform(given)


def test_arrays_that_do_not_fit_what_is_told_of_them(clinic):
    encoder = ECGEncoder(clinic / "model", **FACTS, on_bad="nan")
    with pytest.raises(LeadError, match=r"seems to be \(leads, samples\)"):  # the fault of all
        encoder.transform(np.zeros((2, 12, 500)))
    found = encoder.transform(
        [np.random.default_rng(0).normal(0, 300, (1500, 12)), np.ones((9, 3))]
    )
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
    assert encoder.errors_[1].startswith("row 1 of X: signal of shape (9, 3) has 3 columns")


def test_amplitudes_of_another_unit_are_told(clinic, caplog):
    array = np.stack([toy_ecg(np.random.default_rng(1), num_samples=1500)] * 2)
    ECGEncoder(clinic / "model", **FACTS).transform(array)
    assert not caplog.records
    ECGEncoder(clinic / "model", **FACTS).transform(array / 1000)  # mV, taken for µV
    [words] = caplog.messages
    assert words.startswith("2 ECGs have implausible amplitudes, such as row 0: beats are 0.00")
    assert "unit='uV'" in words


def test_a_path_that_stands_for_several_ecgs_is_refused(clinic, files, tmp_path):
    np.save(tmp_path / "several.npy", np.zeros((2, 1500, 12), np.int16))
    (tmp_path / "several.npy.json").write_text(
        '{"sampling_rate": 500, "unit": "uV", "axes": ["records", "samples", "leads"], '
        f'"leads": {list(LEADS)!r}}}'.replace("'", '"')
    )
    for path in (tmp_path, tmp_path / "several.npy"):
        with pytest.raises(EcgjepaError, match=path.name):
            ECGEncoder(clinic / "model").transform([files[0], path])


def test_a_classifier_folder_holds_an_encoder_too(files, tmp_path):
    folder = save_tiny_model(tmp_path / "model")
    found = ECGEncoder(folder).transform(files[:2])
    np.testing.assert_array_equal(found, ecgjepa.embed(files[:2], folder).to_numpy())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"layer": None}, "layer is None; expected a number from 1, last or all"),
        ({"model": object()}, "model is of type object; .* judged by ecgjepa.probe alone"),
    ],
)
def test_parameters_of_another_type_are_named(wrong, words):
    estimator = ECGEncoder("nowhere").set_params(**wrong)
    with pytest.raises(ConfigError, match=words):
        estimator.get_feature_names_out()


def test_an_onnx_file_is_told_from_a_model_folder(tmp_path):
    (tmp_path / "cnn.onnx").write_bytes(b"x")
    with pytest.raises(ModelFolderError, match=r"is an ONNX file, .*--encoder-description"):
        ecgjepa.ECGEncoder(tmp_path / "cnn.onnx").get_feature_names_out()
