"""A model folder is believed only as far as its parts agree, and before memory is taken."""

import json
import tracemalloc

import pytest
import torch
from small_encoders import describe, small_encoder

from ecgjepa.errors import ModelFolderError
from ecgjepa.files import sha256_of_file
from ecgjepa.model.answers import AnswersConfig
from ecgjepa.model.folder import load_model_folder, read_model_config, save_model
from ecgjepa.model.heads import Classifier, HeadConfig, build_head
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.model.outputs import CalibrationConfig, TaskConfig
from ecgjepa.model.weights import save_tensors


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Content of a classifier's config.json, and its folder."""
    encoder = small_encoder()
    head = HeadConfig(kind="mean", num_labels=2)
    task = TaskConfig(name="t", kind="multi-label", labels=("A", "B"), descriptions=("a", "b"))
    calibration = CalibrationConfig(
        method="temperature", kind="multi-label", scale=(1.0, 1.0), shift=(0.0, 0.0)
    )
    half = (0.5, 0.4, 0.6)
    answers = AnswersConfig.model_validate(
        {
            "decisions": {
                "rules": [{"rule": "best-f1", "values": [0.5, None], "sensitivity": [half, None]}],
                "chosen": "best-f1",
            },
            "label_sets": {
                "kind": "per-label",
                "coverage": 0.9,
                "thresholds": [0.1, None],
                "per_label": [half, None],
                "mean_size": 1.5,
            },
            "tested": {
                "databases": ["a"],
                "folds": [10],
                "records": 9,
                "patients": 8,
                "positives": [3, 0],
                "auroc": [half, None],
            },
        }
    )
    config = describe().model_copy(
        update={"head": head, "task": task, "calibration": calibration, "answers": answers}
    )
    folder = tmp_path_factory.mktemp("good") / "model"
    save_model(folder, Classifier(encoder, build_head(head, encoder)), config, "card")
    return folder


def changed(good, place, value):
    """Return config.json with one value changed, as text."""
    content = json.loads((good / "config.json").read_text())
    section = content
    *above, last = place.split(".")
    for part in above:
        section = section[int(part) if isinstance(section, list) else part]
    section[last] = value
    return json.dumps(content)


def write(good, folder, text):
    folder.mkdir()
    for file in good.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "config.json").write_text(text)
    return folder


INFINITY = float("inf")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("encoder.num_registers", 10**8),
        ("encoder.num_leads", 10**8),
        ("encoder.patch_size", 10**8),
        ("encoder.mlp_ratio", 1e8),
        ("encoder.mlp_ratio", INFINITY),
        ("encoder.norm_eps", INFINITY),
        ("encoder.norm_eps", 10.0),
        ("encoder.depth", 3000),
        ("encoder.dim", 10**6),
        ("head.num_labels", 10**8),
        ("window.seconds", 1e6),
        ("window.seconds", INFINITY),
        ("window.stride_seconds", INFINITY),
        ("window.stride_seconds", 1e-12),
        ("preprocessing.sampling_rate", 4e6),
        ("preprocessing.sampling_rate", INFINITY),
        ("preprocessing.sampling_rate", 5e-8),
        ("preprocessing.highpass_hz", 1e9),
        ("preprocessing.highpass_hz", 1e-300),
        ("preprocessing.leads", ["I"] * 12),
        ("preprocessing.leads", ["I"]),
        ("preprocessing.leads", ["x" * 10_000, *"ABCDEFGHIJK"]),
        ("normalisation.mean", [0.0] * 3),
        ("normalisation.std", [1.0]),
        ("normalisation.std", [-1.0] * 12),
        ("normalisation.std", [float("nan")] * 12),
        ("task.kind", "regression"),
        ("task.kind", "single-label"),
        ("task.labels", ["A"]),
        ("task.labels", ["A", "A"]),
        ("task.descriptions", []),
        ("calibration.scale", [1.0]),
        ("calibration.kind", "single-label"),
        ("head.num_labels", 3),
        ("answers.decisions.rules", []),
        ("answers.decisions.chosen", "x" * 10_000),
        ("answers.decisions.rules.0.rule", "sensitivity=7"),
        ("answers.decisions.rules.0.values", [0.5] * 3),
        ("answers.decisions.rules.0.values", [float("nan"), 0.5]),
        ("answers.decisions.rules.0.values", [INFINITY, 0.5]),
        ("answers.decisions.rules.0.values", [7.0, 0.5]),
        ("answers.decisions.rules.0.remarks", {"x" * 10_000: "why"}),
        ("answers.decisions.rules.0.sensitivity", [[0.5, 0.1, 0.9]]),
        ("answers.decisions.rules.0.sensitivity", [[0.5, 0.1, float("nan")], None]),
        ("answers.label_sets.kind", "lac"),
        ("answers.label_sets.thresholds", [0.5] * 3),
        ("answers.label_sets.coverage", 1.0),
        ("answers.label_sets.mean_size", INFINITY),
        ("answers.value_intervals", {"coverage": 0.9, "half_widths": [1.0, 1.0]}),
        ("answers.tested.positives", [1]),
        ("answers.tested.records", -1),
        ("answers.tested.auroc", [[0.5, 0.4, 1.4], None]),
        ("head.layers", [9]),
    ],
)
def test_what_cannot_be_right_is_named_before_memory_is_taken(good, tmp_path, place, value):
    folder = write(good, tmp_path / "m", changed(good, place, value))
    tracemalloc.start()
    with pytest.raises(
        ModelFolderError, match=place.partition(".")[0].removeprefix("head") or "layer|label"
    ) as caught:
        load_model_folder(folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(str(caught.value)) < 1000
    assert peak < 20e6


def test_the_good_one_loads(good):
    assert load_model_folder(good)[1].head.num_labels == 2


@pytest.mark.parametrize(
    "text",
    [
        '{"format_version": ' + "1" * 5000 + "}",
        '{"format_version": ' + "[" * 50_000 + "]" * 50_000 + "}",
        '{"format_version": 1, "encoder": ' + "9" * 4000 + "}",
        "[]",
        "\x00",
    ],
)
def test_json_that_nobody_writes_is_named(good, tmp_path, text):
    with pytest.raises(ModelFolderError) as caught:
        read_model_config(write(good, tmp_path / "m", text))
    assert len(str(caught.value)) < 1000


def test_a_file_too_large_for_a_configuration_is_not_read(good, tmp_path):
    folder = write(good, tmp_path / "m", " " * 16_000_001)
    with pytest.raises(ModelFolderError, match="has 16,000,001 bytes"):
        read_model_config(folder)


def test_shapes_are_compared_before_a_network_is_built(good, tmp_path, monkeypatch):
    folder = write(good, tmp_path / "m", changed(good, "encoder.dim", 16_384))
    built = []
    monkeypatch.setattr(
        torch.nn.Parameter, "__init__", lambda self, *_: built.append(self.numel()), raising=False
    )
    with pytest.raises(ModelFolderError, match=r"tensor .* is \(.*\), expected \(.*16384"):
        load_model_folder(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(good, tmp_path, value):
    model, _ = load_model_folder(good)
    weights = model.state_dict()
    weights["encoder.norm.weight"][3] = value
    folder = write(good, tmp_path / "m", "{}")
    save_tensors(folder / "model.safetensors", weights)
    digest = sha256_of_file(folder / "model.safetensors")
    (folder / "config.json").write_text(changed(good, "weights_sha256", digest))
    with pytest.raises(ModelFolderError, match=r"1 of 16 numbers of tensor encoder\.norm\.weight"):
        load_model_folder(folder)


def test_a_lead_that_was_constant_is_only_centred():
    constants = NormalisationConfig.of(torch.zeros(2).numpy(), torch.tensor([0.0, 0.5]).numpy(), 5)
    assert constants.std == (1.0, 0.5)
