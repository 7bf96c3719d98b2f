"""The same file by command, Python, scikit-learn, ONNX and HTTP: the same probabilities."""

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb
from fastapi.testclient import TestClient
from same_answer import assert_same, by_command, by_http, by_onnx, by_python, by_scikit_learn

from ecgjepa.serving.serve import application


@pytest.fixture(scope="module")
def client(folder):
    with TestClient(application(folder, readers=1), base_url="http://127.0.0.1") as client:
        yield client


@pytest.mark.parametrize("seconds", [1.0, 10.0, 11.7])
def test_the_same_file_gets_the_same_answer_in_every_way(
    seconds, command, folder, exported, client, tmp_path
):
    digital = toy_ecg(np.random.default_rng(2), num_samples=int(500 * seconds))
    digital[100:130, 2] = -32768
    file = write_wfdb(tmp_path / "ecg.hea", digital)
    answers = {
        "command": by_command(command, folder, file),
        "Python": by_python(folder, file),
        "scikit-learn": by_scikit_learn(folder, file),
        "ONNX": by_onnx(exported / "m.onnx", file),
        "HTTP": by_http(client, file),
    }
    assert_same(answers)
