"""Tables of predictions: what is killed resumes, and no output of another request is touched."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import toy_ecg, write_wfdb
from tiny_model import save_tiny_model

import ecgjepa
from ecgjepa.cli import main
from ecgjepa.errors import OutputError, RecordFormatError
from ecgjepa.inference.outputs import parts
from ecgjepa.inference.outputs.finished import summary_file
from ecgjepa.inference.outputs.parts import parts_folder
from ecgjepa.inference.outputs.written import Written
from ecgjepa.locks import holding

NUM_FILES = 30
# Begins a run in a process of its own again and again, and kills it after some rows.
# The child waits for leave before each row, so that it cannot finish however slow the machine is.
PROGRAM = """
import os, random, signal, sys, time, ecgjepa
from ecgjepa.inference.outputs.predicting import predict_table
rng = random.Random(0)
for _ in range(10):
    told, telling = os.pipe()
    leave, leaving = os.pipe()
    if not (child := os.fork()):
        os.close(leaving)
        predict_table(sys.argv[1], sys.argv[2], sys.argv[3], part_inputs=2,
            progress=lambda done, total: (os.read(leave, 1), os.write(telling, b".")))
        os._exit(0)
    os.close(telling)
    rows = rng.randint(1, 2)
    os.write(leaving, b"." * rows)
    for _ in range(rows):
        os.read(told, 1)
    time.sleep(rng.random() * 0.004)  # so that it dies while a part is written, or between two
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    parts = sorted(os.listdir(sys.argv[3] + ".parts"))
    print(os.WIFSIGNALED(status), *(name for name in parts if name.startswith("part-")))
"""


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """A model and a folder of records, some of which cannot be used."""
    root = tmp_path_factory.mktemp("clinic")
    rng = np.random.default_rng(0)
    save_tiny_model(root / "model")
    for number in range(NUM_FILES):
        digital = toy_ecg(rng, num_samples=int(rng.choice([600, 2500, 5000])))
        file = write_wfdb(root / "files" / f"{number:02d}.hea", digital)
        if number % 9 == 4:
            file.with_suffix(".dat").write_bytes(b"x")
    (root / "files" / "scan.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(64))
    return root


@pytest.fixture(scope="module")
def expected(clinic):
    return ecgjepa.load_model(clinic / "model").predict(clinic / "files")


def rows_of(path):
    return path.read_text().splitlines()


def test_csv_parquet_and_lines_of_json_agree(clinic, expected, tmp_path):
    written = {
        suffix: ecgjepa.predict_table(
            clinic / "files", clinic / "model", tmp_path / f"t{suffix}", part_inputs=7
        )
        for suffix in (".csv", ".parquet", ".jsonl")
    }
    for found in written.values():
        assert (found.num_inputs, found.num_rows, found.num_used) == (31, 31, 27)
        assert found.reasons == {"truncated": 3, "unsupported_format": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"t{suffix}{end}" for suffix in written for end in ("", ".summary.json")
    )
    parquet = pd.read_parquet(tmp_path / "t.parquet")
    types = dict.fromkeys(("record", "reason", "error", "set", "rule"), "str")
    table = pd.read_csv(tmp_path / "t.csv", dtype=types).astype(parquet.dtypes.to_dict())
    words = parquet.select_dtypes("str").columns  # CSV cannot tell no word from nothing known
    table[words], parquet[words] = table[words].fillna(""), parquet[words].fillna("")
    pd.testing.assert_frame_equal(table, parquet, check_exact=True)
    lines = [json.loads(line) for line in rows_of(tmp_path / "t.jsonl")]
    for line, row, own in zip(lines, parquet.to_dict("records"), expected, strict=True):
        assert line["file"] == row["file"] == own.file
        assert line["error"] == own.error
        assert (row["error"] or None) == own.error
        for label, value in own.probabilities.items():
            assert line["probabilities"][label] == row[label] == pytest.approx(value, abs=1e-6)
    assert "NaN" not in (tmp_path / "t.jsonl").read_text()


def test_a_run_that_is_killed_ten_times_loses_and_repeats_nothing(clinic, tmp_path):
    whole = tmp_path / "whole.jsonl"
    ecgjepa.predict_table(clinic / "files", clinic / "model", whole, part_inputs=3)
    out = tmp_path / "t.jsonl"
    command = [sys.executable, "-c", PROGRAM, *map(str, (clinic / "files", clinic / "model", out))]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    kept = [line.split() for line in found.splitlines()]
    assert [is_killed for is_killed, *_ in kept] == ["True"] * 10
    for earlier, later in itertools.pairwise(kept):
        assert later[: len(earlier)] == earlier
    assert 3 < len(kept[-1]) < 12
    assert not out.exists()
    written = ecgjepa.predict_table(clinic / "files", clinic / "model", out, part_inputs=3)
    assert written.num_resumed == 2 * (len(kept[-1]) - 1)
    assert [json.loads(line)["file"] for line in rows_of(out)] == [
        json.loads(line)["file"] for line in rows_of(whole)
    ]
    first, second = (
        pd.json_normalize([json.loads(line) for line in rows_of(path)]) for path in (out, whole)
    )
    pd.testing.assert_frame_equal(first, second, rtol=1e-5)
    assert not parts_folder(out).exists()
    assert not list(tmp_path.glob(".partial-*"))


class Killed(BaseException):
    """Ends a run at a chosen place, without any of its clean-up in files."""


def stop_after(number):
    def progress(done, total):
        if done > number:
            raise Killed

    return progress


def begin(clinic, out, **options):
    with pytest.raises(Killed):
        ecgjepa.predict_table(
            clinic / "files",
            clinic / "model",
            out,
            part_inputs=5,
            progress=stop_after(12),
            **options,
        )
    assert [path.name for path in sorted(parts_folder(out).glob("part-*"))] == [
        "part-000000000-000000005",
        "part-000000005-000000010",
    ]


def test_another_request_is_refused_by_name(clinic, tmp_path):
    out = tmp_path / "t.csv"
    begin(clinic, out)
    other = save_tiny_model(tmp_path / "other", seed=1)
    with pytest.raises(OutputError, match=r"differs in model_sha256 \("):
        ecgjepa.predict_table(clinic / "files", other, out)
    with pytest.raises(OutputError, match=r"options\.on_bad \(\"skip\" there, \"mask\" asked for"):
        ecgjepa.predict_table(clinic / "files", clinic / "model", out, on_bad="mask")
    with pytest.raises(OutputError, match=r"inputs\.number \(31 there, 1 asked for\)"):
        ecgjepa.predict_table(clinic / "files" / "00.hea", clinic / "model", out)
    begun = ecgjepa.predict_table(clinic / "files" / "00.hea", other, out, restart=True)
    assert (begun.num_inputs, begun.num_resumed) == (1, 0)


def test_a_finished_table_is_kept(clinic, tmp_path):
    out = tmp_path / "t.csv"
    begin(clinic, out)
    files, model = clinic / "files", clinic / "model"
    assert ecgjepa.predict_table(files, model, out).num_resumed == 10
    before = out.read_bytes(), out.stat().st_mtime_ns
    again = ecgjepa.predict_table(files, model, out)
    assert again.num_resumed == again.num_inputs == 31
    assert len(again.failures) == 4
    assert (out.read_bytes(), out.stat().st_mtime_ns) == before
    with pytest.raises(OutputError, match=r"differs in inputs \(31 records there, 1 asked for\)\."):
        ecgjepa.predict_table(files / "00.hea", model, out)
    with pytest.raises(OutputError, match=r"is there already, and differs in options\.on_bad"):
        ecgjepa.predict_table(files, model, out, on_bad="mask")
    out.write_text("mine")
    with pytest.raises(OutputError, match="was changed since it was written"):
        ecgjepa.predict_table(files, model, out)
    summary_file(out).unlink()
    with pytest.raises(OutputError, match="nothing tells what it is of"):
        ecgjepa.predict_table(files, model, out)
    assert out.read_text() == "mine"
    ecgjepa.predict_table(files, model, out, overwrite=True)
    assert out.read_bytes() == before[0]


@pytest.mark.parametrize("place", ["write_summary", "_remove_parts"])
def test_a_run_killed_while_it_finishes_finishes_again(clinic, tmp_path, monkeypatch, place):
    files, model, out = clinic / "files", clinic / "model", tmp_path / "t.csv"

    def die(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(parts, place, die)
        with pytest.raises(Killed):
            ecgjepa.predict_table(files, model, out)
    content = out.read_bytes()
    written = ecgjepa.predict_table(files, model, out)
    assert (written.num_resumed, written.num_inputs, len(written.failures)) == (31, 31, 4)
    assert out.read_bytes() == content
    assert len(rows_of(out)) == 32
    assert not parts_folder(out).exists()


def test_two_runs_do_not_write_one_table(clinic, tmp_path):
    out = tmp_path / "t.csv"
    parts_folder(out).mkdir()
    with (
        holding(parts_folder(out) / ".lock"),
        pytest.raises(OutputError, match="another run is at work there already"),
    ):
        ecgjepa.predict_table(clinic / "files", clinic / "model", out)


def test_what_cannot_be_written_is_refused_before_any_work(clinic, tmp_path):
    expected = "expected .csv, .parquet or .jsonl"
    for name, words in (("t.xlsx", f"ends in .xlsx; {expected}"), ("t", f"no suffix; {expected}")):
        with pytest.raises(OutputError, match=words):
            ecgjepa.predict_table(clinic / "files", clinic / "model", tmp_path / name)
    with pytest.raises(RecordFormatError, match="truncated"):
        ecgjepa.predict_table(
            clinic / "files", clinic / "model", tmp_path / "t.csv", on_bad="raise"
        )
    assert not list(tmp_path.iterdir())


def test_the_table_is_no_input_of_its_own(clinic, tmp_path):
    """A folder's description would make it an ECG."""
    write_wfdb(tmp_path / "a.hea", toy_ecg(np.random.default_rng(0)))
    (tmp_path / "ecg.json").write_text('{"sampling_rate": 500, "unit": "mV"}')
    for _ in range(2):
        written = ecgjepa.predict_table(tmp_path, clinic / "model", tmp_path / "t.csv")
        assert written.num_inputs == 1
        assert written.notices == ()


def ecgjepa_command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["ecgjepa", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def test_the_command_says_what_became_of_a_folder(clinic, tmp_path, monkeypatch, capsys):
    out, model = tmp_path / "t.csv", clinic / "model"
    words = ("predict", clinic / "files", "--model", model, "--out", out)
    assert ecgjepa_command(monkeypatch, *words) == 1
    text = capsys.readouterr().out
    assert "27 of 31 records predicted" in text
    assert "3 truncated, such as" in text
    assert f"{out}: 31 rows" in text
    assert ecgjepa_command(monkeypatch, *words, "--json") == 1
    content = json.loads(capsys.readouterr().out)
    assert content["failed"] == {"truncated": 3, "unsupported_format": 1}
    assert content["resumed"] == 31
    code = ecgjepa_command(monkeypatch, *words[:2], "--model", model, "--out", tmp_path / "t.doc")
    assert code == 2
    good = ("predict", clinic / "files" / "00.hea", "--model", model, "--out", tmp_path / "g.jsonl")
    assert ecgjepa_command(monkeypatch, *good) == 0


def test_the_command_reads_a_list_from_another_program(clinic, monkeypatch, capsys):
    names = [str(clinic / "files" / name) for name in ("00.hea", "04.hea")]
    monkeypatch.setattr(sys, "stdin", iter(f"{name}\n" for name in names))
    code = ecgjepa_command(monkeypatch, "predict", "-", "--model", clinic / "model", "--json")
    assert code == 1
    content = json.loads(capsys.readouterr().out)
    assert [each["file"] for each in content] == names
    assert [each["reason"] for each in content] == [None, "truncated"]


def test_written_is_told_apart_by_what_it_holds(tmp_path):
    assert Written(tmp_path, 3, 3, num_resumed=1) == Written(tmp_path, 3, 3)
