"""What docs/your-encoder.md tells people to type works, on a small database and for a few steps."""

import json
import re
import runpy
import sys
import warnings
from pathlib import Path

import pytest
from conftest import SMALL_MODEL, write_ptb_xl
from small_encoders import save_encoder
from typed import run

import ecgjepa
from ecgjepa.errors import ConfigError, EncoderError
from ecgjepa.evaluation.results import Evaluation
from ecgjepa.model.encoders.build import OWN_ENCODERS
from ecgjepa.objectives.build import OBJECTIVES
from ecgjepa.terminal.results import print_evaluations

PAGE = (Path(__file__).parents[2] / "docs/your-encoder.md").read_text()
FILES = dict(re.findall(r"```\w+ title=(\S+)\n(.*?)```", PAGE, re.DOTALL))

SMALL = " ".join(
    f"--set {item}" for item in [*SMALL_MODEL, "train.steps=4", "train.warmup_steps=1"]
)


def test_the_page_imports_nothing_private():
    for text in FILES.values():
        for module in re.findall(r"^(?:from|import) (\S+)", text, re.MULTILINE):
            assert module in ("torch", "torch.nn.functional", "ecgjepa", "my_ecg"), module
        for name in re.findall(r"ecgjepa\.(\w+)", text):
            assert name in ecgjepa.__all__, name


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    """A folder in which everything of the page was run."""
    root = tmp_path_factory.mktemp("own")
    write_ptb_xl(root / "data/ptb-xl", records=60, seconds=5.0)
    for name, text in FILES.items():
        (root / name).write_text(text.replace("range(400)", "range(20)"))
    save_encoder(root / "runs/jepa")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("ECGJEPA_CACHE", str(root / "cache"))
        patch.syspath_prepend(str(root))
        ecgjepa.prepare(
            {"ptb-xl": "data/ptb-xl"},
            "data/store",
            preprocessing=ecgjepa.PreprocessingConfig(sampling_rate=100),
        )
        for name in ("train_cnn.py", "export_cnn.py"):
            with warnings.catch_warnings():  # PyTorch's exporter uses what PyTorch deprecates
                warnings.simplefilter("ignore", FutureWarning)
                warnings.simplefilter("ignore", DeprecationWarning)
                runpy.run_path(str(root / name))
        for block in re.findall(r"```\n(ecgjepa .*?)```", PAGE, re.DOTALL):
            for line in block.splitlines():
                run(line.replace("--preset tiny", f"--preset tiny {SMALL}"), patch)
    for name in ("my_ecg", "my_pretraining"):
        sys.modules.pop(name)
    OBJECTIVES.pop("rebuild-leads")
    OWN_ENCODERS.clear()
    return root


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_the_cnn_is_judged_beside_the_same_without_training(worked):
    found = results(worked / "runs/cnn")
    assert list(found["models"]) == ["pre-trained", "untrained"]
    assert not (worked / "runs/cnn/model").exists()
    assert found["encoder"]["architecture"] == "own:my_ecg:encoder"
    assert found["pretraining"]["folds"] == {"ptb-xl": [*range(1, 9)]}
    value, low, high = found["models"]["pre-trained"]["macro_auroc"]
    assert low <= value <= high


def test_the_onnx_file_scores_as_the_module_does_and_stands_beside_the_raw_signal(worked, capsys):
    module, file = results(worked / "runs/cnn"), results(worked / "runs/cnn-onnx")
    assert list(file["models"]) == ["pre-trained", "raw signal"]
    scores = [each["models"]["pre-trained"]["macro_auroc"] for each in (module, file)]
    assert scores[0] == pytest.approx(scores[1], abs=2e-3)
    print_evaluations([Evaluation(worked / "runs/cnn-onnx", file)])
    said = " ".join(capsys.readouterr().out.split())
    assert "gained over it" in said
    assert "cannot be had untrained, so what its training gained is not known" in said


def test_the_report_shows_both_encoders(worked):
    page = (worked / "report.html").read_text()
    assert "frozen, linear probe, my_ecg:encoder" in page


def test_the_pre_trained_convolutions_are_judged_and_opened_with_their_class_alone(worked):
    found = results(worked / "runs/own-probe")
    assert list(found["models"]) == ["pre-trained", "untrained"]
    assert found["encoder"]["architecture"] == "own:Convolutions"
    words = json.loads((worked / "runs/own/objective.json").read_text())
    assert words["title"] == "rebuilding hidden leads"
    with pytest.raises(EncoderError, match=r"ecgjepa --use package\.module:Convolutions before"):
        ecgjepa.embed("x.hea", worked / "runs/own")
    with pytest.raises(ConfigError, match=r"is given as ecgjepa --use package\.module:Class"):
        ecgjepa.pretrain(worked / "data/store", worked / "x", overrides=["objective=rebuild-leads"])
