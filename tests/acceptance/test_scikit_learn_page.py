"""The Python of docs/scikit-learn.md runs, on a small database and an encoder without training."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import write_ptb_xl
from small_encoders import save_encoder
from tiny_model import save_tiny_model

import ecgjepa

PAGE = (Path(__file__).parents[2] / "docs/scikit-learn.md").read_text()


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Return what the names of the page stand for after all of it was run."""
    root = tmp_path_factory.mktemp("page")
    write_ptb_xl(root / "data/ptb-xl", records=24, seconds=3.0)
    save_encoder(root / "runs/jepa")
    save_tiny_model(root / "runs/probe")
    known: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(block, known)
        known["expected"] = ecgjepa.predict(known["table"]["file"][:1], "runs/probe")
    return known


def test_every_answer_is_what_the_page_says(names):
    assert names["probability"].shape == (24,)
    assert names["search"].best_params_.keys() == {"logisticregression__C"}
    assert 0 <= names["search"].best_score_ <= 1
    assert names["probabilities"].columns.tolist() == ["NORM", "SR", "AFIB"]
    assert names["probabilities"].index[0] == 1
    assert names["same"]
    (expected,) = names["expected"]
    np.testing.assert_allclose(
        names["answers"].iloc[0], list(expected.probabilities.values()), atol=1e-6
    )
