import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from ecgjepa.config import EncoderConfig
from ecgjepa.errors import ModelFolderError
from ecgjepa.evaluation.out_of_distribution import fit_distribution
from ecgjepa.files import sha256_of_file
from ecgjepa.model.distribution import (
    DISTRIBUTION_FILE,
    DistributionConfig,
    write_distribution,
)
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.model.folder import (
    ModelConfig,
    PretrainingFacts,
    find_model,
    load_distribution,
    load_model_folder,
    read_model_config,
    save_model,
)
from ecgjepa.model.heads import Classifier, HeadConfig, build_head
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.model.outputs import TaskConfig
from ecgjepa.signals.preprocessing import PreprocessingConfig


def description(**changes) -> ModelConfig:
    return ModelConfig(
        encoder=EncoderConfig(patch_size=5, dim=8, depth=1, num_heads=2),
        preprocessing=PreprocessingConfig(sampling_rate=100.0),
        normalisation=NormalisationConfig(mean=(0.0,) * 12, std=(0.2,) * 12),
        pretraining=PretrainingFacts(steps=3, seed=0, store="abc", folds={}, records={}),
        **changes,
    )


@pytest.fixture
def folder(tmp_path):
    config = description(
        head=HeadConfig(kind="attentive", num_labels=2),
        task=TaskConfig(name="t", kind="multi-label", labels=("A", "B"), descriptions=("a", "b")),
    )
    encoder = VisionTransformer(config.encoder)
    model = Classifier(encoder, build_head(config.head, encoder))
    save_model(tmp_path / "m", model, config, "card")
    return tmp_path / "m", model, config


def test_round_trip(folder):
    path, model, config = folder
    loaded, described = load_model_folder(path)
    assert described.model_copy(update={"weights_sha256": ""}) == config
    signal = torch.randn(2, 12, 50)
    assert torch.equal(loaded(signal), model.eval()(signal))
    assert (path / "README.md").read_text() == "card"
    assert sorted(file.name for file in path.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_a_model_is_found_in_its_folder_and_in_the_folder_of_a_run(folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    assert find_model(run) == run  # nothing is there: the error names what was asked for
    folder[0].rename(run / "model")
    assert find_model(run) == find_model(str(run / "model")) == run / "model"


def test_an_encoder_alone(tmp_path):
    config = description()
    save_model(tmp_path / "e", VisionTransformer(config.encoder), config, "card")
    loaded, _ = load_model_folder(tmp_path / "e")
    assert isinstance(loaded, VisionTransformer)


def test_one_changed_byte_is_noticed(folder):
    path, _, _ = folder
    weights = path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(ModelFolderError, match="damaged or was replaced"):
        load_model_folder(path)


def test_weights_of_another_architecture_are_refused(folder):
    path, _, _ = folder
    content = json.loads((path / "config.json").read_text())
    content["encoder"]["depth"] = 2
    (path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ModelFolderError, match=r"does not fit config\.json"):
        load_model_folder(path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format_version": 9}, "format version 9; this ecgjepa reads version 1, 2 and 3"),
        ({"surprise": 1}, "surprise: no such key"),
        ({"encoder": {"dim": 8}}, "encoder.depth"),
    ],
)
def test_wrong_configurations_are_named(folder, change, match):
    path, _, _ = folder
    content = json.loads((path / "config.json").read_text()) | change
    (path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ModelFolderError, match=match):
        read_model_config(path)


def test_missing_parts(folder, tmp_path):
    path, _, _ = folder
    (path / "model.safetensors").unlink()
    with pytest.raises(ModelFolderError, match=r"model\.safetensors is missing"):
        load_model_folder(path)
    (path / "config.json").write_text("{")
    with pytest.raises(ModelFolderError, match="damaged"):
        load_model_folder(path)
    with pytest.raises(ModelFolderError, match="no model folder at"):
        load_model_folder(tmp_path / "none")
    with pytest.raises(ModelFolderError, match="is no model folder"):
        load_model_folder(tmp_path)


def test_importing_the_package_does_not_import_torch():
    code = "import sys, ecgjepa, ecgjepa.store.reading; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def known(folder, rng):
    """The same folder with the distribution of some features."""
    path, model, config = folder
    distribution = fit_distribution(rng.standard_normal((50, 8)) * 3 + 1)
    facts = DistributionConfig(records=50, shrinkage=distribution.shrinkage, threshold=1.5)
    save_model(
        path,
        model,
        config.model_copy(update={"distribution": facts}),
        "card",
        distribution=distribution,
    )
    return path, distribution


def test_round_trip_of_a_distribution(known, rng):
    path, distribution = known
    _, config = load_model_folder(path)
    assert (config.distribution.records, config.distribution.threshold) == (50, 1.5)
    loaded = load_distribution(path, config)
    features = rng.standard_normal((5, 8))
    np.testing.assert_array_equal(loaded.distances(features), distribution.distances(features))
    assert loaded.shrinkage == distribution.shrinkage
    assert loaded.factor.dtype == np.float64


def test_a_folder_saved_again_without_it_has_none(known, folder):
    path, model, config = folder
    save_model(path, model, config, "card")
    _, described = load_model_folder(path)
    assert load_distribution(path, described) is None
    assert not (path / DISTRIBUTION_FILE).exists()


def test_a_damaged_or_missing_distribution_is_named(known):
    path, _ = known
    file = path / DISTRIBUTION_FILE
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelFolderError, match=r"distribution\.safetensors: is damaged or was rep"):
        load_model_folder(path)
    file.unlink()
    with pytest.raises(ModelFolderError, match=r"distribution\.safetensors is missing"):
        load_model_folder(path)


@pytest.mark.parametrize("content", [b"no safetensors", None])
def test_a_distribution_that_does_not_fit_is_named(known, content):
    """Its hash is right, so somebody wrote it on purpose."""
    path, distribution = known
    file = path / DISTRIBUTION_FILE
    if content is None:
        write_distribution(file, distribution._replace(mean=np.zeros(7)))
    else:
        file.write_bytes(content)
    config = json.loads((path / "config.json").read_text())
    config["distribution"]["sha256"] = sha256_of_file(file)
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFolderError, match=r"distribution\.safetensors: (is damaged|does not)"):
        load_model_folder(path)
