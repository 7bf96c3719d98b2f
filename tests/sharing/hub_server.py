"""A small Hub on 127.0.0.1: the requests that huggingface_hub 2.4.0 makes, and no others.

Files of safetensors are in its large file storage, which is reached by a redirect, all others in
git. Nothing of it is xet storage.
"""

import base64
import hashlib
import json
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class Repository:
    """Commits of one repository, each a dictionary of files, and what its branches lead to."""

    def __init__(self, private=False):
        self.private, self.gated = private, False
        self.commits: dict[str, dict[str, bytes]] = {}
        self.branches: dict[str, str] = {}

    def commit(self, files, branch="main"):
        text = json.dumps([len(self.commits), sorted(files)]).encode()
        name = hashlib.sha1(text + b"".join(files[key] for key in sorted(files))).hexdigest()
        self.commits[name] = dict(files)
        self.branches[branch] = name
        return name


class HubServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.storage: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[str | None] = []
        self.token = "hf_" + "secret" * 5
        self.instead: dict[str, bytes] = {}  # what is sent in place of a file
        self.sizes: dict[str, int] = {}  # what is said of a file's size
        self.endless: set[str] = set()  # files that are sent again and again
        self.failing: tuple[int, str] | None = None  # status and message of every answer

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def storage_url(self):
        """Address of the large file storage, which is another host: it must not see tokens."""
        return f"http://localhost:{self.server_address[1]}/storage"

    def add(self, name, files, **options):
        repository = self.repositories.setdefault(name, Repository(**options))
        return repository.commit({".gitattributes": b"*.safetensors filter=lfs\n"} | files)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self):
        address = urlsplit(self.path)
        self.path_parts = [unquote(part) for part in address.path.strip("/").split("/")]
        self.query = parse_qs(address.query)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.server.requests.append((self.command, address.path))
        self.server.tokens.append(self.headers.get("Authorization"))
        if self.server.failing is not None:
            status, message = self.server.failing
            return self._send(status, {"error": message}, {"X-Error-Message": message})
        match self.path_parts:
            case ["api", "models", owner, name, *rest]:
                return self._of_repository(f"{owner}/{name}", rest)
            case ["api", "repos", "create"]:
                return self._create(json.loads(self.body))
            case ["api", "validate-yaml"]:
                return self._send(200, {"errors": [], "warnings": []})
            case ["storage", oid]:
                return self._storage(oid)
            case [owner, name, "resolve", revision, file]:
                return self._resolve(f"{owner}/{name}", revision, file)
            case [owner, name, "info", "lfs", "objects", "batch"]:
                return self._batch(f"{owner}/{name.removesuffix('.git')}")
        return self._send(404, {"error": "no such address"})

    def _has_access(self):
        return self.headers.get("Authorization") == f"Bearer {self.server.token}"

    def _find(self, name, revision="main"):
        """Return a repository and the commit of a revision, or answer that there is none."""
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and not self._has_access()):
            self._send(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        if repository.gated and not self._has_access():
            self._send(403, {"error": "Access is restricted"}, {"X-Error-Code": "GatedRepo"})
            return None
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits and (revision != "main" or repository.commits):
            self._send(404, {"error": "no"}, {"X-Error-Code": "RevisionNotFound"})
            return None
        return repository, commit

    def _of_repository(self, name, rest):
        match rest:
            case [] | ["revision", _]:
                if found := self._find(name, *rest[1:]):
                    repository, commit = found
                    files = repository.commits.get(commit, {})
                    siblings = [self._sibling(file, files[file]) for file in sorted(files)]
                    content = {"id": name, "sha": commit, "private": repository.private}
                    self._send(200, content | {"siblings": siblings})
            case ["preupload", _]:
                asked = json.loads(self.body)["files"]
                told = [
                    {
                        "path": one["path"],
                        "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                        "shouldIgnore": False,
                        "oid": None,
                    }
                    for one in asked
                ]
                self._send(200, {"files": told})
            case ["commit", branch]:
                self._commit(name, branch)
            case _:
                self._send(404, {"error": "no such address"})

    def _sibling(self, file, content):
        size = self.server.sizes.get(file, len(content))
        if not self.query.get("blobs"):
            return {"rfilename": file}
        if not file.endswith(".safetensors"):
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return {"rfilename": file, "size": size, "blobId": blob}
        digest = hashlib.sha256(content).hexdigest()
        lfs = {"size": size, "sha256": digest, "pointerSize": 134}
        return {"rfilename": file, "size": size, "blobId": "0" * 40, "lfs": lfs}

    def _resolve(self, name, revision, file):
        if not (found := self._find(name, revision)):
            return None
        repository, commit = found
        content = repository.commits[commit].get(file)
        if content is None:
            return self._send(404, {"error": "no"}, {"X-Error-Code": "EntryNotFound"})
        told = {"X-Repo-Commit": commit}
        digest = hashlib.sha256(content).hexdigest()
        sent = self.server.instead.get(file, content)
        if not file.endswith(".safetensors"):
            return self._send(200, sent, told | {"ETag": f'"{digest[:40]}"'})
        self.server.storage[digest] = sent
        if file in self.server.endless:
            self.server.endless.add(digest)
        told |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(sent))}
        return self._send(302, b"", told | {"Location": f"{self.server.storage_url}/{digest}"})

    def _create(self, asked):
        if not self._has_access():
            return self._send(401, {"error": "Invalid username or password."})
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.server.repositories:
            url = f"{self.server.url}/{name}"
            return self._send(409, {"error": "You already created this model repo", "url": url})
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.server.repositories[name] = Repository(private=private)
        return self._send(200, {"url": f"{self.server.url}/{name}", "name": name})

    def _batch(self, _name):
        objects = [
            {
                **one,
                "actions": {
                    "upload": {"href": f"{self.server.storage_url}/{one['oid']}"},
                    "verify": {"href": f"{self.server.storage_url}/{one['oid']}"},
                },
            }
            for one in json.loads(self.body)["objects"]
        ]
        self._send(200, {"transfer": "basic", "objects": objects})

    def _storage(self, oid):
        if self.command == "PUT":
            is_right = hashlib.sha256(self.body).hexdigest() == oid
            self.server.storage[oid] = self.body
            return self._send(200 if is_right else 400, {})
        if oid not in self.server.storage:
            return self._send(404, {})
        if oid in self.server.endless and self.command == "GET":
            return self._send_for_ever(self.server.storage[oid])
        return self._send(200, {} if self.command == "POST" else self.server.storage[oid])

    def _send_for_ever(self, content):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:  # until the client leaves
            self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))

    def _commit(self, name, branch):
        repository, before = self._find(name, branch)
        files = dict(repository.commits.get(before, {}))
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            match item["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.server.storage[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        commit = repository.commit(files, branch)
        url = f"{self.server.url}/{name}/commit/{commit}"
        self._send(200, {"success": True, "commitOid": commit, "commitUrl": url})

    def _send(self, status, content, headers=None):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def running():
    """Run a Hub while the block runs."""
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
