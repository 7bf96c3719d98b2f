"""Each choice beyond the paper: trains, resumes bit for bit, is counted, and can be used."""

import json
import logging

import numpy as np
import pytest
import torch
import yaml
from conftest import SMALL_MODEL, write_ptb_xl
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

import ecgjepa
from ecgjepa.config import PretrainConfig, load_preset
from ecgjepa.errors import CheckpointError, ConfigError, RecordFormatError
from ecgjepa.model import layers
from ecgjepa.model.folder import load_model_folder
from ecgjepa.objectives.build import objective_of
from ecgjepa.objectives.networks.jepa import Jepa
from ecgjepa.planning.costs import count_bytes, count_flops, count_parameters
from ecgjepa.planning.plan import plan
from ecgjepa.pretraining.loop import initial_networks, pretrain
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.sampling.inputs import draw_block_masks
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.prepare import prepare

CHOICES = {
    "smooth-l1": ["train.loss=smooth-l1"],
    "l2": ["train.loss=l2", "train.gradient_accumulation_steps=2"],
    "uniform": ["mask.sampler=uniform"],
    "learned": ["encoder.positions=learned"],
    "rotary": ["encoder.positions=rotary"],
    "lead patches": ["encoder.lead_patches=true"],
    "lead dropout": [
        "encoder.lead_patches=true",
        "train.lead_dropout=0.5",
        "train.gradient_accumulation_steps=2",
    ],
    "all": [
        "train.loss=l2",
        "mask.sampler=uniform",
        "encoder.positions=rotary",
        "encoder.lead_patches=true",
        "train.lead_dropout=0.3",
    ],
}
FAST = [
    *SMALL_MODEL,
    "encoder.num_heads=2",
    "predictor.num_heads=2",
    "train.steps=4",
    "train.warmup_steps=1",
    "train.log_every=1",
    "train.checkpoint_every=2",
    "train.keep_checkpoints=0",
]
choices = pytest.mark.parametrize("choice", CHOICES)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_ptb_xl(tmp_path_factory.mktemp("choices"), records=60, seconds=3.0)


@pytest.fixture(scope="module")
def store(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "store"
    prepare({"ptb-xl": source}, folder, preprocessing=PreprocessingConfig(sampling_rate=100.0))
    return folder


@pytest.fixture(scope="module")
def lead_run(store, tmp_path_factory):
    """A run with per-lead patches."""
    overrides = [*FAST, *CHOICES["all"]]
    return pretrain(store, tmp_path_factory.mktemp("lead") / "run", overrides=overrides)


def final(run) -> tuple[dict[str, torch.Tensor], list[float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return load_file(run / "checkpoints/step-000004/weights.safetensors"), [
        line["loss"] for line in lines
    ]


@choices
def test_a_run_resumes_bit_for_bit(store, tmp_path, monkeypatch, choice):
    overrides = [*FAST, *CHOICES[choice]]
    whole = pretrain(store, tmp_path / "whole", overrides=overrides)
    with monkeypatch.context() as patch:
        real, calls = Jepa.update_target, []

        def update(self, momentum):
            real(self, momentum)
            calls.append(momentum)
            if len(calls) == 3:
                raise InterruptedError

        patch.setattr(Jepa, "update_target", update)
        with pytest.raises(InterruptedError):
            pretrain(store, tmp_path / "cut", overrides=overrides)
    cut = pretrain(store, tmp_path / "cut", overrides=overrides)
    (weights, losses), (cut_weights, cut_losses) = final(whole), final(cut)
    assert losses == cut_losses
    assert len(losses) == 4
    assert np.isfinite(losses).all()
    assert weights.keys() == cut_weights.keys()
    assert all(torch.equal(value, cut_weights[name]) for name, value in weights.items())
    # Learned tables take part in training, and the target encoder follows.
    start = initial_networks(load_preset("tiny", overrides)).state_dict()
    assert weights.keys() == start.keys()
    for name, value in weights.items():
        if "positions" in name:
            assert not torch.equal(value, start[name]), name
    # The model folder holds what was trained, whole.
    encoder, config = load_encoder(whole)
    assert config.encoder == load_preset("tiny", overrides).encoder
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, weights[f"target_encoder.{name}"])


def test_a_choice_is_part_of_what_a_run_is(store, tmp_path):
    run = pretrain(store, tmp_path / "run", overrides=FAST)
    for choice in ("l2", "uniform", "rotary", "lead patches"):
        with pytest.raises(CheckpointError, match="another configuration"):
            pretrain(store, run, overrides=[*FAST, *CHOICES[choice]])


def test_runs_and_models_from_before_the_choices_go_on(store, tmp_path, monkeypatch):
    """Their files have no such keys; the defaults are what they were computed with."""
    run = pretrain(store, tmp_path / "run", overrides=FAST)
    expected, _ = final(run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    del config["mask"]["sampler"], config["train"]["loss"], config["train"]["lead_dropout"]
    new = ("positions", "num_positions", "lead_patches")
    for key in new:
        del config["encoder"][key]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    for path in (run / "encoder.json", run / "model/config.json"):
        content = json.loads(path.read_text())
        for key in new:
            del content["encoder"][key]
        path.write_text(json.dumps(content))
    signal = torch.randn(1, 12, 200)
    encoder, _ = load_model_folder(run / "model")
    # Go on from the middle.
    for path in sorted((run / "checkpoints/step-000004").iterdir()):
        path.unlink()
    (run / "checkpoints/step-000004").rmdir()
    (run / "model").rename(tmp_path / "before")
    pretrain(store, run, overrides=FAST)
    weights, _ = final(run)
    assert all(torch.equal(value, weights[name]) for name, value in expected.items())
    assert torch.equal(encoder(signal), load_model_folder(run / "model")[0](signal))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.loss=huber"], "train.loss: Input should be 'l1', 'smooth-l1' or 'l2'"),
        (["mask.sampler=random"], "mask.sampler: Input should be 'paper' or 'uniform'"),
        (["train.lead_dropout=0.5"], "it needs encoder.lead_patches=true"),
        (["train.lead_dropout=1", "encoder.lead_patches=true"], "should be less than 1"),
        (["encoder.positions=rotary", "encoder.dim=36"], "the 9 of each head"),
        (["encoder.positions=rotary", "predictor.dim=36"], "the 9 of each head"),
        (["encoder.num_positions=25"], "num_positions 25 is for positions learned"),
        (
            ["encoder.positions=learned", "encoder.num_positions=7"],
            "encoder.num_positions is 7, but a window has 25 patches",
        ),
    ],
)
def test_what_cannot_be_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_preset("tiny", overrides)


def test_the_length_of_a_learned_table_is_filled_in_and_stays():
    config = load_preset("tiny", ["encoder.positions=learned"])
    assert config.encoder.num_positions == config.num_patches == 25
    assert PretrainConfig.model_validate(config.model_dump()) == config


# ---------------------------------------------------------------- costs


@choices
def test_parameters_are_counted_exactly(choice):
    config = load_preset("tiny", CHOICES[choice])
    with torch.device("meta"):
        jepa = Jepa(config.encoder, config.predictor)
    counted = count_parameters(config)
    assert counted.trained == sum(p.numel() for p in jepa.parameters() if p.requires_grad)
    assert counted.in_memory == sum(p.numel() for p in jepa.parameters())


@choices
def test_operations_are_those_that_pytorch_counts(monkeypatch, choice):
    monkeypatch.setattr(
        layers, "attend", lambda q, k, v: (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v
    )
    overrides = [item for item in CHOICES[choice] if "lead_dropout" not in item]
    config = load_preset("tiny", [*overrides, "encoder.depth=2", "predictor.depth=2"])
    context, target = draw_block_masks(config, 0, 0, 0, size=1)
    jepa = Jepa(config.encoder, config.predictor)
    with FlopCounterMode(display=False) as counter:
        jepa(torch.randn(1, 12, 250), context, target).loss.backward()
    visible = context.shape[1] / config.encoder.tokens_per_patch
    counted = objective_of(config).flops_with(visible).total
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.02)
    assert count_bytes(config).device == 250 * 12 * 2 + 8 * (1 + context.numel() + target.numel())


def test_dropped_leads_cost_the_context_encoder_nothing():
    whole = count_flops(load_preset("tiny", CHOICES["lead patches"]))
    half = count_flops(load_preset("tiny", CHOICES["lead dropout"]))
    assert half.target_encoder == whole.target_encoder
    assert half.context_encoder < 0.55 * whole.context_encoder
    assert half.predictor < whole.predictor


def test_a_plan_measures_what_will_be_trained(store, short_timing):
    found = plan(
        "tiny",
        overrides=[*FAST, *CHOICES["all"]],
        store=store,
        measure=True,
        device="cpu",
    )
    assert found.measured.records_at_once == 8
    assert found.speed.seconds > 0


# ---------------------------------------------------------------- use


@pytest.mark.parametrize("protocol", ["attentive", "linear"])
def test_a_probe_and_predictions_work_with_an_encoder_of_leads(
    lead_run, source, tmp_path, protocol
):
    overrides = ["steps=2", "validate_every=1", "batch_size=8"] if protocol == "attentive" else []
    result = ecgjepa.probe(
        lead_run,
        {"ptb-xl": source},
        tmp_path / "probe",
        task="superdiagnostic",
        protocol=protocol,
        overrides=overrides,
        cache=tmp_path / "cache",
    )
    assert 0 <= result.results["models"]["pre-trained"]["macro_auroc"][0] <= 1
    file = source / "records500/00000/00001_hr.hea"
    (prediction,) = ecgjepa.predict([file], tmp_path / "probe")
    assert prediction.error is None
    assert len(prediction.probabilities) == len(result.results["task"]["labels"])


def test_fine_tuning_works_with_an_encoder_of_leads(lead_run, source, tmp_path):
    result = ecgjepa.finetune(
        lead_run,
        {"ptb-xl": source},
        tmp_path / "tuned",
        task="superdiagnostic",
        protocol="finetune",
        overrides=["steps=2", "validate_every=2", "batch_size=8", "layer_decay=0.7"],
        from_scratch=False,
        cache=tmp_path / "cache",
    )
    assert result.results["settings"]["layer_decay"] == 0.7


def test_some_leads_are_embedded_without_the_others(lead_run, source, tmp_path):
    from conftest import toy_ecg, write_wfdb

    digital = toy_ecg(np.random.default_rng(3))
    whole = write_wfdb(tmp_path / "whole.hea", digital)
    two = write_wfdb(tmp_path / "two.hea", digital[:, [1, 7]], leads=("II", "V2"))
    from_whole = ecgjepa.embed([whole], lead_run, leads=("II", "V2"))
    from_two = ecgjepa.embed([two], lead_run, leads=("II", "V2"))
    assert from_whole.shape == (1, 16)
    assert (from_whole.index[0], from_two.index[0]) == (str(whole), str(two))
    from_whole, from_two = from_whole.to_numpy(), from_two.to_numpy()
    np.testing.assert_array_equal(from_whole, from_two)
    everything = ecgjepa.embed([whole], lead_run).to_numpy()
    np.testing.assert_allclose(ecgjepa.embed([whole], lead_run, leads=LEADS), everything, rtol=1e-5)
    assert np.abs(everything - from_whole).max() > 1e-6
    with pytest.raises(RecordFormatError, match="only 1 of 2 leads are usable: V1: not in"):
        ecgjepa.embed([two], lead_run, leads=("II", "V1"), on_bad="raise")
    with pytest.raises(RecordFormatError, match="not in the file"):
        ecgjepa.embed([two], lead_run, on_bad="raise")
    for wrong in (("II", "X"), (), ("II", "II")):
        with pytest.raises(ConfigError, match="expected some of I, II"):
            ecgjepa.embed([two], lead_run, leads=wrong)


def test_an_encoder_that_mixes_leads_embeds_them_all_or_none(store, source, tmp_path):
    run = pretrain(store, tmp_path / "run", overrides=FAST)
    files = sorted(source.glob("records500/00000/0000[12]_hr.hea"))
    rows = ecgjepa.embed(files, run)
    assert rows.shape == (2, 16)
    assert np.isfinite(rows).all(axis=None)
    with pytest.raises(ConfigError, match="cannot encode some of them"):
        ecgjepa.embed(files, run, leads=("I",))


# ---------------------------------------------------------------- official checkpoints


@pytest.mark.parametrize(
    ("choice", "name"), [("rotary", "positions"), ("learned", "positions"), ("all", "positions")]
)
def test_other_networks_have_no_official_checkpoint(store, tmp_path, choice, name):
    run = pretrain(store, tmp_path / "run", overrides=[*FAST, *CHOICES[choice]])
    for source in (run, run / "checkpoints/step-000002", run / "model"):
        with pytest.raises(ConfigError, match=rf"encoder\.{name} is .* the official code has"):
            ecgjepa.convert(source, tmp_path / "x.pt")
    assert not (tmp_path / "x.pt").exists()


def test_patches_of_leads_have_no_official_checkpoint(store, tmp_path):
    run = pretrain(store, tmp_path / "run", overrides=[*FAST, *CHOICES["lead patches"]])
    with pytest.raises(ConfigError, match=r"encoder\.lead_patches is True"):
        ecgjepa.convert(run, tmp_path / "x.pt")


def test_training_settings_that_the_official_code_lacks_are_named(store, tmp_path, caplog):
    run = pretrain(
        store,
        tmp_path / "run",
        overrides=[*FAST, "train.loss=l2", "mask.sampler=uniform", "jepa.variance=0.5"],
    )
    with caplog.at_level(logging.WARNING):
        ecgjepa.convert(run, tmp_path / "x.pt")
    assert "mask.sampler=uniform" in caplog.text
    assert "train.loss=l2" in caplog.text
    assert "jepa.variance=0.5" in caplog.text
