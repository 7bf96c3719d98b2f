"""The command `ecgjepa serve` as a process: the page's examples, and how it ends."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb
from tiny_model import save_tiny_model

import ecgjepa
from ecgjepa.errors import ServiceError
from ecgjepa.serving import serve as serving

PAGE = Path(__file__).parents[2] / "docs/service.md"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder with an ECG and a model, and the process that serves the model."""
    folder = tmp_path_factory.mktemp("served")
    model = save_tiny_model(folder / "model")
    write_wfdb(folder / "ecg.hea", toy_ecg(np.random.default_rng(0)))
    port = free_port()
    command = [sys.executable, "-m", "ecgjepa", "serve", "--model", str(model)]
    log = (folder / "log.txt").open("w")
    command += ["--port", str(port), "--readers", "1"]
    (folder / "tmp").mkdir()
    own = {**os.environ, "TMPDIR": str(folder / "tmp")}
    with subprocess.Popen(command, stderr=log, env=own) as process:
        try:
            wait_for(port, process)
            yield folder, port, process
        finally:
            process.kill()
            log.close()


def wait_for(port, process):
    for _ in range(600):
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health").raise_for_status()
        except httpx.TransportError:
            assert process.poll() is None, "the service ended"
            time.sleep(0.1)
    raise AssertionError("the service does not answer")


def examples(language, port):
    found = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [text.replace(":8000", f":{port}") for text in found]


def test_the_examples_of_the_page(served):
    folder, port, _ = served
    [expected] = ecgjepa.predict(str(folder / "ecg.hea"), folder / "model")
    [program] = examples("python", port)
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=folder, capture_output=True, text=True
    )
    assert told.stderr == ""
    name, _, rest = told.stdout.partition(" ")
    assert name == "ecg.hea"
    assert eval(rest) == pytest.approx(expected.probabilities, abs=1e-6)
    if shutil.which("curl") is None:
        return
    [command] = examples("sh", port)
    answer = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True)
    assert '"file":"ecg.hea"' in answer.stdout


def test_what_was_accepted_is_answered_before_the_service_ends(served):
    folder, port, process = served
    boundary = "part"
    body = b"".join(
        f"--{boundary}\r\n".encode()
        + f'Content-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
        + (folder / name).read_bytes()
        + b"\r\n"
        for name in ("ecg.hea", "ecg.dat")
    )
    body += f"--{boundary}--\r\n".encode()
    head = (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(head.encode() + body[:5000])
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        client.sendall(body[5000:])
        client.settimeout(30)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"probabilities":{"A":' in answer
    process.wait(30)
    log = (folder / "log.txt").read_text()
    assert "Traceback" not in log
    assert f"listening at http://127.0.0.1:{port} until Ctrl-C" in log
    assert f"try it: curl --form files=@FILE http://127.0.0.1:{port}/predict" in log
    # Neither names nor contents of files are logged.
    assert "ecg.hea" not in log
    children = subprocess.run(["ps", "-A", "-o", "ppid="], capture_output=True, text=True).stdout
    assert str(process.pid) not in children.split()
    assert not list(folder.glob("tmp/ecgjepa-serve-*"))


def test_other_machines_are_let_in_with_a_warning(served, monkeypatch, caplog):
    folder, _, _ = served
    ran = []

    def run(server, sockets):
        server.started = True
        ran.append(sockets[0].getsockname())

    monkeypatch.setattr("uvicorn.Server.run", run)
    port = free_port()
    serving.serve(folder / "model", host="0.0.0.0", port=port, readers=1)
    assert "whoever reaches 0.0.0.0 may send ECGs" in caplog.text
    caplog.clear()
    serving.serve(folder / "model", port=port, readers=1)
    assert "WARNING" not in caplog.text
    assert ran == [("0.0.0.0", port), ("127.0.0.1", port)]


def test_a_port_that_is_taken_is_told(served):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=rf"port {port}: .*in use; choose another --port"):
            serving.serve(served[0] / "model", port=port)


def test_a_missing_package_is_named(served, monkeypatch):
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    with pytest.raises(ServiceError, match=r"python_multipart.*pip install 'ecgjepa\[serve\]'"):
        serving.serve(served[0] / "model")
