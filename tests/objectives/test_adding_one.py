"""An objective of one's own: one class in one file, and a line in the build table."""

import json
import re
from typing import NamedTuple

import numpy as np
import pytest
import torch
from conftest import SMALL_MODEL, write_ptb_xl
from torch import nn

import ecgjepa
from ecgjepa.config import load_preset
from ecgjepa.errors import CollapseError, ConfigError
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.objectives.build import OBJECTIVES, objective_of
from ecgjepa.objectives.costs import Flops, Parameters
from ecgjepa.objectives.encoder_costs import (
    encoder_parameters,
)
from ecgjepa.objectives.networks.base import ObjectiveNetworks
from ecgjepa.objectives.networks.signs import alone, collapse_signs
from ecgjepa.objectives.objective import Objective, spread_sign
from ecgjepa.objectives.words import Panel, Picture, Sign, Span
from ecgjepa.pretraining.loop import pretrain
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.prepare import prepare

FAST = [
    *SMALL_MODEL,
    "objective=turned",
    "train.steps=6",
    "train.warmup_steps=2",
    "train.log_every=2",
    "train.checkpoint_every=4",
]


class TurnedOutput(NamedTuple):
    loss: torch.Tensor
    features: torch.Tensor
    right: torch.Tensor

    def signs(self, mean=alone):
        found = collapse_signs(self.features, mean_over_processes=mean)
        return {"spread": found.spread, "right_side_up": float(mean(self.right))}


class TurnedNetworks(ObjectiveNetworks):
    """Tells whether a record was turned upside down."""

    def __init__(self, encoder) -> None:
        super().__init__()
        self.encoder = VisionTransformer(encoder)
        self.head = nn.Linear(encoder.dim, 1)

    def forward(self, signal, turned):
        features = self.encoder(signal * (1 - 2 * turned)[:, None, None])
        guess = self.head(features.mean(dim=1))[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(guess, turned)
        right = ((guess > 0) == (turned > 0.5)).float().mean()
        return TurnedOutput(loss, features.detach(), right)

    @property
    def encoder_to_keep(self):
        return self.encoder

    def update_target(self, momentum: float) -> None:
        """There is no target encoder."""


class TurnedObjective(Objective):
    name = "turned"
    title = "turned records"
    source = "this test"
    others = "a head"
    kept_weights = "the encoder that learned up from down"
    loss_note = "The loss says whether up is told from down."
    advice = "Turn the records the other way"
    unsure = 0.0  # share of right answers below which this calls it a collapse

    def draw(self, seed, step, part, *, size):
        rng = np.random.default_rng([seed, 99, step, part])
        return (torch.from_numpy(rng.integers(0, 2, size).astype(np.float32)),)

    def networks(self):
        return TurnedNetworks(self.config.encoder)

    @property
    def loss_name(self):
        return "cross-entropy of up and down"

    @property
    def signs(self):
        return (
            spread_sign(self.features, alarms=False),
            Sign(
                name="right_side_up",
                label="share of right answers",
                meaning="how often up is told from down",
                below=self.unsure,
                alarm="only {value:.0%} of the answers are right",
                least=0,
                most=1,
            ),
        )

    def picture(self):
        return Picture(caption="Turned.", panels=(Panel(spans=(Span(start=0.0, end=1.0),)),))

    def parameters(self):
        return Parameters(encoder_parameters(self.config), self.config.encoder.dim + 1, 0)

    def flops(self):
        return Flops(12.0, 0.0, 1.0)

    def input_bytes(self):
        return 4

    def activation_bytes(self, numbers):
        return 1000.0 * numbers.size


@pytest.fixture
def table(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "turned", TurnedObjective)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("turned")
    source = write_ptb_xl(folder / "source", records=30, seconds=3.0)
    prepare(
        {"ptb-xl": source}, folder / "store", preprocessing=PreprocessingConfig(sampling_rate=100.0)
    )
    return folder / "store"


def metrics(run) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_it_trains_resumes_and_is_reported(table, store, tmp_path, caplog):
    with caplog.at_level("INFO", "ecgjepa"):
        run = pretrain(store, tmp_path / "run", overrides=FAST)
    assert "turned: encoder" in caplog.text
    assert "parameters, a head 17, on cpu" in caplog.text
    lines = metrics(run)
    assert [(line["step"], line["collapsed"]) for line in lines] == [
        (2, False),
        (4, False),
        (6, False),
    ]
    assert all(0 <= line["right_side_up"] <= 1 for line in lines)

    # Its encoder is found in a checkpoint and in the model folder, whose card says what it is.
    in_checkpoint, config = load_encoder(run / "checkpoints/step-000006")
    at_the_end, _ = load_encoder(run)
    assert config.pretraining.objective == "turned"
    for name, values in at_the_end.state_dict().items():
        assert torch.equal(values, in_checkpoint.state_dict()[name])
    card = (run / "model/README.md").read_text()
    assert "pre-trained with turned records" in card
    assert "Weights: the encoder that learned up from down." in card

    page = ecgjepa.report([run], tmp_path / "page.html").read_text()
    text = " ".join(re.sub(r"<[^>]+>", " ", page.partition("</style>")[2]).split())
    assert "ECG representations learned with turned records" in text
    assert "Pre-trained with turned records (this test): 6 steps" in text
    assert "The loss says whether up is told from down." in text
    assert "no sign of collapse at any of 3 logged steps" in text
    assert "how often up is told from down" in text
    for word in ("JEPA", "mean absolute error", "predictor", "target"):
        assert word not in text


def test_a_run_that_was_cut_is_the_whole_one(table, store, tmp_path, monkeypatch):
    whole = pretrain(store, tmp_path / "whole", overrides=FAST)
    calls = []

    def stop(self, momentum):
        calls.append(momentum)
        if len(calls) == 5:
            raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(TurnedNetworks, "update_target", stop)
        with pytest.raises(InterruptedError):
            pretrain(store, tmp_path / "cut", overrides=FAST)
    cut = pretrain(store, tmp_path / "cut", overrides=FAST)
    name = "checkpoints/step-000006/weights.safetensors"
    assert (cut / name).read_bytes() == (whole / name).read_bytes()


def test_it_is_watched(table, store, tmp_path, monkeypatch):
    monkeypatch.setattr(TurnedObjective, "unsure", 2.0)
    stop = [*FAST, "train.stop_on_collapse=true"]
    with pytest.raises(CollapseError, match=r"step 6: .* the answers are right\. .*other way"):
        pretrain(store, tmp_path / "run", overrides=stop)
    assert [line["collapsed"] for line in metrics(tmp_path / "run")] == [True] * 3
    page = ecgjepa.report([tmp_path / "run"], tmp_path / "page.html").read_text()
    assert "Signs of collapse at 3 of 3 logged steps, first at step 2." in page
    assert "If they last: turn the records the other way." in page


def test_it_is_planned(table):
    found = ecgjepa.plan("tiny", overrides=FAST, tflops=1)
    config = load_preset("tiny", FAST)
    networks = objective_of(config).networks()
    assert found.parameters.trained == sum(part.numel() for part in networks.parameters())
    assert found.flops.total == 13
    assert found.record_bytes.device == 2 * config.data.window_samples * 12 + 8 + 4
    casts = 2 * found.parameters.trained
    assert found.memory.activations == 8 * 1000 * 2 + casts  # in bfloat16
    assert found.speed.seconds > 0


def test_its_rate_is_measured(table, store, short_timing):
    found = ecgjepa.plan("tiny", overrides=FAST, store=store, measure=True, device="cpu")
    assert found.speed.records_per_second > 0


def test_without_the_line_in_the_table_it_is_unknown(store, tmp_path):
    message = (
        r"objective: unknown name, found 'turned'; expected one of jepa, salt, simclr, byol, mae"
    )
    with pytest.raises(ConfigError, match=message):
        pretrain(store, tmp_path / "run", overrides=FAST)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=message):
        ecgjepa.plan("tiny", overrides=FAST)


def test_what_it_does_not_support_is_refused(table):
    with pytest.raises(ConfigError, match=r"turned works neither with encoder\.lead_patches"):
        ecgjepa.plan("tiny", overrides=[*FAST, "encoder.lead_patches=true"])
