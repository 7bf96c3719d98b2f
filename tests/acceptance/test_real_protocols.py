"""Every task and protocol on real records, with an untrained encoder and few steps."""

import json

import numpy as np
import pandas as pd
import pytest
from small_encoders import save_encoder

import ecgjepa
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.opening import open_data
from ecgjepa.tasks.ptb_xl import NUM_LABELS
from ecgjepa.tasks.task import TASKS

pytestmark = pytest.mark.realdata
FAST = ["steps=3", "validate_every=3"]
PROTOCOLS = ("attentive", "linear", "knn", "finetune", "finetune-after-probe", "scratch")
CHALLENGE = {
    "georgia": "georgia",
    "ningbo": "ningbo",
    "chapman-shaoxing": "chapman_shaoxing",
    "cpsc": "cpsc_2018",
    "cpsc-extra": "cpsc_2018_extra",
    "ptb": "ptb",
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load_encoder(save_encoder(tmp_path_factory.mktemp("encoder") / "model"))


def run(encoder, data, cache, protocol, **options):
    overrides = FAST if protocol in ("attentive", "finetune", "scratch") else ()
    if protocol == "finetune-after-probe":
        overrides = [*FAST, "warmup_steps=1"]
    return ecgjepa.run_protocol(
        encoder,
        data,
        protocol=protocol,
        overrides=overrides,
        probe_overrides=FAST,
        cache=cache,
        **options,
    )


def check(result):
    for part in ("validation", "test"):
        assert np.isfinite(getattr(result.outcome, part)).all()
        assert len(getattr(result.outcome, part)) == len(getattr(result.records.parts, part))


@pytest.mark.parametrize("task", TASKS)
def test_every_task_of_ptb_xl(encoder, real_data, cache, task):
    result = run(encoder, {"ptb-xl": real_data / "ptb-xl"}, cache, "linear", task=task)
    check(result)
    assert len(result.records.task.labels) == NUM_LABELS[task]
    assert result.records.task.kind == ("single-label" if task == "st-mem" else "multi-label")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol(encoder, real_data, cache, protocol):
    check(run(encoder, {"ptb-xl": real_data / "ptb-xl"}, cache, protocol, task="superdiagnostic"))


@pytest.mark.parametrize("kind", ["multi-label", "single-label", "regression"])
def test_tables_of_labels(encoder, real_data, cache, tmp_path, kind):
    table = pd.read_csv(real_data / "ptb-xl/ptbxl_database.csv")
    columns = {
        "multi-label": {"young": (table["age"] < 60).astype(int), "male": 1 - table["sex"]},
        "single-label": {"sex": table["sex"].map({0: "male", 1: "female"})},
        "regression": {"age": table["age"]},
    }[kind]
    path = tmp_path / f"{kind}.csv"
    pd.DataFrame({"ecg_id": table["ecg_id"], **columns}).to_csv(path, index=False)
    for protocol in ("linear", "attentive"):
        data = {"ptb-xl": real_data / "ptb-xl"}
        check(run(encoder, data, cache, protocol, task=str(path), kind=kind))


@pytest.mark.parametrize("protocol", ["linear", "knn", "attentive", "finetune"])
def test_snomed_codes_across_real_databases(encoder, real_data, cache, protocol):
    """Each sample is too small for three parts, so all but one are trained on."""
    data = {name: real_data / "challenge-2021" / folder for name, folder in CHALLENGE.items()}
    split = ecgjepa.Split(tuple(range(1, 9)), (9, 10), tuple(range(1, 11)))
    result = run(
        encoder, data, cache, protocol, task="challenge-2021", test_on=["georgia"], split=split
    )
    check(result)
    assert len(result.records.parts.test) == 70
    assert len(result.records.task.labels) == 26


@pytest.mark.slow
def test_each_challenge_database_is_left_out_once(real_data, cache, tmp_path):
    model = save_encoder(tmp_path / "model")
    data = {name: real_data / "challenge-2021" / CHALLENGE[name] for name in ("georgia", "ningbo")}
    found = ecgjepa.repeat(
        model,
        data,
        tmp_path / "r",
        task="challenge-2021",
        protocol="linear",
        each_database=True,
        split=ecgjepa.Split(tuple(range(1, 9)), (9, 10), tuple(range(1, 11))),
        cache=cache,
    )
    assert [row["test_on"] for row in found.summary["means"][::2]] == [["georgia"], ["ningbo"]]


def test_code_15_and_the_ages_of_a_database(encoder, real_data, cache):
    """Ten exams are enough to read the task; a score needs more."""
    split = ecgjepa.Split((1, 4), (3, 9), (6, 8))
    data = {"code-15": real_data / "code-15"}
    records = open_data(data, encoder[1], Cohort(task="age", split=split), cache=cache)
    assert len(np.concatenate(records.parts)) == 10
    records.close()
    for protocol in ("linear", "knn", "attentive", "finetune"):
        check(run(encoder, data, cache, protocol, task="code-15", split=split))


@pytest.mark.slow
def test_runs_and_shares_on_real_records(real_data, cache, tmp_path):
    model = save_encoder(tmp_path / "model")
    found = ecgjepa.repeat(
        model,
        {"ptb-xl": real_data / "ptb-xl"},
        tmp_path / "r",
        task="superdiagnostic",
        runs=2,
        label_fractions=(0.1, 1.0),
        overrides=FAST,
        cache=cache,
    )
    assert len(found.evaluations) == 4
    assert json.loads((tmp_path / "r/summary.json").read_text()) == found.summary
