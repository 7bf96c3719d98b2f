"""A small archive on 127.0.0.1 that publishes files as PhysioNet and Zenodo do, and misbehaves."""

import hashlib
import json
import sys
import threading
from collections import defaultdict, deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit


class Request(NamedTuple):
    method: str
    path: str
    range: str | None
    if_range: str | None
    connection: int


class ArchiveServer(ThreadingHTTPServer):
    """Serves ``files``; a fault in ``faults[path]`` is used up by one GET of that path."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, deque] = defaultdict(deque)
        self.requests: list[Request] = []
        self.tags = True
        self.ranges = True
        self.heads = True
        self.told_length: str | None = None  # What HEAD says of every file.
        self.blocked = threading.Event()  # set when a "stall" has sent its bytes
        self.release = threading.Event()

    def handle_error(self, request, client_address):
        """A client that hangs up is not a fault, and its traceback no output of the command."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def gets(self, ending: str = "") -> list[Request]:
        return [r for r in self.requests if r.method == "GET" and r.path.endswith(ending)]

    def publish_physionet(self, project: str, version: str, files: dict[str, bytes]) -> None:
        root = f"/physionet.org/files/{project}/{version}/"
        lines = [f"{hashlib.sha256(content).hexdigest()} {name}" for name, content in files.items()]
        self.files |= {root + name: content for name, content in files.items()}
        self.files[root + "SHA256SUMS.txt"] = ("\n".join(lines) + "\n").encode()

    def publish_zenodo(self, record: str, files: dict[str, bytes]) -> None:
        root = f"/zenodo.org/api/records/{record}"
        entries = [
            {
                "key": name,
                "size": len(content),
                "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
            }
            for name, content in files.items()
        ]
        self.files |= {f"{root}/files/{name}/content": content for name, content in files.items()}
        self.files[root] = json.dumps({"id": int(record), "files": entries}).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._note()
        content = self.server.files.get(self.path)
        if content is None or not self.server.heads:
            self._send(404 if content is None else 405, b"")
        else:
            self._start(200, self.server.told_length or len(content))
            self.end_headers()

    def do_GET(self):
        self._note()
        content = self.server.files.get(self.path)
        faults = self.server.faults[self.path]
        fault = faults.popleft() if faults else None
        if _is(fault, "answer"):
            status, headers = fault[1:]
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            return
        if isinstance(fault, int):
            self._send(fault, b"not now")
            return
        if content is None:
            self._send(404, b"not here")
            return
        tag = self._tag(content)
        first, status = 0, 200
        asked = self.headers.get("Range")
        is_same = self.headers.get("If-Range") in (None, tag)
        if asked and self.server.ranges and is_same:
            first, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            if first >= len(content):
                self._start(416, 0)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
        body = content[first:]
        if fault == "corrupt":
            body = body[:-1] + bytes([body[-1] ^ 1])
        self._start(status, fault[1] if _is(fault, "length") else len(body))
        if self.server.tags:
            self.send_header("ETag", tag)
        if status == 206:
            last = len(content) - 1
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.end_headers()
        if _is(fault, "cut") or _is(fault, "stall"):
            self.wfile.write(body[: fault[1]])
            self.wfile.flush()
            if fault[0] == "stall":
                self.server.blocked.set()
                self.server.release.wait(5)
            self.close_connection = True
            return
        self.wfile.write(body)

    def _note(self):
        self.path = urlsplit(self.path).path  # A proxy is asked for the whole address.
        self.server.requests.append(
            Request(
                self.command,
                self.path,
                self.headers.get("Range"),
                self.headers.get("If-Range"),
                self.client_address[1],
            )
        )

    def _tag(self, content: bytes) -> str:
        return f'"{hashlib.sha256(content).hexdigest()[:12]}"'

    def _start(self, status: int, length: int | str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))

    def _send(self, status: int, body: bytes) -> None:
        self._start(status, len(body))
        self.end_headers()
        self.wfile.write(body)


def _is(fault, kind: str) -> bool:
    return isinstance(fault, tuple) and fault[0] == kind


@contextmanager
def serving():
    server = ArchiveServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
