"""Encoders and objectives of the user's own: trained, resumed bit for bit, and refused by name."""

import json
import shutil

import pytest
import torch
from conftest import SMALL_MODEL, write_ptb_xl
from torch import nn

import ecgjepa
from ecgjepa.config import load_preset
from ecgjepa.errors import ConfigError, EncoderError, ModelFolderError
from ecgjepa.model.encoders import build
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.objectives import build as objectives
from ecgjepa.objectives.build import objective_of
from ecgjepa.pretraining.run import CHECKPOINTS_FOLDER
from ecgjepa.protocols.encoders import load_encoder

OWN = [*SMALL_MODEL, "encoder.architecture=own:Cnn", "encoder.num_registers=0", "objective=louder"]
STEPS = ["train.steps=6", "train.warmup_steps=2", "train.log_every=2", "train.checkpoint_every=3"]


class Cnn(ecgjepa.Encoder):
    def __init__(self, config, *, dropout=0.0):
        super().__init__()
        self.config = config
        self.embed = nn.Conv1d(config.num_leads, config.dim, config.patch_size, config.patch_size)
        self.blocks = nn.ModuleList(nn.Linear(config.dim, config.dim) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, signal, keep_index=None, *, leads=None):
        tokens = self.embed(signal).transpose(1, 2)
        for block in self.blocks:
            tokens = tokens + self.dropout(block(tokens).relu())
        return self.norm(tokens)


class Louder(ecgjepa.OwnObjective):
    """Tells how much louder a record was made."""

    name, title = "louder", "louder records"

    def heads(self):
        return nn.Linear(self.config.encoder.dim, 1)

    def draw(self, seed, step, part, *, size):
        return (torch.rand(size, generator=self.generator(seed, step, part)),)

    def loss(self, encoder, heads, signal, factor):
        tokens = encoder(signal * (1 + factor)[:, None, None])
        return (heads(tokens.mean(1))[:, 0] - factor).square().mean(), tokens


@pytest.fixture
def known(monkeypatch):
    """Classes that are known within a test are forgotten after it."""
    monkeypatch.setattr(build, "OWN_ENCODERS", {})
    monkeypatch.setattr("ecgjepa.objectives.own.using.OWN_ENCODERS", build.OWN_ENCODERS)
    monkeypatch.setattr(objectives, "OBJECTIVES", dict(objectives.OBJECTIVES))
    monkeypatch.setattr("ecgjepa.objectives.own.using.OBJECTIVES", objectives.OBJECTIVES)


@pytest.fixture
def used(known):
    ecgjepa.use(Cnn)
    ecgjepa.use(Louder)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    source = write_ptb_xl(folder / "source", records=30, seconds=3.0)
    wanted = ecgjepa.PreprocessingConfig(sampling_rate=100.0)
    ecgjepa.prepare({"ptb-xl": source}, folder / "store", preprocessing=wanted)
    return folder / "store"


def test_both_train_and_resume_bit_for_bit(used, store, tmp_path):
    whole = ecgjepa.pretrain(store, tmp_path / "whole", overrides=[*OWN, *STEPS])
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all(0 <= line["spread"] <= 1 and line["effective_rank"] >= 0 for line in lines)
    part = tmp_path / "part"
    ecgjepa.pretrain(store, part, overrides=[*OWN, *STEPS])
    # As if it had been stopped after the first checkpoint.
    shutil.rmtree(part / "model")
    shutil.rmtree(part / CHECKPOINTS_FOLDER / "step-000006")
    ecgjepa.pretrain(store, part, overrides=[*OWN, *STEPS])
    names = ("model/model.safetensors", "objective.json")
    for name in names:
        assert (part / name).read_bytes() == (whole / name).read_bytes(), name
    card = (whole / "model/README.md").read_text()
    assert "pre-trained with louder records" in card
    assert "own:Cnn" in card
    assert "Vision Transformer" not in card
    loaded = load_encoder(whole)
    assert isinstance(loaded.encoder, Cnn)
    assert loaded.encoder.identity != ""
    at_the_end = load_encoder(whole / CHECKPOINTS_FOLDER / "step-000006").encoder.state_dict()
    for name, tensor in loaded.encoder.state_dict().items():
        assert torch.equal(tensor, at_the_end[name])


def test_an_own_objective_trains_the_encoders_of_this_package(used, store, tmp_path):
    overrides = [*SMALL_MODEL, "objective=louder", "train.steps=2", "train.warmup_steps=1"]
    run = ecgjepa.pretrain(store, tmp_path / "run", overrides=overrides)
    assert load_encoder(run).config.encoder.architecture == "vit"


def test_a_folder_is_not_opened_without_the_class(known, store, tmp_path):
    config = load_preset("tiny", OWN)
    with pytest.raises(EncoderError, match=r"code is never taken from a file: .* --use package"):
        build_encoder(config.encoder)
    with pytest.raises(ConfigError, match=r"found 'louder'.*one of your own is given as"):
        objective_of(config)
    with pytest.raises(ConfigError, match=r"expected vit, s4d, xresnet, or own:CLASS"):
        load_preset("tiny", ["encoder.architecture=vitt"])


def test_what_cannot_be_counted_is_said(used):
    config = load_preset("tiny", OWN)
    for count in (objective_of(config).parameters, objective_of(config).flops):
        with pytest.raises(ConfigError, match="objective louder is not of this package, so its"):
            count()
    config = load_preset("tiny", [*OWN, "objective=jepa"])
    for count in (objective_of(config).parameters, objective_of(config).flops):
        with pytest.raises(ConfigError, match=r"encoder\.architecture own:Cnn is not of this pack"):
            count()


def test_an_encoder_whose_tokens_are_not_as_set(used):
    for change, words in (
        ("encoder.num_registers=1", r"gives \(2, 4, 16\) .*; expected \(2, 5, 16\): 1 registers"),
        ("encoder.architecture=own:Narrow", r"gives \(2, 4, 15\)"),
        ("encoder.architecture=own:Flat", "has 0 blocks; expected 1"),
    ):

        class Narrow(Cnn):
            def forward(self, signal, keep_index=None, *, leads=None):
                return super().forward(signal)[..., 1:]

        class Flat(Cnn):
            def __init__(self, config, *, dropout=0.0):
                super().__init__(config)
                self.blocks = nn.ModuleList()

        ecgjepa.use(Narrow)
        ecgjepa.use(Flat)
        with pytest.raises(EncoderError, match=words):
            build_encoder(load_preset("tiny", [*OWN, change]).encoder)


def test_a_run_that_never_began_leaves_its_folder_free(used, store, tmp_path, monkeypatch):
    """One that cannot be made leaves no folder, one that fails in its first step an empty run."""
    run, settings = tmp_path / "run", [*OWN, *STEPS]

    class Short(Cnn):
        def __init__(self, config, *, dropout=0.0):
            super().__init__(config)
            self.blocks = self.blocks[:1]

    ecgjepa.use(Short)
    short = [*settings, "encoder.architecture=own:Short", "encoder.depth=2"]
    with pytest.raises(EncoderError, match=r"has 1 blocks; expected 2 \(--set encoder\.depth=1"):
        ecgjepa.pretrain(store, run, overrides=short)
    assert not [path.name for path in run.glob("*") if path.name != ".lock"]
    with monkeypatch.context() as patch:
        patch.setattr(Louder, "loss", lambda *_: 1.0)
        with pytest.raises(EncoderError, match="loss returns float"):
            ecgjepa.pretrain(store, run, overrides=settings)
    with pytest.raises(ModelFolderError, match="a pre-training run without its model"):
        load_encoder(run)
    ecgjepa.pretrain(store, run, overrides=[*settings, "train.seed=5"])
    assert "seed: 5" in (run / "config.yaml").read_text()
    load_encoder(run)


class NoForward(ecgjepa.Encoder):
    pass


class NoConfig(Cnn):
    def __init__(self):
        super().__init__(None)


class Untitled(Louder):
    title = None


class Louder2(Louder):
    name = "jepa"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (NoForward, "NoForward: does not define forward"),
        (NoConfig, r"cannot be made as NoConfig\(config, dropout=0\.0\)"),
        (Untitled, "its title is missing"),
        (Louder2, "JepaObjective has this name already"),
        (int, "int: expected a class, a subclass of ecgjepa.Encoder or ecgjepa.OwnObjective"),
        ("json:loads", "json:loads: expected a class"),
        ("no module", "expected package.module:name"),
    ],
)
def test_what_is_not_such_a_class_is_refused(known, code, words):
    with pytest.raises(EncoderError, match=words):
        ecgjepa.use(code)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda *_: 1.0, "loss returns float; expected a tuple"),
        (lambda *_: (torch.zeros(2), torch.zeros(3, 4)), r"the loss is a tensor of shape \(2,\)"),
        (lambda *_: (torch.zeros(()), torch.zeros(4)), r"expected a tensor \(3, dim\)"),
    ],
)
def test_a_loss_that_is_none(used, monkeypatch, loss, words):
    monkeypatch.setattr(Louder, "loss", loss)
    networks = objective_of(load_preset("tiny", OWN)).networks()
    with pytest.raises(EncoderError, match=words):
        networks(torch.zeros(3, 12, 200), torch.zeros(3))
