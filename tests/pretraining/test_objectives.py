"""Runs of the objectives beside JEPA: the same loop, folders, checkpoints and promises."""

import json

import pytest
import torch
from conftest import SMALL_MODEL, write_ptb_xl
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from ecgjepa.config import load_preset
from ecgjepa.errors import CheckpointError, ConfigError
from ecgjepa.model import layers
from ecgjepa.objectives.build import OBJECTIVES, objective_of
from ecgjepa.objectives.networks.byol import Byol
from ecgjepa.objectives.networks.mae import Mae
from ecgjepa.objectives.networks.simclr import SimClr
from ecgjepa.objectives.words import read_words
from ecgjepa.official.convert import convert
from ecgjepa.planning.costs import count_flops, count_parameters
from ecgjepa.planning.plan import plan
from ecgjepa.pretraining.loop import pretrain
from ecgjepa.protocols.encoders import load_encoder, untrained_encoder
from ecgjepa.sampling.batches import BatchReader
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.prepare import prepare
from ecgjepa.store.reading import Store

FAST = [
    *SMALL_MODEL,
    "train.steps=6",
    "train.warmup_steps=2",
    "train.log_every=2",
    "train.checkpoint_every=3",
    "train.keep_checkpoints=0",
]
CLASSES = {"simclr": SimClr, "byol": Byol, "mae": Mae}
SIGNS = {"simclr": "uniformity", "byol": "negative_similarity", "mae": "reconstruction_r2"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objectives")
    source = write_ptb_xl(folder / "source", records=30, seconds=3.0)
    prepare(
        {"ptb-xl": source}, folder / "store", preprocessing=PreprocessingConfig(sampling_rate=100.0)
    )
    return folder / "store"


def weights(run, step):
    return load_file(run / f"checkpoints/step-{step:06d}/weights.safetensors")


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("parts", [1, 2])
def test_a_run_that_was_cut_is_the_whole_one_bit_for_bit(store, tmp_path, monkeypatch, name, parts):
    overrides = [*FAST, f"train.gradient_accumulation_steps={parts}"]
    whole = pretrain(store, tmp_path / "whole", preset=f"tiny-{name}", overrides=overrides)
    real, calls = CLASSES[name].update_target, []

    def update(self, momentum):
        real(self, momentum)
        calls.append(momentum)
        if len(calls) == 5:
            raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(CLASSES[name], "update_target", update)
        with pytest.raises(InterruptedError):
            pretrain(store, tmp_path / "cut", preset=f"tiny-{name}", overrides=overrides)
    cut = pretrain(store, tmp_path / "cut", preset=f"tiny-{name}", overrides=overrides)
    assert equal(weights(cut, 6), weights(whole, 6))
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all(SIGNS[name] in line for line in lines)
    again = [json.loads(line) for line in (cut / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in again] == [line["loss"] for line in lines]


@pytest.mark.parametrize("name", CLASSES)
def test_the_kept_encoder_can_be_evaluated(store, tmp_path, name):
    run = pretrain(store, tmp_path / "run", preset=f"tiny-{name}", overrides=FAST)
    encoder, config = load_encoder(run)
    assert config.pretraining.objective == name
    at_end, _ = load_encoder(run / "checkpoints/step-000006")
    assert equal(encoder.state_dict(), at_end.state_dict())
    prefix = f"{OBJECTIVES[name].kept_encoder}."
    saved = {k.removeprefix(prefix): v for k, v in weights(run, 6).items() if k.startswith(prefix)}
    assert equal(encoder.state_dict(), saved)
    start = untrained_encoder(config).state_dict()
    assert not equal(encoder.state_dict(), start)
    jepa = pretrain(store, tmp_path / "jepa", overrides=FAST)
    assert equal(untrained_encoder(load_encoder(jepa)[1]).state_dict(), start)
    assert "JEPA" not in (run / "model/README.md").read_text()
    with pytest.raises(CheckpointError, match=f"run with objective {name}; the official code"):
        convert(run, tmp_path / "official.pt")


def test_a_run_folder_from_before_there_were_objectives_goes_on(store, tmp_path):
    """Neither its config.yaml nor its encoder.json names one."""
    whole = pretrain(store, tmp_path / "run", overrides=FAST)
    before = weights(whole, 6)
    text = (whole / "config.yaml").read_text()
    old = text[text.index("data:") : text.index("augment:")]
    (whole / "config.yaml").write_text(old)
    description = json.loads((whole / "encoder.json").read_text())
    assert description["pretraining"].pop("objective") == "jepa"
    (whole / "encoder.json").write_text(json.dumps(description))
    (whole / "objective.json").unlink()
    pretrain(store, whole, overrides=FAST)  # finished: left alone
    assert not (whole / "objective.json").exists()
    for path in (whole / "checkpoints/step-000006", whole / "model"):
        path.rename(tmp_path / path.name)
    pretrain(store, whole, overrides=FAST)
    assert equal(weights(whole, 6), before)
    assert read_words(whole).title == "JEPA"
    assert load_encoder(whole / "checkpoints/step-000006")[1].pretraining.objective == "jepa"
    with pytest.raises(CheckpointError, match="objective: jepa → mae"):
        pretrain(store, whole, overrides=[*FAST, "objective=mae"])


@pytest.mark.parametrize("name", ["simclr", "mae"])
def test_processes_together_read_what_one_would(store, name):
    config = load_preset(f"tiny-{name}", FAST)
    with Store(store) as records:
        draw = objective_of(config).draw
        whole = BatchReader(records, config, draw).read(3, 0)
        shares = [
            BatchReader(records, config, draw, rank=rank, world_size=4).read(3, 0)
            for rank in range(4)
        ]
    for number, values in enumerate(whole.inputs):
        assert torch.equal(torch.cat([share.inputs[number] for share in shares]), values)


@pytest.mark.parametrize("name", [*CLASSES, "mae-lead-time", "jepa-lead-time"])
def test_costs_are_those_that_pytorch_counts(monkeypatch, name):
    # The counter knows no fused attention on CPUs.
    monkeypatch.setattr(
        layers, "attend", lambda q, k, v: (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v
    )
    objective, _, masking = name.partition("-")
    extra = [f"{objective}.masking={masking}"] if masking else []
    preset = "tiny" if objective == "jepa" else f"tiny-{objective}"
    config = load_preset(preset, ["train.batch_size=4", *extra])
    networks = objective_of(config).networks()
    inputs = objective_of(config).draw(0, 0, 0, size=4)
    with FlopCounterMode(display=False) as counter:
        networks(torch.randn(4, 12, 250), *inputs).loss.backward()
    counted = counter.get_total_flops()
    if objective in ("simclr", "byol"):  # of the failure signals, which no loss needs
        width = getattr(config, objective).projection_dim
        counted -= 2 * 2 * 4 * 4 * width
    assert 4 * count_flops(config).total == pytest.approx(counted, rel=0.005)
    parameters = count_parameters(config)
    assert parameters.in_memory == sum(p.numel() for p in networks.parameters())
    assert parameters.trained == sum(p.numel() for p in networks.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", CLASSES)
def test_plan_knows_every_objective(name):
    found = plan(f"tiny-{name}")
    assert found.flops.total > 0
    assert (found.flops.target_encoder > 0) == (name == "byol")
    assert found.memory.activations > 0


def test_objectives_are_settings_like_others():
    config = load_preset("tiny", ["objective=simclr", "simclr.temperature=0.5"])
    assert (config.objective, config.simclr.temperature) == ("simclr", 0.5)
    tiny = load_preset("tiny")
    for name in CLASSES:
        preset = load_preset(f"tiny-{name}")
        assert (preset.objective, preset.encoder, preset.data) == (name, tiny.encoder, tiny.data)
    with pytest.raises(
        ConfigError, match=r"objective: .*found 'moco'; expected one of jepa, salt, sim"
    ):
        plan("tiny", overrides=["objective=moco"])
    with pytest.raises(ConfigError, match="needs at least 2; found 1"):
        plan("tiny-byol", overrides=["train.gradient_accumulation_steps=64"])
    with pytest.raises(ConfigError, match="hides a part of at least 2 patches"):
        plan("tiny-mae", overrides=["encoder.patch_size=250", "mae.masking=time"])
