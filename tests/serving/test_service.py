"""The service, asked in this process: answers, limits, and files that mean no good."""

import gzip
import io
import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb
from fastapi.testclient import TestClient
from tiny_model import save_tiny_model

import ecgjepa
from ecgjepa.inference.prediction import Prediction
from ecgjepa.inference.schema import PredictionSchema
from ecgjepa.model.outputs import TaskConfig
from ecgjepa.serving.contents import FindingContent, PredictionContent
from ecgjepa.serving.limits import Limits
from ecgjepa.serving.serve import application
from ecgjepa.signals.leads import LEADS

HOME = "http://127.0.0.1"
LIMITS = Limits(body_bytes=4_000_000, records=5, signal_seconds=60)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def client(model):
    with TestClient(application(model, limits=LIMITS, readers=1), base_url=HOME) as client:
        yield client


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A WFDB record, a described table and array, and a file that is no ECG."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(3)
    write_wfdb(folder / "one.hea", toy_ecg(rng))
    table = toy_ecg(rng, num_samples=1200, rate=100)
    rows = "\n".join(",".join(map(str, row)) for row in table)
    (folder / "two.csv").write_text(",".join(LEADS) + "\n" + rows + "\n")
    (folder / "two.csv.json").write_text(json.dumps({"sampling_rate": 100, "unit": "uV"}))
    np.save(folder / "three.npy", np.stack([toy_ecg(rng, num_samples=500, rate=100)] * 2))
    (folder / "three.npy.json").write_text(
        json.dumps({"sampling_rate": 100, "unit": "uV", "leads": list(LEADS)})
    )
    (folder / "notes.txt").write_text("nothing to see here")
    return folder


def parts(folder, *names):
    return [("files", (name, (folder / name).read_bytes())) for name in names]


def post(client, path, sent, **query):
    return client.post(path, files=sent, params=query)


def value(text, name):
    [line] = [line for line in text.splitlines() if line.startswith(name)]
    return float(line.split()[-1])


def test_predictions_are_those_of_the_command(client, files, model):
    sent = parts(files, *sorted(path.name for path in files.iterdir()))
    answer = post(client, "/predict", sent)
    assert answer.status_code == 200
    found = answer.json()
    assert found["beside"] == ["one.dat", "three.npy.json", "two.csv.json"]
    loaded = ecgjepa.load_model(model)
    schema = PredictionSchema(loaded.task)
    names = ["notes.txt", "one.hea", "three.npy#0", "three.npy#1", "two.csv"]
    expected = [
        json.loads(json.dumps(schema.content(one)).replace(f"{files}/", ""))
        for name in names
        for one in loaded.predict(str(files / name))
    ]
    assert [one["file"] for one in found["predictions"]] == names
    for ours, theirs in zip(found["predictions"], expected, strict=True):
        assert ours.keys() == theirs.keys()
        near = {"probabilities", "distance"}
        assert {k: v for k, v in ours.items() if k not in near} == {
            k: v for k, v in theirs.items() if k not in near
        }
        assert ours["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-6)
    assert found["predictions"][0]["error"] is not None
    assert found["predictions"][1]["error"] is None


@pytest.mark.realdata
def test_real_files_of_recorders_get_the_command_s_answer(client, model, real_data):
    files = sorted(
        path
        for path in (real_data / "formats").rglob("*")
        if path.suffix.lower() in (".dcm", ".xml")
    )
    files += sorted((real_data / "ptb-xl/records500").rglob("*.hea"))[:1]
    assert len(files) >= 5
    loaded = ecgjepa.load_model(model)
    for path in files:
        beside = [path.with_suffix(".dat")] if path.suffix == ".hea" else []
        sent = [("files", (each.name, each.read_bytes())) for each in (path, *beside)]
        [found] = post(client, "/predict", sent).json()["predictions"]
        [expected] = loaded.predict(path)
        assert found["error"] == expected.error
        assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
        assert (found["quality"], found["duration"]) == (expected.quality, expected.duration)


def test_features_are_those_of_embed(client, files, model):
    sent = parts(files, "one.hea", "one.dat", "notes.txt")
    records = post(client, "/embed", sent).json()["features"]
    frame = ecgjepa.embed(str(files / "one.hea"), model)
    assert np.allclose(records[0]["values"], frame.to_numpy(), atol=1e-6)
    assert (records[0]["record"], records[0]["starts"]) == ("one", None)
    assert (records[1]["values"], records[1]["reason"]) == ([], "not_described")
    windows = post(client, "/embed", sent, rows="window").json()["features"][0]
    frame = ecgjepa.embed(str(files / "one.hea"), model, pool="window")
    assert np.allclose(windows["values"], frame.to_numpy(), atol=1e-6)
    assert windows["starts"] == list(frame.index.get_level_values("start"))


def test_what_is_answered_is_what_the_schema_says(client):
    names = {field.alias or name for name, field in PredictionContent.model_fields.items()}
    task = TaskConfig(name="t", kind="multi-label", labels=("A",), descriptions=("",))
    assert names == set(PredictionSchema(task).content(Prediction("x")))
    assert set(FindingContent.model_fields) == {"code", "message", "lead"}
    told = client.get("/openapi.json").json()
    assert set(told["paths"]) == {"/health", "/model", "/metrics", "/predict", "/embed"}
    body = told["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert list(body) == ["multipart/form-data"]
    assert set(told["paths"]["/predict"]["post"]["responses"]) == {
        "200",
        "400",
        "408",
        "413",
        "422",
        "503",
    }


def test_facts_of_the_model(client, model):
    about = client.get("/model").json()
    assert [label["name"] for label in about["labels"]] == ["A", "B", "C"]
    assert (about["kind"], about["sampling_rate"], about["card"]) == ("multi-label", 100, "card")
    assert about["leads"] == list(LEADS)
    assert about["limits"]["body_bytes"] == LIMITS.body_bytes
    kinds = {name: type(value) for name, value in about["limits"].items()}
    assert kinds == {name: type(value) for name, value in asdict(LIMITS).items()}
    assert client.get("/health").json() == {"status": "ok", "version": ecgjepa.__version__}


def test_an_encoder_alone_serves_features_and_nothing_else(tmp_path, files):
    folder = save_tiny_model(tmp_path / "encoder", head=False)
    client = TestClient(application(folder), base_url=HOME)  # no file is read
    assert "/predict" not in client.get("/openapi.json").json()["paths"]
    assert post(client, "/predict", parts(files, "notes.txt")).status_code == 404
    assert client.get("/model").json()["kind"] == "encoder"


@pytest.mark.parametrize(
    "name", ["../../../one.hea", "C:\\ecgs\\one.hea", "/etc/one.hea", "..\\one.hea"]
)
def test_a_name_of_a_client_never_becomes_a_path(client, files, name):
    sent = [("files", (name, (files / "one.hea").read_bytes())), *parts(files, "one.dat")]
    [found] = post(client, "/predict", sent).json()["predictions"]
    assert (found["file"], found["error"]) == ("one.hea", None)


@pytest.mark.parametrize(
    "content",
    ["file\n{path}\n", "file;label\n{path};1\n"],
)
def test_a_table_that_names_files_is_not_followed(client, files, content):
    text = content.format(path=files / "one.hea")
    sent = [("files", ("list.csv", text.encode())), ("files", ("@list.txt", text.encode()))]
    found = post(client, "/predict", sent).json()["predictions"]
    assert [one["file"] for one in found] == ["list.csv", "@list.txt"]
    assert all(one["error"] is not None and not one["probabilities"] for one in found)


def test_a_header_that_names_a_file_elsewhere_is_refused(client, files):
    text = (files / "one.hea").read_text()
    for place in (str(files / "one.dat"), "../one.dat"):
        sent = [("files", ("one.hea", text.replace("one.dat", place).encode()))]
        [found] = post(client, "/predict", sent).json()["predictions"]
        assert found["error"] is not None
        assert "ecgjepa-serve" not in found["error"]


def test_requests_that_are_not_as_described_are_refused(client, files):
    one = ("one.hea", b"x")
    for sent, words in (
        ([("files", one), ("files", one)], "two files are called one.hea"),
        ([("files", one), ("signals", ("one.dat", b"x"))], "field 'signals'"),
        ([("file", one)], "files: missing; expected a form with at least one file in the field"),
    ):
        answer = post(client, "/predict", sent)
        assert answer.status_code == 422
        assert words in answer.json()["detail"]
    answer = post(client, "/predict", [("files", one)], on_bad="raise")
    assert answer.status_code == 422
    assert answer.json()["detail"] == "on_bad: Input should be 'skip' or 'mask'"
    many = [("files", (f"{number}.hea", b"x")) for number in range(6)]
    answer = post(client, "/predict", many)
    assert answer.status_code == 422
    assert "6 records in one request; at most 5" in answer.text


def test_a_body_that_is_cut_loses_no_file_without_a_word(client):
    part = '--x\r\nContent-Disposition: form-data; name="files"; filename="{}"\r\n\r\nabc'
    body = "\r\n".join(part.format(name) for name in ("a.hea", "b.hea"))
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = client.post("/predict", content=f"{body}\r\n--x--\r\n", headers=kind)
    assert [one["file"] for one in answer.json()["predictions"]] == ["a.hea", "b.hea"]
    answer = client.post("/predict", content=body, headers=kind)
    assert answer.status_code == 400
    assert "ends before the last boundary" in answer.json()["detail"]


def test_a_name_of_many_bytes_is_cut(client, files):
    names = ("€" * 150 + ".hea", "one.dat")
    sent = [("files", (name, (files / f"one.{name[-3:]}").read_bytes())) for name in names]
    [found] = post(client, "/predict", sent).json()["predictions"]
    assert (found["file"], found["error"]) == ("€" * 65 + ".hea", None)


def test_requests_that_are_too_large_are_refused(client):
    large = [("files", ("x.dat", bytes(LIMITS.body_bytes)))]
    answer = post(client, "/predict", large)
    assert answer.status_code == 413
    assert "at most 4,000,000 bytes" in answer.json()["detail"]
    # Without a length, it is refused as soon as it has grown too large.
    request = client.build_request("POST", "/predict", files=large)
    kind = {"Content-Type": request.headers["Content-Type"]}
    body = request.read()
    pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
    answer = client.post("/predict", content=pieces, headers=kind)
    assert answer.status_code == 413


def test_a_record_that_is_too_long_is_refused_and_the_others_are_answered(client, files, tmp_path):
    long = toy_ecg(np.random.default_rng(0), num_samples=7000, rate=100)
    write_wfdb(tmp_path / "long.hea", long, rate=100)
    sent = [*parts(tmp_path, "long.hea", "long.dat"), *parts(files, "one.hea", "one.dat")]
    first, second = post(client, "/predict", sent).json()["predictions"]
    assert (first["reason"], second["reason"]) == ("too_long", None)
    assert "70 s are too long for the service" in first["error"]


def test_whoever_sends_too_much_at_once_is_told_when_to_come_back(model, files):
    client = TestClient(application(model, limits=Limits(requests=0)), base_url=HOME)
    answer = post(client, "/predict", parts(files, "notes.txt"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    text = client.get("/metrics").text
    assert value(text, 'ecgjepa_requests_total{path="/predict",status="503"}') == 1


def test_another_name_of_this_machine_is_not_answered(client):
    assert client.get("/health", headers={"Host": "evil.example"}).status_code == 400


def test_requests_at_the_same_time_get_their_own_answers(client, files):
    alone = post(client, "/predict", parts(files, "one.hea", "one.dat")).json()["predictions"][0]

    def ask(number):
        kind = number % 3
        if kind == 0:
            return post(client, "/predict", parts(files, "one.hea", "one.dat"))
        if kind == 1:
            return post(client, "/predict", parts(files, "notes.txt"))
        return post(client, "/predict", parts(files, "two.csv", "two.csv.json"))

    before = value(client.get("/metrics").text, "ecgjepa_request_seconds_count")
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(ask, range(12)))
    assert {answer.status_code for answer in answers} == {200}
    for number, answer in enumerate(answers):
        [found] = answer.json()["predictions"]
        assert found["file"] == ("one.hea", "notes.txt", "two.csv")[number % 3]
        if number % 3 == 0:
            assert found["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-6)
    text = client.get("/metrics").text
    assert value(text, "ecgjepa_request_seconds_count") == before + 13
    assert value(text, "ecgjepa_requests_in_flight") == 0
    assert math.isfinite(value(text, "ecgjepa_resident_bytes"))


def test_a_file_that_takes_too_much_memory_is_refused_and_the_next_one_read(model, files):
    samples = np.zeros((2_000_000, 12), np.int16)
    packed = io.BytesIO()
    np.save(packed, samples)
    told = json.dumps({"sampling_rate": 5000, "unit": "uV", "leads": list(LEADS)}).encode()
    sent = [
        ("files", ("large.npy.gz", gzip.compress(packed.getvalue(), 1))),
        ("files", ("large.npy.gz.json", told)),
        *parts(files, "one.hea", "one.dat"),
    ]
    app = application(model, limits=Limits(memory_bytes=60_000_000), readers=1)
    with TestClient(app, base_url=HOME) as client:
        first, second = post(client, "/predict", sent).json()["predictions"]
    assert (first["file"], first["reason"]) == ("large.npy.gz", "memory_limit")
    assert (second["file"], second["reason"]) == ("one.hea", None)
