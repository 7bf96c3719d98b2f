"""A frozen teacher: what is predicted, that it never moves, and that what it saw stays known."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
import torch
from conftest import SMALL_MODEL, write_ptb_xl
from safetensors.torch import load_file
from small_encoders import save_encoder

import ecgjepa
from ecgjepa.config import load_preset
from ecgjepa.errors import CheckpointError, ConfigError, ModelFolderError, TaskError
from ecgjepa.model.facts import PretrainingFacts
from ecgjepa.model.folder import load_model_folder
from ecgjepa.model.layers import gather_tokens
from ecgjepa.objectives.build import objective_of
from ecgjepa.objectives.networks.salt import Salt
from ecgjepa.objectives.teacher import taken_over
from ecgjepa.planning.costs import count_parameters
from ecgjepa.pretraining.loop import initial_networks
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.tasks.leakage import refuse_leak

FAST = [*SMALL_MODEL, "train.steps=3", "train.warmup_steps=1", "train.checkpoint_every=1"]
FAST += ["train.log_every=1", "train.keep_checkpoints=0"]
# The teacher may be another network: here it is wider, and its layers are state-space ones.
TEACHER = [*FAST, "encoder.architecture=s4d", "encoder.dim=24", "encoder.state_dim=2"]


def prepared(folder, seed, folds):
    source = write_ptb_xl(folder / "source", records=30, seconds=3.0, seed=seed)
    preprocessing = ecgjepa.PreprocessingConfig(sampling_rate=100.0)
    ecgjepa.prepare({"ptb-xl": source}, folder / "store", preprocessing=preprocessing, folds=folds)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("salt"), 0, (1, 2, 3, 4))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A masked autoencoder that has seen other records, of more folds."""
    folder = prepared(tmp_path_factory.mktemp("teacher"), 1, (3, 4, 5, 6))
    return ecgjepa.pretrain(
        folder / "store", folder / "run", preset="tiny-mae", overrides=[*TEACHER, "encoder.depth=2"]
    )


@pytest.fixture(scope="module")
def settings(teacher):
    return [*FAST, "objective=salt", f"salt.teacher={teacher}"]


@pytest.fixture(scope="module")
def run(place, settings):
    return ecgjepa.pretrain(place / "store", place / "run", overrides=settings)


def test_the_loss_is_written_out_by_hand(settings, teacher):
    config = load_preset("tiny", [*settings, "train.normalise_targets=false"])
    salt = initial_networks(config)
    signal = torch.randn(4, 12, 200)
    context_index, target_index = objective_of(config).draw(0, 0, 0, size=4)
    model, _ = load_model_folder(teacher / "model")
    context = salt.context_encoder(signal, context_index)[:, 1:]
    predicted = salt.predictor(context, context_index, target_index)
    wanted = gather_tokens(model(signal), target_index)
    assert predicted.shape[2] == 24
    loss = salt(signal, context_index, target_index).loss
    torch.testing.assert_close(loss, (predicted - wanted).abs().mean())
    # The student begins as every encoder of its seed and settings.
    jepa = initial_networks(load_preset("tiny", FAST)).context_encoder.state_dict()
    for name, value in salt.context_encoder.state_dict().items():
        assert torch.equal(value, jepa[name])


def test_patches_of_single_leads_may_be_hidden_from_the_student(settings, teacher):
    config = load_preset(
        "tiny", [*settings, "train.normalise_targets=false", "jepa.masking=lead-time"]
    )
    salt = initial_networks(config)
    signal = torch.randn(4, 12, 200)
    hidden = objective_of(config).draw(0, 0, 0, size=4)
    model, _ = load_model_folder(teacher / "model")
    output = salt(signal, *hidden)
    predicted = salt.predictor(
        output.context, output.context_index, output.context_index[:, :0], with_context=True
    )
    torch.testing.assert_close(output.loss, (predicted - model(signal)).abs().mean())
    assert count_parameters(config).in_memory == sum(p.numel() for p in salt.parameters())


def test_the_teacher_never_moves_and_the_student_is_kept(run, teacher):
    saved = load_file(run / "checkpoints/step-000003/weights.safetensors")
    before, _ = load_model_folder(teacher / "model")
    for name, value in before.state_dict().items():
        assert torch.equal(saved[f"target_encoder.{name}"], value)
    student, config = load_encoder(run)
    again, _ = load_encoder(run / "checkpoints/step-000003")
    for name, value in student.state_dict().items():
        assert torch.equal(value, saved[f"context_encoder.{name}"])
        assert torch.equal(value, again.state_dict()[name])
    assert config.pretraining.teacher["objective"] == "mae"
    card = (run / "model/README.md").read_text()
    assert "Teacher: an encoder pre-trained with a masked autoencoder" in card
    assert "pre-trained with SALT" in card


def test_a_run_resumes_bit_for_bit_with_the_same_teacher_only(
    place, run, settings, teacher, tmp_path, monkeypatch
):
    calls = []

    def stop(self, momentum):
        calls.append(momentum)
        if len(calls) == 3:
            raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(Salt, "update_target", stop)
        with pytest.raises(InterruptedError):
            ecgjepa.pretrain(place / "store", tmp_path / "cut", overrides=settings)
    moved = tmp_path / "moved"
    shutil.copytree(teacher / "model", moved)
    other = ecgjepa.pretrain(place / "store", tmp_path / "other", preset="tiny-mae", overrides=FAST)
    with pytest.raises(CheckpointError, match=r"another configuration \(salt\.teacher_sha256: "):
        ecgjepa.pretrain(
            place / "store", tmp_path / "cut", overrides=[*FAST, *replaced(settings, other)]
        )
    cut = ecgjepa.pretrain(
        place / "store", tmp_path / "cut", overrides=[*FAST, *replaced(settings, moved)]
    )
    name = "checkpoints/step-000003/weights.safetensors"
    assert (cut / name).read_bytes() == (run / name).read_bytes()
    with pytest.raises(ConfigError, match=r"holds other weights \(SHA-256"):
        ecgjepa.plan(run / "config.yaml", overrides=[f"salt.teacher={other}"])


def replaced(settings, teacher):
    return [*settings[:-1], f"salt.teacher={teacher}"]


def test_what_the_teacher_saw_is_guarded(place, run, teacher):
    """The student's store has folds 1 to 4; the teacher saw 6, which may not be tested on."""
    _, config = load_encoder(run)
    assert config.pretraining.folds == {"ptb-xl": (1, 2, 3, 4, 5, 6)}
    split = ecgjepa.Split(train=(1, 2), validation=(6,), test=(7,))
    with pytest.raises(TaskError, match=r"which include \[6\] of the validation"):
        refuse_leak(config, "ptb-xl", split)
    refuse_leak(config, "ptb-xl", ecgjepa.Split(train=(1, 2), validation=(7,), test=(8,)))
    theirs, ours = (pq.read_table(folder / "model/seen.parquet") for folder in (teacher, run))
    assert set(theirs["sha256"].to_pylist()) < set(ours["sha256"].to_pylist())
    index = pq.read_table(place / "store/index.parquet")
    assert len(ours) == len(theirs) + len(index)


def facts(folds, records=None, hashed=None):
    return PretrainingFacts(
        steps=1, seed=0, store="", folds=folds, records=records or {}, hashed_folds=hashed or {}
    )


def test_what_cannot_be_told_together_is_not_known():
    student = facts({"a": (1,), "b": (1,), "c": None, "d": (2,)}, {"c": 5}, {"d": "x"})
    teacher = facts({"a": (3,), "b": None, "c": (1,), "d": (2,), "e": (4,)}, {"b": 0, "e": 7})
    found = taken_over(student, teacher, "0")
    assert found.folds == {"a": (1, 3), "b": (1,), "c": None, "d": None, "e": (4,)}
    assert found.hashed_folds == {}
    assert found.records == {"b": 0, "c": 5, "e": 7}


def test_costs_are_counted_with_the_teacher(settings):
    config = load_preset("tiny", settings)
    networks, counted = initial_networks(config), count_parameters(config)
    assert counted.trained == sum(p.numel() for p in networks.parameters() if p.requires_grad)
    assert counted.in_memory == sum(p.numel() for p in networks.parameters())
    assert ecgjepa.plan("tiny", overrides=settings).flops.target_encoder > 0


def old_folder(tmp_path):
    folder = save_encoder(tmp_path / "old", folds={"ptb-xl": (1,)})
    content = json.loads((folder / "config.json").read_text())
    content["pretraining"]["steps"] = 5
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def test_what_cannot_teach_is_refused_before_anything_is_written(
    place, settings, teacher, tmp_path
):
    run = tmp_path / "run"

    def refused(error, message, overrides):
        with pytest.raises(error, match=message):
            ecgjepa.pretrain(place / "store", run, overrides=overrides)
        assert not run.exists()

    refused(ConfigError, r"name its model folder or finished run", [*FAST, "objective=salt"])
    refused(ModelFolderError, "no model folder at", replaced(settings, tmp_path / "nothing"))
    refused(ConfigError, "written by an older ecgjepa", replaced(settings, old_folder(tmp_path)))
    refused(ConfigError, "its patch_size is 10, the", [*settings, "encoder.patch_size=20"])
    refused(
        ConfigError, "jepa.target_layers 3: the encoder has 2", [*settings, "jepa.target_layers=3"]
    )
    damaged = tmp_path / "damaged"
    shutil.copytree(teacher / "model", damaged)
    (damaged / "seen.parquet").write_bytes(b"")
    refused(ModelFolderError, "is missing or has changed", replaced(settings, damaged))
    other = tmp_path / "other"
    shutil.copytree(teacher / "model", other)
    content = json.loads((other / "config.json").read_text())
    content["preprocessing"]["highpass_hz"] = 0.5
    (other / "config.json").write_text(json.dumps(content))
    refused(
        ConfigError,
        "highpass_hz 0.5, but the store has highpass_hz None",
        replaced(settings, other),
    )
