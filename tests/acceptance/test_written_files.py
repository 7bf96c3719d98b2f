"""All that is written may be read by whom the umask allows, and a folder has one writer."""

import os
import stat
import subprocess
import sys

import pytest
from conftest import SMALL_MODEL

import ecgjepa
from ecgjepa import cli
from ecgjepa.locks import LOCK_FILE

FEW = [*SMALL_MODEL, "train.steps=2", "train.warmup_steps=1", "train.checkpoint_every=1"]
TASK = "superdiagnostic"
# Every kind of folder and file, by the verb that writes it.
KINDS = {
    "simulate": "ptb-xl/ptbxl_database.csv",
    "prepare": "store/shard-00000.i16",
    "prepare --codec pcodec": "packed/shard-00000.pco",
    "pretrain": "run/model/model.safetensors",
    "checkpoint": "run/checkpoints/step-*2/weights.safetensors",
    "best": "run/best/config.json",
    "log": "run/metrics.jsonl",
    "probe": "probe/model/distribution.safetensors",
    "predictions": "probe/predictions.parquet",
    "embeddings": "probe/embeddings.npz",
    "split": "probe/split.csv",
    "finetune": "tuned/model/model.safetensors",
    "repeat": "repeats/summary.json",
    "evaluate": "judged/model/model.safetensors",
    "convert": "official.pt",
    "report": "report.html",
    "plot": "ecg.png",
}


# Neither the usual one nor one that a library would choose by itself.
UMASK = 0o027


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A folder with one of every kind, written under a umask."""
    root = tmp_path_factory.mktemp("everything")
    before = os.umask(UMASK)
    try:
        write_everything(root)
    finally:
        os.umask(before)
    return root


def write_everything(root):
    source, cache = root / "ptb-xl", root / "cache"
    data = {"ptb-xl": ecgjepa.simulate(100, source, seconds=3)}
    ecgjepa.prepare(data, root / "store", workers=1)
    ecgjepa.prepare(data, root / "packed", codec="pcodec", workers=1)
    follower = ecgjepa.online_probe(data, task=TASK, cache=cache)
    preset = {"preset": "tiny", "overrides": [*FEW, "data.sampling_rate=500", "probe.every=1"]}
    run = ecgjepa.pretrain(root / "store", root / "run", probe=follower, **preset)
    asked = {"task": TASK, "cache": cache}
    probed = ecgjepa.probe(run, data, root / "probe", protocol="linear", **asked)
    few = ["steps=2", "warmup_steps=1", "validate_every=1"]
    tuned = ecgjepa.finetune(
        run, data, root / "tuned", protocol="finetune", overrides=few, from_scratch=False, **asked
    )
    ecgjepa.repeat(run, data, root / "repeats", protocol="knn", **asked)
    ecgjepa.evaluate(probed.path, data, root / "judged", folds=(10,), fit_calibration=True, **asked)
    ecgjepa.convert(run, root / "official.pt")
    ecgjepa.report([run, probed.path, tuned.path, root / "repeats"], root / "report.html")
    ecgjepa.plot(next(source.rglob("*.hea")), root / "ecg.png")


def test_every_kind_is_there(everything):
    missing = [kind for kind, file in KINDS.items() if not any(everything.glob(file))]
    assert missing == []
    assert any((everything / "cache/features").glob("*.npy"))


def test_every_file_and_folder_has_the_mode_of_the_umask(everything):
    wrong = {}
    for path in everything.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode != (0o777 if path.is_dir() else 0o666) & ~UMASK:
            wrong[str(path.relative_to(everything))] = oct(mode)
    assert wrong == {}


@pytest.fixture
def busy(tmp_path):
    """A folder in which another process is at work."""
    code = (
        "import sys, pathlib, ecgjepa.errors as errors, ecgjepa.locks as locks\n"
        "with locks.working_in(pathlib.Path(sys.argv[1]), errors.ConfigError, 'x'):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "busy")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield tmp_path / "busy", process.pid
        process.stdin.close()


@pytest.mark.parametrize(
    "command",
    [
        "pretrain --store STORE --preset tiny --set data.sampling_rate=500",
        f"probe --model RUN --data ptb-xl=DATA --task {TASK} --protocol knn",
        f"probe --model RUN --data ptb-xl=DATA --task {TASK} --protocol knn --runs 2",
        f"finetune --model RUN --data ptb-xl=DATA --task {TASK} --protocol finetune",
        f"evaluate --model PROBE --data ptb-xl=DATA --task {TASK} --test-folds 10",
        "prepare ptb-xl=DATA",
    ],
)
def test_a_folder_in_which_another_process_works_is_left_alone(
    everything, busy, command, monkeypatch, capsys
):
    root, (folder, process) = everything, busy
    places = {
        "STORE": root / "store",
        "RUN": root / "run",
        "DATA": root / "ptb-xl",
        "PROBE": root / "probe",
    }
    for name, place in places.items():
        command = command.replace(name, str(place))
    into = "--store" if command.startswith("prepare") else "--out"
    monkeypatch.setattr(sys, "argv", ["ecgjepa", *command.split(), into, str(folder)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert f"is at work there already (process {process} on" in " ".join(
        capsys.readouterr().err.split()
    )
    assert [path.name for path in folder.iterdir()] == [LOCK_FILE]
