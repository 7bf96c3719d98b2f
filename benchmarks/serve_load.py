"""Send good, damaged, too large and hostile files to `ecgjepa serve`, and see that none is lost.

    python benchmarks/serve_load.py [--model MODEL] [--seconds 60] [--clients 6] [--out FILE]

Clients send requests as fast as they are answered; one that gets 503 waits as it is told and tries
again. Hostile files are harmless stand-ins: names that lead elsewhere, tables that name files, a
packed array of zeros that unpacks to 480 MB, a client that hangs up halfway. Every few seconds a
process that reads files is killed, as by a file that crashes it. Without ``--model`` the model has
random weights. Ends with 1 if a request has no answer, or not the one that it must have.
"""

import argparse
import gzip
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import machine
import numpy as np
import torch

from ecgjepa.config import EncoderConfig
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.folder import ModelConfig, PretrainingFacts, save_model
from ecgjepa.model.heads import Classifier, HeadConfig, build_head
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.model.outputs import TaskConfig
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.preprocessing import PreprocessingConfig

Parts = list[tuple[str, tuple[str, bytes]]]
MEGABYTES, MEMORY = 20, 300
LABELS = ("CD", "HYP", "MI", "NORM", "STTC")
DESCRIPTION = json.dumps({"sampling_rate": 500, "unit": "uV", "leads": list(LEADS)}).encode()


def made_model(folder: Path) -> Path:
    """Write a model of random weights of a small preset's size, and return its folder."""
    torch.manual_seed(0)
    config = ModelConfig(
        encoder=EncoderConfig(patch_size=10, dim=96, depth=4, num_heads=4),
        head=HeadConfig(kind="attentive", num_labels=len(LABELS)),
        task=TaskConfig(name="load", kind="multi-label", labels=LABELS, descriptions=LABELS),
        preprocessing=PreprocessingConfig(sampling_rate=100.0),
        normalisation=NormalisationConfig(mean=(0.0,) * 12, std=(0.2,) * 12),
        pretraining=PretrainingFacts(steps=0, seed=0, store="", folds={}, records={}),
    )
    encoder = build_encoder(config.encoder)
    assert config.head is not None
    save_model(folder, Classifier(encoder, build_head(config.head, encoder)), config, "random")
    return folder


def wfdb_parts(rng: np.random.Generator, name: str = "ecg") -> Parts:
    """Return the two files of a WFDB record of ten seconds of noise."""
    digital = rng.integers(-500, 500, (5000, 12)).astype("<i2")
    sums = digital.astype(np.int64).sum(axis=0) & 0xFFFF
    lines = [f"{name} 12 500 5000"] + [
        f"{name}.dat 16 1000.0(0)/mV 16 0 {digital[0, lead]} {sums[lead]} 0 {LEADS[lead]}"
        for lead in range(12)
    ]
    header = ("\n".join(lines) + "\n").encode()
    return [("files", (f"{name}.hea", header)), ("files", (f"{name}.dat", digital.tobytes()))]


def made_requests() -> dict[str, tuple[Parts, Callable[[httpx.Response], bool]]]:
    """Return the kinds of requests: what is sent, and whether an answer is the right one."""
    rng = np.random.default_rng(0)
    one = wfdb_parts(rng)
    cut = [one[0], ("files", ("ecg.dat", one[1][1][1][:50_000]))]
    several = [part for number in range(5) for part in wfdb_parts(rng, f"r{number}")]
    zeros = io.BytesIO()
    np.save(zeros, np.zeros((20_000_000, 12), np.int16))
    packed = gzip.compress(zeros.getvalue(), 1)
    bomb: Parts = [
        ("files", ("zeros.npy.gz", packed)),
        ("files", ("zeros.npy.gz.json", DESCRIPTION)),
        *wfdb_parts(rng, "after"),
    ]
    table: Parts = [("files", ("list.csv", b"file\n/etc/hostname\n"))]
    elsewhere = [("files", ("../../ecg.hea", one[0][1][1])), one[1]]
    odd = one[0][1][1].replace(b"12 500 5000", b"12 500 99999999999")
    many: Parts = [("files", (f"{number}.hea", b"x")) for number in range(150)]
    return {
        "good": (one, _answered("ok")),
        "several": (several, _answered(*["ok"] * 5)),
        "damaged": (cut, _answered("refused")),
        "text": ([("files", ("notes.txt", b"hello" * 99))], _answered("refused")),
        "empty": ([("files", ("x.xml", b""))], _answered("refused")),
        "odd header": ([("files", ("ecg.hea", odd)), one[1]], _answered("refused")),
        "unpacks to 480 MB": (bomb, _answered("refused", "ok")),
        "names files": (table, _answered("refused")),
        "leads elsewhere": (elsewhere, _answered("ok")),
        "too large": ([("files", ("x.dat", bytes(21_000_000)))], _has_status(413)),
        "too many": (many, _has_status(422)),
    }


def _answered(*expected: str) -> Callable[[httpx.Response], bool]:
    """Return a check of an answer; a reader that was killed refuses its records by that name."""

    def check(answer: httpx.Response) -> bool:
        if answer.status_code != 200:
            return False
        found = answer.json()["predictions"]
        if found and found[0]["reason"] == "reader_ended":
            return True
        states = ["ok" if one["error"] is None else "refused" for one in found]
        killed = [one["reason"] == "reader_ended" for one in found]
        pairs = zip(states, expected, killed, strict=True)
        return all(state == right or was_killed for state, right, was_killed in pairs)

    return check


def _has_status(status: int) -> Callable[[httpx.Response], bool]:
    return lambda answer: answer.status_code == status


class Load:
    """Clients of one service, and what became of their requests."""

    def __init__(self, url: str, seconds: float) -> None:
        self.url, self.until = url, time.monotonic() + seconds
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.busy = 0
        self._kinds = made_requests()
        self._lock = threading.Lock()

    def client(self, number: int) -> None:
        """Send requests of all kinds until the time is over."""
        draw = random.Random(number)
        names = list(self._kinds)
        weights = [1 if name.startswith(("too large", "unpacks")) else 6 for name in names]
        with httpx.Client(base_url=self.url, timeout=120) as client:
            while time.monotonic() < self.until:
                [name] = draw.choices(names, weights)
                parts, is_right = self._kinds[name]
                try:
                    answer = self._patiently(client, parts)
                    right = is_right(answer)
                    words = f"{answer.status_code} {answer.text[:300]}"
                except httpx.HTTPError as error:
                    right, words = False, repr(error)
                with self._lock:
                    self.answers[name] += 1
                    if not right:
                        self.wrong.append(f"{name}: {words}")

    def _patiently(self, client: httpx.Client, parts: Parts) -> httpx.Response:
        while True:
            answer = client.post("/predict", files=parts)
            if answer.status_code != 503:
                return answer
            with self._lock:
                self.busy += 1
            time.sleep(float(answer.headers["Retry-After"]))

    def hang_up(self) -> None:
        """Send half of a request now and then, and leave."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n\r\n"
        while time.monotonic() < self.until:
            with socket.create_connection((host, int(port))) as half:
                half.sendall(head.encode() + bytes(5000))
                time.sleep(0.5)


def children(process: int) -> list[int]:
    """Return the processes that a process has started."""
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(word) for word in text.split()]


def resident(process: int) -> int:
    """Return the memory of a process in bytes; 0 if it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def watch(service: int, load: Load, sizes: list[int], kills: list[int]) -> None:
    """Note the memory of the service each second, and kill a reader every five."""
    second = 0
    while time.monotonic() < load.until:
        time.sleep(1)
        second += 1
        sizes.append(resident(service))
        if second % 5 == 0 and (readers := children(service)):
            os.kill(readers[-1], signal.SIGKILL)
            kills.append(readers[-1])


def run(model: Path, seconds: float, clients: int) -> dict[str, Any]:
    """Start the service, load it, end it, and return the figures."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ecgjepa", "-q", "serve", "--model", str(model)]
    command += ["--port", str(port), "--readers", "2", "--queue", "4"]
    command += ["--max-megabytes", str(MEGABYTES), "--max-memory", str(MEMORY)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command) as service:
        _wait_for(url)
        first = resident(service.pid)
        load, sizes, kills = Load(url, seconds), list[int](), list[int]()
        jobs = [threading.Thread(target=load.client, args=(n,)) for n in range(clients)]
        jobs.append(threading.Thread(target=load.hang_up))
        jobs.append(threading.Thread(target=watch, args=(service.pid, load, sizes, kills)))
        start = time.monotonic()
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        took = time.monotonic() - start
        metrics = httpx.get(f"{url}/metrics").text
        service.terminate()
        status = service.wait(120)
    sixth = max(1, len(sizes) // 6)
    return {
        "seconds": round(took, 1),
        "clients": clients,
        "answered": dict(sorted(load.answers.items())),
        "requests_per_second": round(load.answers.total() / took, 1),
        "busy_503_and_tried_again": load.busy,
        "without_right_answer": load.wrong[:20],
        "readers_killed": len(kills),
        "service_mb_at_start": round(first / 1e6),
        "service_mb_in_each_sixth": [
            round(max(sizes[start : start + sixth]) / 1e6)
            for start in range(0, 6 * sixth, sixth)
            if sizes[start : start + sixth]
        ],
        "exit_status": status,
        "metrics": [line for line in metrics.splitlines() if "_total{" in line],
    }


def _wait_for(url: str) -> None:
    for _ in range(600):
        try:
            httpx.get(f"{url}/health").raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError("the service does not answer")


def main() -> None:
    """Load the service and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = asked.model or made_model(Path(folder) / "model")
        measured = run(model, asked.seconds, asked.clients)
    machine.report(asked.out, measured)
    sys.exit(bool(measured["without_right_answer"]))


if __name__ == "__main__":
    main()
