"""The ONNX file itself: shapes, metadata, checks and refusals, and use without this package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import toy_ecg, write_ptb_xl, write_wfdb
from exported_models import LABELS, save_model_of
from exporting.test_graph import MODELS
from fastapi.testclient import TestClient
from same_answer import assert_same, by_command, by_http, by_onnx, by_python, by_scikit_learn

import ecgjepa
from ecgjepa.errors import ConfigError, ExportError, ModelFolderError
from ecgjepa.exporting import export, quantised, tracing
from ecgjepa.serving.serve import application
from ecgjepa.signals.leads import LEADS

DOCS = Path(__file__).parents[2] / "docs/onnx.md"


@pytest.fixture(scope="module")
def session(exported):
    return onnxruntime.InferenceSession(
        str(exported / "m.onnx"), providers=["CPUExecutionProvider"]
    )


@pytest.fixture(scope="module")
def client(folder):
    with TestClient(application(folder, readers=1), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def traced(exported, monkeypatch):
    """Let the exporter find the graph that it traced before."""
    model = onnx.load(exported / "m.onnx")
    monkeypatch.setattr(export, "trace", lambda graph: model)
    return model


@pytest.mark.parametrize("records", [1, 3])
@pytest.mark.parametrize("samples", [60, 250, 375, 1000, 1001])
def test_any_number_of_records_and_samples_enters(records, samples, session, folder):
    rng = np.random.default_rng(samples)
    ecgs = [toy_ecg(rng, num_samples=samples, rate=100) for _ in range(records)]
    signal = np.stack(ecgs).astype(np.float32) / np.float32(1000)
    (found,) = session.run(["probabilities"], {"signal": signal})
    model = ecgjepa.load_model(folder, device="cpu")
    expected = model.predict_signal(signal, sampling_rate=100, leads=LEADS)
    values = [list(prediction.probabilities.values()) for prediction in expected]
    np.testing.assert_allclose(found, values, atol=1e-5)


@pytest.mark.parametrize("seconds", [1.0, 10.0, 11.7])
def test_the_same_file_gets_the_same_answer_in_every_way(
    seconds, command, folder, exported, client, tmp_path
):
    digital = toy_ecg(np.random.default_rng(2), num_samples=int(500 * seconds))
    digital[100:130, 2] = -32768
    file = write_wfdb(tmp_path / "ecg.hea", digital)
    answers = {
        "command": by_command(command, folder, file),
        "Python": by_python(folder, file),
        "scikit-learn": by_scikit_learn(folder, file),
        "ONNX": by_onnx(exported / "m.onnx", file),
        "HTTP": by_http(client, file),
    }
    assert_same(answers)


def test_one_file_holds_all_and_names_no_place_of_this_machine(exported):
    assert sorted(path.name for path in exported.iterdir()) == ["m.json", "m.onnx"]
    content = (exported / "m.onnx").read_bytes()
    for place in (tracing.__file__, str(Path(sys.prefix)), "site-packages", ".py"):
        assert place.encode() not in content


def test_the_metadata_tell_all_that_a_user_needs(session, exported):
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads((exported / "m.json").read_text())["metadata"] == about
    assert about["schema"] == "1"
    assert about["software_version"] == ecgjepa.__version__
    assert json.loads(about["labels"]) == list(LABELS)
    assert json.loads(about["thresholds"]) == [0.5, 0.4, None, 0.3, 0.6]
    assert about["rule"] == "best-f1"
    assert len(json.loads(about["leads"])) == 12
    assert (about["sampling_rate"], about["window_samples"], about["stride_samples"]) == (
        "100",
        "250",
        "125",
    )
    assert about["distance_threshold"] == "1.2"
    assert "ptb-xl (CC BY 4.0)" in about["licence"]
    steps = [step["name"] for step in json.loads(about["preprocessing_outside"])]
    assert steps == ["read", "leads", "bridge_gaps", "resample", "quality"]
    checked = json.loads(about["checked"])
    assert checked["windows"] == [1, 1, 2, 7]
    assert max(checked["largest_difference"].values()) <= 1e-5
    assert list(json.loads(about["outputs"])) == [one.name for one in session.get_outputs()]
    page = DOCS.read_text()
    assert not [name for name in about if f"`{name}`" not in page]


def test_the_program_in_python_needs_nothing_of_this_package(exported, folder, tmp_path):
    code = _block("python")
    assert "ecgjepa" not in code.replace("file of ecgjepa", "")
    assert code.count("\n") <= 40
    faster = write_wfdb(tmp_path / "faster.hea", toy_ecg(np.random.default_rng(3)))
    (tmp_path / "use.py").write_text(code)
    words = [sys.executable, "use.py", exported / "m.onnx", faster.with_suffix("")]
    (expected,) = ecgjepa.predict([faster], folder)
    assert _run(words, tmp_path) == pytest.approx(expected.probabilities, abs=1e-5)


def test_the_program_in_javascript_gives_the_same(exported, folder, record, tmp_path):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    package = ["node", "-e", "require.resolve('onnxruntime-node')"]
    if subprocess.run(package, capture_output=True, check=False).returncode:
        pytest.skip("node does not find onnxruntime-node: npm install it and set NODE_PATH")
    code = _block("javascript")
    assert code.count("\n") <= 40
    (tmp_path / "use.cjs").write_text(code)
    # PTB-XL writes AVR where others write aVR.
    shutil.copy(record.with_suffix(".dat"), tmp_path)
    record = Path(shutil.copy(record, tmp_path))
    record.write_text(record.read_text().replace("aV", "AV"))
    assert "AVR" in record.read_text()
    words = ["node", "use.cjs", exported / "m.onnx", exported / "m.json", record.with_suffix("")]
    (expected,) = ecgjepa.predict([record], folder)
    assert _run(words, tmp_path) == pytest.approx(expected.probabilities, abs=1e-5)


def _block(language):
    return re.search(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]


def _run(words, where):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=where,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return {label: float(value) for label, value in map(str.split, done.stdout.splitlines())}


def test_a_file_that_says_something_else_is_not_written(traced, folder, tmp_path):
    for tensor in traced.graph.initializer:
        if tensor.name.startswith("answer.shift"):
            values = onnx.numpy_helper.to_array(tensor) + np.float32(1e-3)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    with pytest.raises(ExportError, match=r"not written, because .* probabilities by"):
        ecgjepa.export_onnx(folder, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_a_file_that_the_runtime_cannot_open_is_not_written(traced, folder, tmp_path):
    traced.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ExportError, match=r"onnxruntime [0-9.]+ cannot open it"):
        ecgjepa.export_onnx(folder, tmp_path / "m.onnx")


def test_a_graph_whose_number_of_records_is_frozen_is_refused(traced):
    traced.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(ExportError, match="fix the number of records"):
        tracing._check_shapes(traced)


def test_what_cannot_be_written_is_named(command, folder, exported, tmp_path, monkeypatch):
    words = ("export", "--model", folder, "--onnx")
    with pytest.raises(ConfigError, match="is there already; choose another name, or --overwrite"):
        ecgjepa.export_onnx(folder, exported / "m.onnx")
    with pytest.raises(ConfigError, match=r"expected a file that ends in \.onnx"):
        ecgjepa.export_onnx(folder, tmp_path / "m.pt")
    code, _, message = command(*words, tmp_path / "m.onnx", "--unit", "V")
    assert (code, "--unit: expected mV or uV" in message) == (2, True)
    with pytest.raises(ConfigError, match="int8 changes the answers"):
        ecgjepa.export_onnx(folder, tmp_path / "m.onnx", int8=True)
    with pytest.raises(ModelFolderError, match="no model folder at"):
        ecgjepa.export_onnx(tmp_path / "nowhere", tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"onnxruntime.* pip install 'ecgjepa\[onnx\]'"):
        ecgjepa.export_onnx(folder, tmp_path / "m.onnx")


def test_what_8_bits_cost_is_measured_and_written(traced, folder, tmp_path, monkeypatch):
    source = {"ptb-xl": write_ptb_xl(tmp_path / "ptb-xl", records=30, seconds=3.0)}
    monkeypatch.setattr("ecgjepa.exporting.export.MOST_LOSS", 1.0)
    path = tmp_path / "small.onnx"
    small = ecgjepa.export_onnx(folder, path, int8=True, data=source, cache=tmp_path / "cache")
    about = json.loads(small.metadata["int8"])
    assert about["records"] == 30
    assert about["measured_on"] == ["ptb-xl"]
    assert 0 < about["mean_difference"] <= about["largest_difference"] < 0.1
    assert about["difference"][0] == pytest.approx(about["int8"] - about["float32"], abs=2e-4)
    written = onnx.load(path)
    products = ("Conv", "MatMul", "Gemm")
    whole = [node.name for node in written.graph.node if node.op_type in products]
    eighths = [node.name for node in written.graph.node if node.op_type == "MatMulInteger"]
    assert len(eighths) == 4  # qkv, proj, fc1, fc2
    assert all(name.startswith("encoder.blocks.0.") for name in eighths)
    for part in ("encoder.patch_embed.proj/", "head.kv/", "head.proj/", "distance/"):
        assert any(name.startswith(part) for name in whole), part
    assert {prop.key: prop.value for prop in written.metadata_props} == small.metadata
    monkeypatch.setattr("ecgjepa.exporting.export.MOST_LOSS", -1.0)
    with pytest.raises(ExportError, match="8 bits cost too much: macro AUROC"):
        ecgjepa.export_onnx(
            folder,
            tmp_path / "other.onnx",
            int8=True,
            data=source,
            cache=tmp_path / "cache",
        )
    assert not (tmp_path / "other.onnx").exists()


def test_8_bits_of_an_encoder_without_products_are_refused(traced):
    for node in traced.graph.node:
        node.name = node.name.replace("encoder.blocks", "encoder.convolutions")
    with pytest.raises(ExportError, match="hold no matrix products"):
        quantised.quantise(traced)


def test_8_bits_of_an_encoder_alone_are_refused(encoder, tmp_path):
    with pytest.raises(ExportError, match="an encoder without a head"):
        ecgjepa.export_onnx(encoder, tmp_path / "m.onnx", int8=True, data={"ptb-xl": tmp_path})


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_is_exported(name, tmp_path):
    folder = save_model_of(tmp_path / "model", **MODELS[name])
    found = ecgjepa.export_onnx(folder, tmp_path / "m.onnx", unit="uV")
    assert max(found.differences.values()) < 1e-5
