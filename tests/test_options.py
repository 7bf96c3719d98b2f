"""What people type, however odd, ends in words and never in a traceback."""

import contextlib
import logging
import sys

import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ecgjepa import cli
from ecgjepa.cli.arguments import parse_folds, parse_fractions, parse_layers, parse_share
from ecgjepa.comparing.plan import load_plan
from ecgjepa.config import load_preset, preset_names, short_repr
from ecgjepa.config.section import describe_validation_error
from ecgjepa.errors import ConfigError


@pytest.fixture
def refused(monkeypatch, capsys):
    """Return a function that runs a command which must be refused, and returns the message."""
    before = logging.getLogger().handlers[:]

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ecgjepa", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 2
        return " ".join(capsys.readouterr().err.split())

    yield run
    logging.getLogger().handlers[:] = before


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--highpass", "300"], "highpass_hz: Input should be less than 12.5, found 300.0"),
        (["--highpass", "1e-300"], "highpass_hz: Input should be greater than"),
        (["--highpass", "nan"], "highpass_hz"),
        (["--sampling-rate", "-5"], "sampling_rate: Input should be greater than or equal to 25"),
        (["--sampling-rate", "inf"], "sampling_rate"),
        (["--sampling-rate", "1e9"], "sampling_rate"),
        (["--folds", "1-²"], "folds '1-²': expected e.g. 1-8"),
        (["--folds", "²"], "folds '²'"),
        (["--folds", "1-99999999999"], "folds '1-99999999999': expected e.g. 1-8"),
        (["--folds", "1-999999999"], "expected numbers up to 32,767"),
        (["--folds", "8-1"], "8 is above 1"),
        (["--folds", ""], "folds ''"),
        (["--shard", "1/²"], "share '1/²': expected i/n"),
    ],
)
def test_options_of_prepare(refused, tmp_path, options, match):
    (tmp_path / "a").mkdir()
    said = refused("prepare", f"x={tmp_path / 'a'}", "--store", tmp_path / "s", *options)
    assert match in said
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("text", ["last", "4-", "1-²", "600"])
def test_layers_are_called_layers(text):
    with pytest.raises(typer.BadParameter, match="layers '"):
        parse_layers(text)


def test_layers():
    assert (parse_layers(""), parse_layers("4"), parse_layers("5-8")) == ((), (4,), (5, 6, 7, 8))


def test_shares_of_the_labels_by_percent_or_share():
    assert parse_fractions("1%, 10 %,100%") == (0.01, 0.1, 1.0)
    assert parse_fractions("0.1,5e-3") == (0.1, 0.005)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("10", "10: is that percent. Write 10% or, as a share, 0.1$"),
        ("1,5,10", "1: is that percent. Write 1% or, as a share, 0.01; all are 100%"),
        ("100", "Write 100% or, as a share, 1"),
        ("1.0", "Write 1.0% or, as a share, 0.01; all are 100%"),
        ("0%", "'0%': expected percentages such as"),
        ("101%", "'101%': expected"),
        ("200", "'200': expected"),
        ("-1", "'-1': expected"),
        ("nan", "'nan': expected"),
        ("inf%", "'inf%': expected"),
        ("some", "'some': expected"),
        ("", "'': expected"),
        ("%", "'%': expected"),
    ],
)
def test_a_number_that_once_meant_percent_is_refused_with_a_hint(text, match):
    with pytest.raises(typer.BadParameter, match=match):
        parse_fractions(text)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text):
    for parse in (parse_folds, parse_layers, parse_fractions, parse_share):
        with contextlib.suppress(typer.BadParameter):
            assert all(number >= 0 for number in parse(text))


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("train.steps=2020-13-45", "--set train.steps: holds an impossible date or number"),
        ("train.steps=" + "1" * 5000, "--set train.steps: holds an impossible date or number"),
        ("train.steps=" + "[" * 5000 + "]" * 5000, "--set train.steps: not readable as YAML: nest"),
        ("train.steps=2020-01-02", "train.steps"),
        ("train.steps=!!python/object:os.system x", "not readable as YAML"),
        ("data.window_seconds=.inf", "data.window_seconds: Input should be a finite number"),
        ("data.window_seconds=1e+308", "data.window_seconds: Input should be less than"),
        ("data.window_seconds=.nan", "data.window_seconds"),
        ("data.sampling_rate=-5", "data.sampling_rate"),
        ("encoder.depth=1000000", "encoder.depth"),
        ("data.weights={a: .inf}", "data.weights.a: Input should be a finite number"),
        ("x" * 10_000 + ".a=1", "no section"),
        ("train." + "x" * 10_000 + "=1", "has no key"),
        ("x" * 10_000, "expected section.key=value"),
        ("train.loss=" + "x" * 10_000, "train.loss"),
    ],
)
def test_odd_overrides(override, match):
    with pytest.raises(ConfigError, match=match) as caught:
        load_preset("tiny", [override])
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"base: X.yaml\n", "X.yaml: is its own base, by way of"),
        (b"base: 5\n", "base is 5; expected the name of a preset"),
        (b"base: [a]\n", r"base is \['a'\]"),
        (b"# M\xfcller\n", "is not UTF-8 text"),
        (b"a: " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b"a: 2020-13-45\n", "an impossible date"),
        (b"base: tiny\ntrain: 5\n", "train is 5; expected a section with keys"),
        (b"base: tiny\ntrain: [1]\n", r"train is \[1\]; expected a section with keys"),
        (b"#" * 1_000_001, "has 1,000,001 bytes"),
    ],
)
def test_odd_preset_files(tmp_path, monkeypatch, content, match):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "X.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=match):
        load_preset("X.yaml", ["train.steps=3"])


def test_bases_in_a_circle_are_named(tmp_path):
    for name, base in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"base: {tmp_path / base}.yaml\n")
    with pytest.raises(ConfigError, match=r"a\.yaml: is its own base, by way of .*c\.yaml"):
        load_preset(tmp_path / "a.yaml")


def test_a_chain_of_bases_is_followed(tmp_path):
    (tmp_path / "a.yaml").write_text(f"base: {tmp_path / 'b.yaml'}\ntrain: {{steps: 777}}\n")
    (tmp_path / "b.yaml").write_text("base: tiny\n")
    assert load_preset(tmp_path / "a.yaml").train.steps == 777


ALIASES = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 13)
)


@pytest.mark.parametrize("load", [load_preset, load_plan])
@pytest.mark.parametrize(
    "content",
    [ALIASES.encode(), b"a: 2020-13-45\n", b"# \xfc\n", b"a: " + b"[" * 5000, b"[" * 5000, b"5\n"],
)
def test_odd_files_of_either_kind(tmp_path, load, content):
    """Aliases that stand for ever more values are not written out in the message."""
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.yaml: ") as caught:
        load(path)
    assert len(str(caught.value)) < 2500


def test_what_is_shown_of_a_value_is_short():
    doubled = yaml.safe_load(ALIASES)
    assert len(short_repr(doubled)) < 500
    assert short_repr(10**5000).startswith("a int too long")
    assert short_repr({"a": [1, 2]}) == "{'a': [1, 2]}"


def test_only_the_first_of_many_errors_are_shown():
    from pydantic import ValidationError

    from ecgjepa.config import PretrainConfig

    with pytest.raises(ValidationError) as caught:
        PretrainConfig.model_validate({f"key{n}": n for n in range(5000)})
    said = describe_validation_error(caught.value, "x")
    assert "errors more" in said
    assert len(said) < 1000


@pytest.mark.parametrize("name", preset_names())
def test_the_limits_leave_room_for_every_preset(name):
    if load_preset(name).encoder.architecture != "vit":
        return  # others have no registers
    assert load_preset(name, ["encoder.num_registers=4"]).encoder.num_registers == 4
