"""Settings of protocols: which model is trained by which, and what is refused."""

import json
import logging
import re

import numpy as np
import pandas as pd
import pytest
from small_encoders import describe

import ecgjepa
from ecgjepa.errors import ConfigError
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.model.folder import save_model
from ecgjepa.protocols.fit import _is_shown
from ecgjepa.protocols.request import request_protocol
from ecgjepa.protocols.settings import (
    FROZEN,
    PROTOCOL_NAMES,
    PROTOCOLS,
    TUNING,
    check_protocol,
    load_protocol,
    load_rival,
)

TASK = "superdiagnostic"
TINY = ["steps=4", "validate_every=2", "batch_size=8"]
# Settings that change what is learned, beyond the number of steps.
OTHERS = [*TINY, "warmup_steps=1", "learning_rate=0.01", "layer_decay=0.5", "head=attentive"]


@pytest.fixture(scope="module")
def probed(encoder, ptb_xl, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("probed") / "probe"
    return ecgjepa.probe(
        encoder, {"ptb-xl": ptb_xl}, out, task=TASK, overrides=TINY, layers=(2, 3), cache=cache
    )


def predictions_of(result, model):
    frame = pd.read_parquet(result.path / "predictions.parquet")
    rows = frame[(frame["model"] == model) & (frame["part"] == "test")]
    return rows.filter(like="probability:").to_numpy()


# ---------------------------------------------------------------- the rival from scratch


def test_the_rival_of_finetune_is_trained_by_the_same_settings(encoder, ptb_xl, cache, tmp_path):
    """It is what protocol ``scratch`` gives with the same overrides."""
    given = {"task": TASK, "overrides": OTHERS, "cache": cache}
    data = {"ptb-xl": ptb_xl}
    result = ecgjepa.finetune(encoder, data, tmp_path / "f", protocol="finetune", **given)
    scratch = ecgjepa.run_protocol(encoder, data, protocol="scratch", **given)
    np.testing.assert_array_equal(predictions_of(result, "from scratch"), scratch.outcome.test)
    results = json.loads((result.path / "results.json").read_text())
    assert results["settings"]["learning_rate"] == 0.01
    for model in results["models"].values():
        assert model["protocol"] == "finetune"
        assert model["settings"] == results["settings"] == scratch.settings


def test_the_rival_of_finetune_after_probe_has_settings_of_its_own(probed, ptb_xl, cache, tmp_path):
    result = ecgjepa.finetune(
        probed.path,
        {"ptb-xl": ptb_xl},
        tmp_path / "f",
        task=TASK,
        overrides=[*TINY, "learning_rate=0.01"],
        cache=cache,
    )
    results = json.loads((result.path / "results.json").read_text())
    tuned, rival = (results["models"][name] for name in ("pre-trained", "from scratch"))
    assert results["protocol"] == tuned["protocol"] == "finetune-after-probe"
    assert results["settings"] == tuned["settings"]
    assert tuned["settings"]["learning_rate"] == 0.01
    assert tuned["settings"]["layers"] == [2, 3]
    assert rival["protocol"] == "finetune"
    assert rival["settings"]["batch_size"] == 8
    assert rival["settings"]["warmup_steps"] == 0
    assert rival["settings"]["learning_rate"] == PROTOCOLS["finetune"].learning_rate
    # What is written is what it was trained by.
    scratch = ecgjepa.run_protocol(
        probed.path,
        {"ptb-xl": ptb_xl},
        task=TASK,
        protocol="scratch",
        overrides=[*TINY, "warmup_steps=0"],
        cache=cache,
    )
    assert scratch.settings == rival["settings"]
    np.testing.assert_array_equal(predictions_of(result, "from scratch"), scratch.outcome.test)
    page = ecgjepa.report([result.path], tmp_path / "r.html").read_text()
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "settings head attentive, steps 4, batch_size 8, learning_rate 0.01" in text
    assert "From scratch, protocol finetune: head register, steps 4, batch_size 8, lear" in text


def test_models_of_the_same_settings_are_shown_once(probed, tmp_path):
    for model in probed.results["models"].values():
        assert model["protocol"] == "attentive"
        assert model["settings"] == probed.results["settings"]
    page = ecgjepa.report([probed.path], tmp_path / "r.html").read_text()
    assert page.count("batch_size 8") == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], {"steps": 5000, "warmup_steps": 200, "patience": 2000}),
        (["steps=150"], {"steps": 150, "warmup_steps": 15}),
        (["steps=150", "warmup_steps=40"], {"steps": 150, "warmup_steps": 40}),
        (
            ["steps=9", "validate_every=3", "batch_size=7", "patience=5"],
            {"steps": 9, "validate_every": 3, "batch_size": 7, "patience": 5, "warmup_steps": 0},
        ),
        (["learning_rate=1e-5", "weight_decay=0.3", "dropout=0.2", "layer_decay=0.5"], {}),
    ],
)
def test_what_a_rival_of_finetune_after_probe_takes_over(given, expected):
    found = load_rival("finetune-after-probe", given, num_registers=1)
    own = PROTOCOLS["finetune"].model_copy(update={"steps": 5000})
    assert found == own.model_copy(update=expected)


def test_a_rival_without_registers_has_the_other_head():
    assert load_rival("finetune-after-probe", num_registers=0).head == "attentive"
    assert load_rival("finetune", ["steps=3"], num_registers=1) == load_protocol(
        "finetune", ["steps=3"]
    )


def test_a_warm_up_that_never_ends_is_said(encoder, ptb_xl, cache, caplog):
    with caplog.at_level(logging.WARNING):
        ecgjepa.run_protocol(
            encoder,
            {"ptb-xl": ptb_xl},
            task=TASK,
            protocol="scratch",
            overrides=TINY,
            cache=cache,
        )
    assert "warmup_steps is 200 of 4 steps: the learning rate never reaches its peak" in caplog.text


# ---------------------------------------------------------------- what is refused


@pytest.fixture
def no_data(tmp_path):
    """A database that is not there: whoever opens it raises another error."""
    return {"ptb-xl": tmp_path / "none"}


@pytest.fixture(scope="module")
def without_registers(tmp_path_factory):
    config = describe()
    size = config.encoder.model_copy(update={"num_registers": 0})
    folder = tmp_path_factory.mktemp("without") / "model"
    save_model(folder, VisionTransformer(size), config.model_copy(update={"encoder": size}), "card")
    return folder


@pytest.mark.parametrize(
    ("protocol", "override", "match"),
    [
        ("supervised", "layer_decay=0.9", "layer_decay is 0.9, but it tells apart the layers of a"),
        ("supervised", "head=attentive", "head is attentive, but a residual network has a head of"),
        ("supervised", "dropout=0.1", "dropout is 0.1, but the residual networks have none"),
        ("supervised", "random_crops=true", "random crops in any case; the setting is for atten"),
        ("finetune", "random_crops=false", "random_crops is False, but the encoder is trained on"),
        ("finetune-after-probe", "random_crops=true", "random_crops is True, but the encoder is"),
        ("attentive", "dropout=0.1", "dropout is 0.1, but the encoder is frozen"),
        ("attentive", "head=register", "head is register, but this protocol has no other head"),
        ("attentive", "steps=[", r"--set steps: not readable as YAML"),
    ],
)
def test_settings_that_a_protocol_cannot_follow(encoder, no_data, protocol, override, match):
    with pytest.raises(ConfigError, match=match):
        load_protocol(protocol, [override])
    with pytest.raises(ConfigError, match=match):
        ecgjepa.run_protocol(encoder, no_data, protocol=protocol, overrides=[override])


def test_settings_that_say_what_is_done_anyway():
    for name, overrides in (
        ("attentive", ["head=attentive", "dropout=0", "layer_decay=1", "random_crops=false"]),
        ("finetune-after-probe", ["head=attentive"]),
        ("supervised", ["layer_decay=1"]),
    ):
        assert load_protocol(name, overrides) == PROTOCOLS[name]


@pytest.mark.parametrize("protocol", ["linear", "knn"])
@pytest.mark.parametrize("verb", ["probe", "run_protocol", "repeat"])
def test_protocols_without_settings_take_none(encoder, no_data, tmp_path, verb, protocol):
    out = () if verb == "run_protocol" else (tmp_path / "out",)
    with pytest.raises(ConfigError, match=f"protocol {protocol} has no settings; found steps=1"):
        getattr(ecgjepa, verb)(encoder, no_data, *out, protocol=protocol, overrides=["steps=1"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"protocol": "finetune-after-probe", "probe_overrides": ["head=register"]}, "no other"),
        ({"protocol": "supervised", "network": "lenet"}, "unknown network 'lenet'"),
        ({"protocol": "supervised", "layers": (1,)}, "a residual network has none to choose from"),
    ],
)
def test_what_else_is_refused_before_data_are_opened(encoder, no_data, options, match):
    with pytest.raises(ConfigError, match=match):
        ecgjepa.run_protocol(encoder, no_data, **options)


@pytest.mark.parametrize(
    ("verb", "options", "match"),
    [
        ("repeat", {"protocol": "finetune", "layers": (1,)}, r"layers \[1\]: protocol finetune"),
        ("repeat", {"protocol": "knn", "from_scratch": False}, "protocol knn trains no encoder"),
        ("repeat", {"runs": 0}, "runs is 0 and label draws 1; expected 1 or more"),
        ("repeat", {"label_fractions": ()}, "no share of the labels is given"),
    ],
)
def test_options_that_a_verb_cannot_follow(encoder, no_data, tmp_path, verb, options, match):
    with pytest.raises(ConfigError, match=match):
        getattr(ecgjepa, verb)(encoder, no_data, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_protocols_are_checked_by_one_function():
    check_protocol("linear", FROZEN)
    with pytest.raises(ConfigError, match="unknown protocol 'finetune': expected one of attentive"):
        check_protocol("finetune", FROZEN)
    assert (*FROZEN, *TUNING, "scratch", "supervised") == PROTOCOL_NAMES


@pytest.mark.parametrize("protocol", ["finetune", "scratch"])
def test_no_register_token_to_read(without_registers, no_data, tmp_path, protocol):
    match = "num_registers of at least 1, and this one has 0; use --set head=attentive"
    with pytest.raises(ConfigError, match=match):
        ecgjepa.run_protocol(without_registers, no_data, protocol=protocol)
    if protocol == "finetune":
        with pytest.raises(ConfigError, match=match):
            ecgjepa.finetune(without_registers, no_data, tmp_path / "f", protocol=protocol)


def test_an_encoder_without_registers_is_tuned_after_a_probe(
    without_registers, ptb_xl, cache, tmp_path
):
    data, given = {"ptb-xl": ptb_xl}, {"task": TASK, "overrides": TINY, "cache": cache}
    ecgjepa.probe(without_registers, data, tmp_path / "p", **given)
    result = ecgjepa.finetune(tmp_path / "p", data, tmp_path / "f", **given)
    heads = [model["settings"]["head"] for model in result.results["models"].values()]
    assert heads == ["attentive", "attentive"]


def test_settings_of_the_probe_before_a_fine_tuning():
    request = request_protocol("finetune-after-probe", ["steps=40", "probe.steps=7"])
    assert request.settings.steps == 40
    assert request.probe.settings.steps == 7
    assert request.overrides == ("steps=40",)
    assert request.as_request()["probe_overrides"] == ("steps=7",)
    as_it_was = request_protocol("finetune-after-probe", ["steps=40"])
    assert as_it_was.probe.settings == PROTOCOLS["attentive"]
    assert set(as_it_was.as_request()) == {"protocol", "overrides", "seed", "layers"}
    for protocol in ("finetune", "attentive"):
        with pytest.raises(ConfigError, match=r"runs no probe first; found probe\.steps=7"):
            request_protocol(protocol, ["probe.steps=7"])


def test_a_fine_tuning_with_another_head_begins_as_a_probe_with_that_head(
    probed, ptb_xl, cache, tmp_path
):
    request = request_protocol("finetune-after-probe", ["head=pooled", "probe.steps=7"])
    assert (request.probe.settings.head, request.probe.settings.steps) == ("pooled", 7)
    assert load_rival("finetune-after-probe", ["head=pooled"], num_registers=1).head == "pooled"
    # An attentive probe lies there, which is not one of this head. Nothing is learned after it.
    still = ["learning_rate=1e-9", "final_learning_rate=1e-9"]
    result = ecgjepa.finetune(
        probed.path,
        {"ptb-xl": ptb_xl},
        tmp_path / "f",
        task=TASK,
        overrides=[*TINY, *still, *(f"probe.{item}" for item in TINY), "head=pooled"],
        from_scratch=False,
        cache=cache,
    )
    config = json.loads((result.path / "model/config.json").read_text())
    assert config["head"]["kind"] == "pooled"
    probe = json.loads((result.path / "probe/results.json").read_text())
    assert probe["models"]["pre-trained"]["settings"]["head"] == "pooled"
    frozen = predictions_of(result._replace(path=result.path / "probe"), "pre-trained")
    np.testing.assert_allclose(predictions_of(result, "pre-trained"), frozen, atol=2e-3)


@pytest.mark.parametrize(
    ("steps", "every", "lines"), [(5000, 100, 10), (400, 50, 8), (4, 2, 2), (3, 100, 1)]
)
def test_a_training_logs_about_ten_validations(steps, every, lines):
    config = load_protocol("attentive", [f"steps={steps}", f"validate_every={every}"])
    validated = [n for n in range(1, steps + 1) if n % every == 0 or n == steps]
    assert sum(_is_shown(done, config) for done in validated) == lines
