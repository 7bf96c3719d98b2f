"""Every encoder, under every objective, from a store to probabilities."""

import json

import pytest
from conftest import write_ptb_xl

import ecgjepa
from ecgjepa.errors import ConfigError

S4D = [
    "encoder.architecture=s4d",
    "encoder.patch_size=10",
    "encoder.dim=16",
    "encoder.depth=2",
    "encoder.num_heads=2",
    "encoder.state_dim=4",
]
SHORT = ["train.steps=2", "train.warmup_steps=1", "train.batch_size=4"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_ptb_xl(tmp_path_factory.mktemp("source") / "ptb-xl", records=40, seconds=5.0)


@pytest.fixture(scope="module")
def store(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "store"
    preprocessing = ecgjepa.PreprocessingConfig(sampling_rate=100.0)
    ecgjepa.prepare({"ptb-xl": source}, out, preprocessing=preprocessing)
    return out


@pytest.mark.parametrize(
    ("preset", "encoder"),
    [
        ("tiny", S4D),
        ("tiny-simclr", S4D),
        ("tiny-byol", S4D),
        ("tiny-mae", S4D),
        ("tiny", ["encoder.stem=convolutional", "encoder.dim=16", "encoder.depth=1"]),
        # Windows twice as long as those of the evaluation, as the paper's are four times.
        ("tiny", ["data.window_seconds=5", "encoder.dim=16", "encoder.depth=1"]),
        ("tiny", ["encoder.architecture=xresnet", "encoder.dim=16", "encoder.depth=1"]),
    ],
)
def test_an_encoder_is_trained_and_read(preset, encoder, store, source, tmp_path):
    run = ecgjepa.pretrain(store, tmp_path / "run", preset=preset, overrides=[*encoder, *SHORT])
    found = ecgjepa.probe(
        run, {"ptb-xl": source}, task="superdiagnostic", protocol="linear", out=tmp_path / "probe"
    )
    assert found is not None
    file = next((source / "records500").rglob("*.hea"))
    window = json.loads((run / "model/config.json").read_text())["window"]
    assert window == {"seconds": 2.5, "stride_seconds": 1.25}
    (prediction,) = ecgjepa.predict([file], tmp_path / "probe")
    assert prediction.error is None
    if encoder is S4D and preset == "tiny":
        with pytest.raises(ConfigError, match="num_registers"):
            ecgjepa.finetune(run, {"ptb-xl": source}, protocol="finetune")
