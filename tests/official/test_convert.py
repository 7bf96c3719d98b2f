"""Runs and model folders of ours become official checkpoints, and the other way round."""

import json
import shutil
import sys

import official_code
import official_setup as setup
import pytest
import torch
from conftest import SMALL_MODEL, write_ptb_xl

import ecgjepa
from ecgjepa import cli
from ecgjepa.config import load_preset
from ecgjepa.databases.paper_statistics import PAPER_STATISTICS
from ecgjepa.errors import (
    CheckpointError,
    ConfigError,
    DatabaseError,
    ModelFolderError,
    OfficialCheckpointError,
    TaskError,
)
from ecgjepa.model.folder import load_model_folder
from ecgjepa.official.checkpoint import OfficialCheckpoint, read_official, write_official
from ecgjepa.official.config import to_official_config
from ecgjepa.official.convert import convert, load_official_jepa
from ecgjepa.protocols.encoders import load_encoder, untrained_encoder
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.tasks.leakage import refuse_leak

FAST = [
    *SMALL_MODEL,
    "train.steps=4",
    "train.warmup_steps=1",
    "train.checkpoint_every=2",
    "train.precision=float32",
    "train.normalise_targets=false",
    "data.normalisation=paper",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("convert")
    source = write_ptb_xl(folder / "ptb-xl", records=60, seconds=2.0)
    ecgjepa.prepare(
        {"ptb-xl": source},
        store=folder / "store",
        preprocessing=PreprocessingConfig(sampling_rate=100.0),
    )
    return ecgjepa.pretrain(folder / "store", folder / "run", overrides=FAST)


@pytest.fixture
def official_file(tmp_path):
    weights = setup.seeded_weights(official_code.shapes_of("tiny"))
    config = to_official_config(setup.parity_config("tiny"))
    checkpoint = OfficialCheckpoint(config, weights, step=30_000, optimizer={})
    return write_official(tmp_path / "chkpt_30000.pt", checkpoint)


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_an_official_checkpoint_becomes_a_model_folder(official_file, tmp_path):
    folder = convert(official_file, tmp_path / "model")
    encoder, config = load_encoder(folder)
    original = read_official(official_file)
    assert same(encoder.state_dict(), original.network("target_encoder"))
    assert config.preprocessing == PreprocessingConfig()
    assert (config.normalisation.mean, config.normalisation.std) == PAPER_STATISTICS["ptb-xl"]
    assert config.normalisation.clip == 5
    facts = config.pretraining
    assert (facts.steps, facts.seed) == (30_000, None)
    assert facts.folds == {"ptb-xl": (1, 2, 3, 4, 5, 6, 7, 8)}
    assert facts.records == {"ptb-xl": 17_439}
    card = (folder / "README.md").read_text()
    assert "the target encoder of chkpt_30000.pt" in card
    assert "after 30,000 steps on ptb-xl; byte for byte" in card
    assert "the constants published for ptb-xl" in card
    assert untrained_encoder(config).config == encoder.config


def test_the_folds_of_the_paper_count_as_seen(official_file, tmp_path):
    _, config = load_encoder(convert(official_file, tmp_path / "model"))
    refuse_leak(config, "ptb-xl", ecgjepa.Split((1,), (9,), (10,)))
    with pytest.raises(TaskError, match="was pre-trained on folds"):
        refuse_leak(config, "ptb-xl", ecgjepa.Split((1,), (2,), (10,)))


def test_constants_of_another_database(official_file, tmp_path):
    folder = convert(official_file, tmp_path / "m", database="mimic-iv-ecg")
    assert load_encoder(folder)[1].normalisation.std == PAPER_STATISTICS["mimic-iv-ecg"].std
    with pytest.raises(DatabaseError, match="no normalisation constants for 'clinic'; expected"):
        convert(official_file, tmp_path / "n", database="clinic")


def test_constants_follow_the_order_of_the_leads(official_file, tmp_path):
    checkpoint = read_official(official_file)
    leads = list(reversed(checkpoint.config["channels"]))
    write_official(
        official_file, checkpoint._replace(config={**checkpoint.config, "channels": leads})
    )
    _, config = load_encoder(convert(official_file, tmp_path / "m"))
    assert config.preprocessing.leads == tuple(reversed(PreprocessingConfig().leads))
    assert config.normalisation.std == PAPER_STATISTICS["ptb-xl"].std[::-1]


def test_all_three_networks_are_at_hand_in_python(official_file):
    jepa, config = load_official_jepa(official_file)
    assert same(jepa.state_dict(), read_official(official_file).weights)
    expected = setup.parity_config("tiny")
    assert (config.encoder, config.predictor) == (expected.encoder, expected.predictor)
    minified = official_file.with_name("min.pt")
    whole = read_official(official_file)
    kept = {k: v for k, v in whole.weights.items() if k.startswith("target_encoder.")}
    write_official(minified, OfficialCheckpoint(whole.config, kept))
    with pytest.raises(OfficialCheckpointError, match="the target encoder alone, no predictor"):
        load_official_jepa(minified)


def test_there_and_back(official_file, tmp_path):
    """What the folder keeps comes back bit by bit, the official configuration included."""
    original = read_official(official_file)
    back = read_official(convert(convert(official_file, tmp_path / "m"), tmp_path / "b.pt"))
    assert back.config == original.config
    assert same(back.network("target_encoder"), original.network("target_encoder"))
    assert (back.is_complete, back.step) == (False, None)
    folder = convert(tmp_path / "b.pt", tmp_path / "again")
    assert "after an unknown number of steps" in (folder / "README.md").read_text()


def test_a_run_becomes_a_complete_official_checkpoint(run, tmp_path, caplog):
    found = read_official(convert(run, tmp_path / "run.pt"))
    assert not caplog.records
    assert (found.step, found.is_complete) == (4, True)
    jepa, config = load_official_jepa(tmp_path / "run.pt")
    assert same(jepa.target_encoder.state_dict(), load_encoder(run)[0].state_dict())
    assert config.data.weights == {"ptb-xl": 1.0}
    assert config.train.steps == 4
    earlier = read_official(convert(run / "checkpoints/step-000002", tmp_path / "2.pt"))
    assert earlier.step == 2


def test_settings_that_would_be_lost_are_named(run, tmp_path, caplog):
    changed = tmp_path / "run"
    shutil.copytree(run, changed)
    text = (changed / "config.yaml").read_text()
    for old, new in (
        ("targets: false", "targets: true"),
        ("with-replacement", "shuffle"),
        ("normalisation: paper", "normalisation: store"),
    ):
        assert old in text
        text = text.replace(old, new)
    (changed / "config.yaml").write_text(text)
    convert(changed, tmp_path / "c.pt")
    lost = "no data.normalisation=store, data.sampling=shuffle, train.normalise_targets=True"
    assert lost in caplog.text


def test_a_model_folder_becomes_a_target_encoder(run, tmp_path):
    found = read_official(convert(run / "model", tmp_path / "m.pt"))
    assert same(found.network("target_encoder"), load_encoder(run)[0].state_dict())
    assert found.config["channel_size"] == 1000
    assert found.config["datasets"] == {"ptb-xl": 1.0}
    assert found.config["steps"] is None
    again = load_model_folder(convert(tmp_path / "m.pt", tmp_path / "again"))[0]
    assert same(again.state_dict(), load_encoder(run)[0].state_dict())


def test_registers_may_be_absent(tmp_path):
    config = load_preset("paper-vit-xs-ptbxl", ["encoder.num_registers=0", *FAST])
    official = to_official_config(config)
    from ecgjepa.objectives.networks.jepa import Jepa

    jepa = Jepa(config.encoder, config.predictor)
    path = write_official(tmp_path / "a.pt", OfficialCheckpoint(official, jepa.state_dict()))
    assert "encoder.registers" not in torch.load(path, weights_only=True)["model"]
    assert same(load_official_jepa(path)[0].state_dict(), jepa.state_dict())
    encoder, _ = load_encoder(convert(path, tmp_path / "m"))
    assert same(encoder.state_dict(), jepa.target_encoder.state_dict())


def test_wrong_use_is_named(official_file, run, tmp_path):
    with pytest.raises(ConfigError, match=r"exactly one of the two must end with \.pt"):
        convert(official_file, tmp_path / "x.pt")
    with pytest.raises(ConfigError, match=r"exactly one of the two must end with \.pt"):
        convert(run, tmp_path / "x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("all my work")
    with pytest.raises(ModelFolderError, match="exists and is not a model folder"):
        convert(official_file, tmp_path / "full")
    assert (tmp_path / "full/thesis.txt").read_text() == "all my work"
    with pytest.raises(ModelFolderError, match="is no model folder"):
        convert(tmp_path / "full", tmp_path / "x.pt")
    (tmp_path / "empty/checkpoints").mkdir(parents=True)
    with pytest.raises(ModelFolderError, match="no undamaged checkpoint yet"):
        convert(tmp_path / "empty", tmp_path / "x.pt")
    (tmp_path / "empty/checkpoints/step-000001").mkdir()
    with pytest.raises(CheckpointError, match=r"hashes\.json is missing"):
        convert(tmp_path / "empty/checkpoints/step-000001", tmp_path / "x.pt")


def test_a_classifier_is_refused(tmp_path):
    from model.test_folder import description

    from ecgjepa.model.encoders.vision_transformer import VisionTransformer
    from ecgjepa.model.folder import save_model
    from ecgjepa.model.heads import Classifier, HeadConfig, build_head
    from ecgjepa.model.outputs import TaskConfig

    config = description(
        head=HeadConfig(kind="mean", num_labels=1),
        task=TaskConfig(name="t", kind="multi-label", labels=("A",), descriptions=("a",)),
    )
    encoder = VisionTransformer(config.encoder)
    save_model(tmp_path / "m", Classifier(encoder, build_head(config.head, encoder)), config, "")
    with pytest.raises(ModelFolderError, match="is a classifier; only encoders"):
        convert(tmp_path / "m", tmp_path / "x.pt")


def test_the_command(official_file, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "model"
    for words in (
        ("--from", official_file, "--to", folder, "--database", "ptb-xl"),
        ("--from", folder, "--to", tmp_path / "back.pt"),
    ):
        monkeypatch.setattr(sys, "argv", ["ecgjepa", "convert", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code
    assert capsys.readouterr().out == f"{folder}\n{tmp_path / 'back.pt'}\n"
    assert json.loads((folder / "config.json").read_text())["pretraining"]["steps"] == 30_000


# ---------------------------------------------------------------- with the official code


def test_the_official_code_continues_our_run(official, run, tmp_path):
    """Networks and AdamW's state arrive: after one more step all weights are the same."""
    path = convert(run / "checkpoints/step-000002", tmp_path / "c.pt")
    content = torch.load(path, weights_only=True)  # as `pretrain.py --chkpt` does
    config = official.configs.pretrain.Config(**content["config"])
    theirs = official.models.JEPA(config, iter([1.0]))
    theirs.load_state_dict(content["model"])
    their_optimizer = theirs.get_optimizer()
    their_optimizer.load_state_dict(content["optimizer"])

    from ecgjepa.pretraining.checkpoint import restore_checkpoint
    from ecgjepa.pretraining.loop import initial_networks
    from ecgjepa.pretraining.optim import build_optimizer, set_hyper_parameters
    from ecgjepa.pretraining.run import read_run_config

    settings = read_run_config(run)
    ours = initial_networks(settings)
    optimizer = build_optimizer(ours, settings.train)
    restore_checkpoint(run / "checkpoints/step-000002", ours, optimizer)

    signal = torch.randn(4, 12, 200)
    index = torch.arange(20).expand(4, -1)
    batch = (signal, index[:, :5], index[:, 5:])
    loss, their_loss = ours(*batch).loss, theirs(*batch)
    torch.testing.assert_close(loss, their_loss, rtol=0, atol=1e-6)
    loss.backward()
    their_loss.backward()
    set_hyper_parameters(optimizer, learning_rate=1e-3, weight_decay=0.05)
    official.schedules.update_learning_rate_(their_optimizer, 1e-3)
    official.schedules.update_weight_decay_(their_optimizer, 0.05)
    optimizer.step()
    their_optimizer.step()
    pairs = zip(theirs.predictor.parameters(), ours.predictor.parameters(), strict=True)
    for their_weight, weight in pairs:
        torch.testing.assert_close(their_weight, weight, rtol=0, atol=1e-6)


def test_a_file_written_by_the_official_code_is_read(official, tmp_path):
    """Written as `pretrain.py` and `minify_pretrained_checkpoint.py` do."""
    import dataclasses

    model = official_code.build_official(official, "b-like")
    optimizer = model.get_optimizer()
    model(*setup.batch_of("b-like", 0)).backward()
    optimizer.step()
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "config": dataclasses.asdict(model.config),
        "step": 1,
    }
    torch.save(content, tmp_path / "chkpt_1.pt")
    jepa, _ = load_official_jepa(tmp_path / "chkpt_1.pt")
    batch = setup.batch_of("b-like", 1)
    model.momentum_schedule = iter([1.0])
    torch.testing.assert_close(jepa(*batch).loss, model(*batch), rtol=0, atol=1e-6)

    kept = {k: v for k, v in content["model"].items() if k.startswith("target_encoder")}
    torch.save({"model": kept, "config": content["config"]}, tmp_path / "min.pt")
    encoder, _ = load_encoder(convert(tmp_path / "min.pt", tmp_path / "model"))
    assert same(encoder.state_dict(), jepa.target_encoder.state_dict())
