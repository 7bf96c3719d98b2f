"""Repeats go on where they stopped, and never in a folder of something else."""

import inspect
import json
import logging

import pandas as pd
import pytest
from small_encoders import save_encoder

import ecgjepa
from ecgjepa.errors import ConfigError
from ecgjepa.evaluation import repeats
from ecgjepa.evaluation.cases import claim_folder
from ecgjepa.locks import working_in
from ecgjepa.tasks.split import Split

SEEDS = 3


@pytest.fixture(scope="module")
def table(ptb_xl, tmp_path_factory):
    ids = pd.read_csv(ptb_xl / "ptbxl_database.csv")["ecg_id"]
    path = tmp_path_factory.mktemp("table") / "labels.csv"
    pd.DataFrame({"record": ids, "even": 1 - ids % 2}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def repeat(encoder, ptb_xl, table, tmp_path_factory):
    """Repeat the quickest protocol with all arguments but those given."""
    cache = tmp_path_factory.mktemp("cache")

    def run(out, model=encoder, **options):
        settings = {"task": str(table), "protocol": "knn", "runs": SEEDS, "cache": cache}
        return ecgjepa.repeat(model, {"ptb-xl": ptb_xl}, out, **(settings | options))

    return run


@pytest.fixture
def called(monkeypatch):
    """Seeds that are run, not read; ``called.fail_at`` interrupts."""

    class Called(list):
        fail_at = None

    seen, probe_cohort = Called(), repeats.probe_cohort

    def counting(model, data, out, cohort, request, work):
        if request.seed == seen.fail_at:
            raise KeyboardInterrupt
        seen.append(request.seed)
        return probe_cohort(model, data, out, cohort, request, work)

    monkeypatch.setattr(repeats, "probe_cohort", counting)
    return seen


def test_what_is_finished_is_read(repeat, called, tmp_path, caplog):
    whole = repeat(tmp_path / "whole")
    called.clear()
    called.fail_at = 1
    with pytest.raises(KeyboardInterrupt):
        repeat(tmp_path / "r")
    assert called == [0]
    called.fail_at = None
    with caplog.at_level(logging.INFO):
        again = repeat(tmp_path / "r")
    assert called == [0, 1, 2]
    assert "1 of 3 runs are finished already" in caplog.text
    assert again.summary == whole.summary
    assert [one.results for one in again.evaluations] == [one.results for one in whole.evaluations]
    third = repeat(tmp_path / "r")
    assert called == [0, 1, 2]
    assert third.summary == whole.summary
    assert third.evaluations[1].score() == whole.evaluations[1].score()


def test_results_without_what_comes_after_them_are_not_finished(repeat, called, tmp_path):
    """A run that was killed while it wrote its model is run again."""
    done = repeat(tmp_path / "r", runs=2)
    (done.path / "labels-100-draw-0-seed-1" / "case.json").unlink()
    called.clear()
    repeat(tmp_path / "r", runs=2)
    assert called == [1]


@pytest.fixture(scope="module")
def done(repeat, tmp_path_factory):
    return repeat(tmp_path_factory.mktemp("done") / "r", runs=1).path


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"task": "superdiagnostic"}, r"task \(\"labels\" there, \"superdiagnostic\" asked"),
        ({"protocol": "linear"}, r'protocol \("knn" there, "linear" asked for\)'),
        ({"split": Split((1, 2, 3), (9,), (10,))}, r"split.train \(\[1, 2, 3, 4, 5, 6, 7, 8\] th"),
        ({"layers": (1,)}, r"layers \(\[\] there, \[1\] asked for\)"),
        (
            {"protocol": "attentive", "overrides": ("steps=3",)},
            r"overrides \(\[\] there, \[\"steps=3\"\] asked for\)",
        ),
        ({"seed": 1}, r"seed \(\[0\] there, \[1\] asked for\)"),
        ({"label_fractions": (0.5,)}, r"label_fraction \(\[1.0\] there, \[0.5\] asked for\)"),
    ],
)
def test_other_repeats_are_refused_by_name(repeat, done, called, options, named):
    with pytest.raises(ConfigError, match=f"holds repeats of something else: .*{named}"):
        repeat(done, **({"runs": 1} | options))
    assert called == []


def test_another_model_other_records_or_labels_are_refused(
    repeat, encoder, ptb_xl, table, done, tmp_path
):
    other = save_encoder(tmp_path / "other", seed=1)
    with pytest.raises(ConfigError, match=r"else: .*model.model.safetensors \("):
        repeat(done, model=other, runs=1)
    simulated = ecgjepa.simulate(120, tmp_path / "ptb-xl", layout="ptb-xl", seed=9)
    with pytest.raises(ConfigError, match=r"else: records \("):
        ecgjepa.repeat(encoder, {"ptb-xl": simulated}, done, task=str(table), protocol="knn")
    content = table.read_text()
    try:
        table.write_text(content.replace("1,0", "1,1", 1))
        with pytest.raises(ConfigError, match=r"else: labels \("):
            repeat(done, runs=1)
    finally:
        table.write_text(content)


def test_the_same_from_other_places_goes_on(repeat, encoder, done, called, tmp_path):
    """Neither the model's path nor the cache is what is repeated."""
    copy = save_encoder(tmp_path / "copy")
    repeat(done, model=copy, runs=1, split=ecgjepa.Split(), cache=tmp_path / "cache")
    assert called == []


def test_evaluations_of_unknown_origin_are_refused(repeat, tmp_path):
    done = repeat(tmp_path / "r", runs=1)
    (done.path / "repeats.json").unlink()
    with pytest.raises(ConfigError, match=r"exists, and no repeats\.json says what it repeats"):
        repeat(tmp_path / "r", runs=1)


def test_a_folder_where_nothing_is_finished_is_free(repeat, called, tmp_path):
    called.fail_at = 0
    with pytest.raises(KeyboardInterrupt):
        repeat(tmp_path / "r", protocol="linear")
    called.fail_at = None
    repeat(tmp_path / "r", runs=1)
    assert json.loads((tmp_path / "r/repeats.json").read_text())["protocol"] == "knn"


def test_a_second_process_does_not_take_the_folder_from_the_first(repeat, called, tmp_path):
    """It has another request, and finds the first one's folder with nothing finished in it."""
    folder = tmp_path / "r"
    with working_in(folder, ConfigError, "another evaluation"):
        claim_folder(folder, {"protocol": "the first"}, [])
        with pytest.raises(ConfigError, match="another evaluation is at work there already"):
            repeat(folder)
        assert json.loads((folder / "repeats.json").read_text()) == {"protocol": "the first"}
    assert called == []


def test_repeats_take_every_option_of_a_probe():
    """The command hands what it has for one probe to the repeats of it."""
    several = set(inspect.signature(ecgjepa.repeat).parameters)
    for verb in (ecgjepa.probe, ecgjepa.finetune):
        assert set(inspect.signature(verb).parameters) - several == {"label_fraction", "label_draw"}
