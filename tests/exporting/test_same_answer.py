"""The same file by command, Python and ONNX: the same probabilities."""

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb
from same_answer import assert_same, by_command, by_onnx, by_python


@pytest.mark.parametrize("seconds", [1.0, 10.0, 11.7])
def test_the_same_file_gets_the_same_answer_in_every_way(
    seconds, command, folder, exported, tmp_path
):
    digital = toy_ecg(np.random.default_rng(2), num_samples=int(500 * seconds))
    digital[100:130, 2] = -32768
    file = write_wfdb(tmp_path / "ecg.hea", digital)
    answers = {
        "command": by_command(command, folder, file),
        "Python": by_python(folder, file),
        "ONNX": by_onnx(exported / "m.onnx", file),
    }
    assert_same(answers)
