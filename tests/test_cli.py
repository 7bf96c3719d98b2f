"""The command as people call it: exit codes, messages, and files left behind."""

import json
import re
import sys

import pandas as pd
import pytest
from conftest import SMALL_MODEL, write_ptb_xl

from ecgjepa import cli

TINY = [
    *SMALL_MODEL,
    "train.steps=4",
    "train.warmup_steps=1",
    "train.checkpoint_every=4",
]


@pytest.fixture
def ecgjepa(monkeypatch, capsys):
    """Return a function that runs the command: exit code, stdout, stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ecgjepa", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def sets(overrides) -> list[str]:
    return [item for override in overrides for item in ("--set", override)]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_ptb_xl(tmp_path_factory.mktemp("cli"), records=100, seconds=3.0)


def test_simulate_in_another_layout(ecgjepa, tmp_path):
    to = tmp_path / "mimic"
    options = ("--layout", "mimic-iv-ecg", "--seconds", 2)
    assert ecgjepa("simulate", "--records", 2, "--to", to, *options)[0] == 0
    assert "12 500 1000 " in next(to.rglob("*.hea")).read_text()
    code, _, message = ecgjepa("simulate", "--records", 2, "--to", to, "--layout", "mimic")
    assert code == 2
    assert "expected ptb-xl, mimic-iv-ecg, code-15" in message


def test_the_whole_way(ecgjepa, source, tmp_path):
    store, run, out = tmp_path / "store", tmp_path / "run", tmp_path / "probe"
    code, text, log = ecgjepa(
        "prepare", f"ptb-xl={source}", "--store", store, "--sampling-rate", "100"
    )
    assert code == 0
    assert "ptb-xl: 82 of 82 records" in text
    assert "noted: resampled in 82 records" in text
    assert "partial copy: its table has 100 records" in log

    code, text, _ = ecgjepa("verify", store)
    told = f"{store}: every byte is as it was written; no copy of a left-out record\n"
    assert code == 0
    assert text.startswith(f"{told}next: ecgjepa pretrain")

    follow = ["--probe-data", f"ptb-xl={source}", "--cache", tmp_path / "c"]
    code, text, log = ecgjepa("pretrain", "--store", store, "--out", run, *sets(TINY), *follow)
    assert code == 0
    assert "step 4/4  loss" in log
    assert "step 4: superdiagnostic probe" in log
    assert (run / "best/model.safetensors").is_file()

    common = ["--data", f"ptb-xl={source}", "--task", "superdiagnostic", "--cache", tmp_path / "c"]
    code, text, _ = ecgjepa(
        "probe",
        "--model",
        run,
        *common,
        "--out",
        out,
        "--set",
        "steps=4",
        "--set",
        "validate_every=2",
    )
    assert code == 0
    assert "task superdiagnostic: macro AUROC on 6 test records (fold 10)" in text
    assert max(map(len, text.splitlines())) <= 79 + len(str(tmp_path))
    assert "untrained" in text

    code, text, _ = ecgjepa(
        "finetune",
        "--model",
        out,
        *common,
        "--out",
        tmp_path / "tuned",
        "--set",
        "steps=4",
        "--set",
        "warmup_steps=1",
        "--json",
    )
    assert code == 0
    assert set(json.loads(text)["models"]) == {"pre-trained", "from scratch"}

    code, text, _ = ecgjepa("report", run, out, tmp_path / "tuned", "--out", tmp_path / "r.html")
    assert code == 0
    page = (tmp_path / "r.html").read_text()
    assert "Collapse monitor" in page
    assert "12-lead ECG of record" in page, "the report found the store without being told"
    # Where the files lie on a machine, and so in whose folders, is told by none of them.
    written = [
        path for folder in (store, run, out, tmp_path / "tuned") for path in folder.rglob("*")
    ]
    for path in (*written, tmp_path / "r.html"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes(), path

    files = sorted((source / "records500/00000").glob("*.hea"))[:2]
    code, text, _ = ecgjepa("predict", *files, "--model", tmp_path / "tuned")
    assert code == 0
    assert text.count("normal ECG") == 2
    assert len(re.findall(r"  input: [\d.]+ s at 500 Hz, quality \w+, distance \d", text)) == 2
    assert max(map(len, text.splitlines())) <= max(79, *(len(str(file)) for file in files))
    assert "Research use only. Probabilities are calibrated (platt, fold 9)." in text

    age = [*common[:2], "--task", "age", *common[4:], "--out", tmp_path / "age"]
    code, text, _ = ecgjepa("probe", "--model", run, *age, "--protocol", "linear")
    assert code == 0
    assert "task age: mean R²" in text
    scores = [line for line in text.splitlines() if str(tmp_path) not in line]
    assert max(map(len, scores)) <= 79
    code, text, _ = ecgjepa("predict", *files, "--model", tmp_path / "age")
    assert code == 0
    assert "Values are in the units of the labels" in text
    assert "alibrated" not in text
    code, _, _ = ecgjepa("report", tmp_path / "age", "--out", tmp_path / "age.html")
    assert code == 0

    code, text, _ = ecgjepa(
        "compare-predictions", tmp_path / "tuned", "--against", tmp_path / "tuned",
        "--second-model", "from scratch",
    )  # fmt: skip
    assert code == 0
    assert text.startswith("macro AUROC on ")
    assert "too few to tell" in " ".join(text.split())
    pair = ["compare-predictions", tmp_path / "tuned", tmp_path / "tuned"]
    assert ecgjepa(*pair, "--second-model", "from scratch")[:2] == (0, text)
    code, _, log = ecgjepa(*pair[:2])
    assert code == 2
    assert "expected two evaluation folders, one of each model, or --against RUN" in log
    assert " p = " in text
    code, text, _ = ecgjepa(
        "compare-predictions", tmp_path / "tuned", "--against", tmp_path / "tuned", "--json"
    )
    assert json.loads(text)["difference"] == [0, 0, 0]

    code, text, _ = ecgjepa(
        "predict", files[0], tmp_path / "no.hea", "--model", tmp_path / "tuned", "--json"
    )
    assert code == 1
    good, bad = json.loads(text)
    assert sum(good["probabilities"].values()) > 0
    assert good["distance"] > 0
    assert bad["distance"] is None
    assert bad["probabilities"] == {}
    assert "no such file" in bad["error"]

    code, text, _ = ecgjepa("plot", files[0], "--out", tmp_path / "ecg.png")
    assert code == 0
    assert (tmp_path / "ecg.png").read_bytes().startswith(b"\x89PNG")


def test_prepare_falls_short_when_too_much_is_bad(ecgjepa, tmp_path):
    source = write_ptb_xl(tmp_path / "d", records=20, seconds=1.0)
    (source / "records500/00000/00003_hr.dat").write_bytes(b"")
    arguments = ["prepare", f"ptb-xl={source}", "--store", tmp_path / "s", "--folds", "all"]
    code, text, log = ecgjepa(*arguments)
    assert code == 1
    assert "skipped: 1 truncated" in text
    assert "the store is complete and can be used; exit status 1 because 5.0% of the" in log
    code, _, _ = ecgjepa(*arguments, "--max-bad", "0.1")
    assert code == 0
    code, text, _ = ecgjepa(*arguments, "--max-bad", "0.1", "--json")
    assert json.loads(text)["databases"]["ptb-xl"]["quarantine"][0]["record_id"] == "3"


def test_verify_falls_short_on_a_damaged_store(ecgjepa, source, tmp_path):
    ecgjepa("prepare", f"ptb-xl={source}", "--store", tmp_path / "s")
    shard = tmp_path / "s/shard-00000.i16"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    code, text, _ = ecgjepa("verify", tmp_path / "s")
    assert code == 1
    assert "shard-00000.i16 has changed" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "ptb-xl=NOWHERE", "--store", "s"], "folder NOWHERE does not exist"),
        (["prepare", "ptb-xl", "--store", "s"], "expected NAME=DIR"),
        (["prepare", "ptbxl=.", "--store", "s"], "did you mean 'ptb-xl'?"),
        (["prepare", "a=.", "--store", "s", "--table", "b=c"], "a table is given for b"),
        (["prepare", "ptb-xl=.", "--store", "s", "--folds", "x"], "expected e.g. 1-8 or 1,2,5"),
        (
            ["prepare", "ptb-xl=.", "--store", "s", "--on-bad", "x"],
            "expected raise or skip or mask",
        ),
        (["verify", "NOWHERE"], "no store at NOWHERE"),
        (["pretrain", "--store", "NOWHERE", "--out", "r"], "no store at NOWHERE"),
        (["pretrain", "--store", "s", "--out", "r", "--preset", "vast"], "unknown preset 'vast'"),
        (["pretrain", "--store", "s", "--out", "r", "--set", "train.x=1"], "no key 'x'"),
        (["pretrain", "--store", "s", "--out", "r", "--device", "tpu9"], "no store at s"),
        (["probe", "--model", "NOWHERE", "--data", "ptb-xl=."], "no model folder at NOWHERE"),
        (["probe", "--model", "m", "--data", "a=b", "--protocol", "x"], "attentive or linear"),
        (["finetune", "--model", "m", "--data", "a=b", "--protocol", "x"], "finetune-after-probe"),
        (["predict", "x.hea", "--model", "NOWHERE"], "x.hea: no such file"),
        (["plot", "NOWHERE.hea", "--out", "x.png"], "no such file"),
        (["report", "NOWHERE"], "holds none of what can be reported: pre-training run"),
        (["demo", "--data", "georgia=."], "the demo runs on ptb-xl=DIR"),
        (["nonsense"], "nonsense"),
        (["prepare", "ptb-xl=."], "--store"),
    ],
)
def test_wrong_use_exits_with_2_and_leaves_nothing(
    ecgjepa, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    code, _, log = ecgjepa(*arguments)
    assert code == 2
    assert message in " ".join(log.replace("│", " ").split())
    assert "Traceback" not in log
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_there_is_named(ecgjepa, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = next(source.rglob("*.hea"))
    code, _, log = ecgjepa("predict", file, "--model", "NOWHERE")
    assert code == 2
    assert "no model folder at NOWHERE" in log


def test_debug_shows_the_traceback(ecgjepa, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, log = ecgjepa("--debug", "verify", "NOWHERE")
    assert code == 2
    assert "Traceback" in log
    assert "ecgjepa: no store at NOWHERE" in log


def test_a_full_disk_exits_with_1(ecgjepa, source, tmp_path, monkeypatch):
    import os

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, log = ecgjepa("prepare", f"ptb-xl={source}", "--store", tmp_path / "s")
    assert code == 1
    assert "no space left on the disk while writing" in log
    assert not (tmp_path / "s").exists()


def test_missing_column_names_it(ecgjepa, tmp_path):
    root = write_ptb_xl(tmp_path / "d", records=4, seconds=1.0)
    table = pd.read_csv(root / "ptbxl_database.csv").drop(columns="strat_fold")
    table.to_csv(root / "ptbxl_database.csv", index=False)
    code, _, log = ecgjepa("prepare", f"ptb-xl={root}", "--store", tmp_path / "s")
    assert code == 2
    assert "column strat_fold is missing" in log


def test_doctor(ecgjepa):
    code, text, _ = ecgjepa("doctor")
    assert code == 0
    assert "small, tiny" in text.partition("presets: ")[2]
    assert max(map(len, text.splitlines())) <= 79
    code, text, _ = ecgjepa("doctor", "--json")
    assert json.loads(text)["packages"]["wfdb"]


def test_plan(ecgjepa):
    code, text, _ = ecgjepa("plan", "--preset", "paper-vit-s-all", "--tflops", 52.6, "--memory", 24)
    assert code == 0
    assert "encoder 14,277,888, predictor 3,689,856, trained 17,967,744" in " ".join(text.split())
    assert "time: 16:12:29 h: 0.583 s a step" in text
    assert "limit: memory: a step needs 40.3 GB" in text
    assert max(map(len, text.splitlines())) <= 79
    code, text, _ = ecgjepa("plan", "--json", "--set", "train.steps=400")
    assert json.loads(text)["parameters"]["trained"] == 575_136
    assert json.loads(text)["speed"] is None
    code, _, log = ecgjepa("plan", "--measure", "--tflops", 1)
    assert code == 2
    assert "choose one" in log


def test_databases(ecgjepa):
    code, text, _ = ecgjepa("databases")
    assert code == 0
    assert "mimic-iv-ecg       800,035   800,035" in text
    assert max(map(len, text.splitlines())) <= 80
    code, text, _ = ecgjepa("databases", "code-15")
    assert "licence: CC BY 4.0" in text
    assert "doi:10.5281/zenodo.4916206" in text
    assert "Where this is known from" in text
    assert max(map(len, text.splitlines())) <= 80
    code, text, _ = ecgjepa("databases", "--json")
    assert json.loads(text)[2]["origin"]["project"] == "ptb-xl"
    code, _, log = ecgjepa("databases", "chapman")
    assert code == 2
    assert "did you mean 'chapman-shaoxing'" in log


def test_help_fits_the_terminal_and_is_not_cut(ecgjepa, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    verbs = [command.name or command.callback.__name__ for command in cli.app.registered_commands]
    for words in ([], *([verb] for verb in verbs)):
        code, text, _ = ecgjepa(*words, "--help")
        assert code == 0
        assert max(map(len, text.splitlines())) <= 80, words
        assert "..." not in text.partition("Options:")[2], words


def test_verbs_are_listed_in_groups(ecgjepa):
    _, text, _ = ecgjepa("--help")
    headings = [line for line in text.splitlines() if line and line[0] != " "][2:]
    assert headings == ["Start here:", "Data:", "Train:", "Judge:", "Use:"]
    for command in cli.app.registered_commands:
        name = command.name or command.callback.__name__
        assert len(re.findall(rf"^  {name} ", text, re.MULTILINE)) == 1, name


def test_version(ecgjepa):
    from ecgjepa import __version__

    assert ecgjepa("--version") == (0, f"ecgjepa {__version__}\n", "")


def test_presets(ecgjepa, monkeypatch, tmp_path):
    code, text, _ = ecgjepa("presets")
    assert code == 0
    assert "paper-vit-b-all     jepa        500    10 s    768     12  100,000  1,024" in text
    assert max(map(len, text.splitlines())) <= 80
    for name in ("tiny-mae", "paper-vit-b-all"):
        code, text, _ = ecgjepa("presets", name)
        assert code == 0
        assert max(map(len, text.splitlines())) <= 80
    differing = [line for line in text.splitlines() if line.startswith("* ")]
    assert differing == []
    found = json.loads(ecgjepa("presets", "tiny", "--json")[1])
    steps = next(item for item in found["settings"] if item["key"] == "train.steps")
    assert (steps["value"], steps["paper"], steps["unit"]) == (3000, "100,000", "steps")
    assert {"tiny", "s4-cpc"} < {
        item["name"] for item in json.loads(ecgjepa("presets", "--json")[1])
    }
    code, _, log = ecgjepa("presets", "tinny")
    assert code == 2
    assert "did you mean 'tiny'?" in log


def test_prepare_for_a_preset_makes_a_store_that_it_reads(ecgjepa, tmp_path):
    small = write_ptb_xl(tmp_path / "d", records=10, seconds=3.0)
    prepare = ["prepare", f"ptb-xl={small}", "--store", tmp_path / "s", "--folds", "all"]
    code, _, log = ecgjepa(*prepare, "--for", "tiny", "--sampling-rate", "500")
    assert code == 2
    assert "--sampling-rate 500 contradicts --for tiny, which reads 100 Hz" in log
    assert not (tmp_path / "s").exists()
    assert ecgjepa(*prepare, "--for", "tiny", "--sampling-rate", "100")[0] == 0
    code, _, log = ecgjepa("plan", "--store", tmp_path / "s", "--preset", "tiny")
    assert (code, log) == (0, "")


@pytest.mark.parametrize("columns", [40, 80])
def test_refusals_wrap_at_the_terminals_width(ecgjepa, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for words in (["plan", "--preset", "vast"], ["plan", "--stepps", "3"], ["plan", "--memory"]):
        code, _, log = ecgjepa(*words)
        assert code == 2
        assert max(map(len, log.splitlines())) <= columns, log


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["pretrain", "--steps", "100"], "It is a setting: use --set train.steps=100"),
        (["plan", "--batch-size=8"], "use --set train.batch_size=8"),
        (["plan", "--dim", "64"], "--set encoder.dim=64 or --set predictor.dim=64"),
        (["probe", "--patience", "500"], "use --set patience=500"),
        (["probe", "--tsk", "all"], "did you mean --task"),
        (["prepare", "--steps", "100"], "No such option: --steps; did you mean --store?"),
        (["predict", "--zzz"], "No such option: --zzz "),
        (["prepar"], "Did you mean 'prepare'"),
    ],
)
def test_an_unknown_option_is_answered_with_what_may_be_meant(ecgjepa, words, hint):
    code, _, log = ecgjepa(*words)
    assert code == 2
    assert hint in " ".join(log.split())
    assert re.search(r"'.*ecgjepa.* -h' explains how it is used", log)


def test_every_verb_is_a_function_of_the_package():
    import ecgjepa as package

    for command in cli.app.registered_commands:
        verb = command.callback.__name__
        function = getattr(package, "export_onnx" if verb == "export" else verb)
        assert callable(function)
        assert function.__doc__
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        package.nonsense  # noqa: B018
    assert set(package._HOMES) < set(dir(package))
