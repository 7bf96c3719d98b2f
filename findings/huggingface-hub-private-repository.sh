#!/bin/sh
# huggingface_hub 2.4.0: create_repo(name, private=True, exist_ok=True), of a repository that is public.
# Expected: an error or a warning that it is not private, for what is sent next will be seen by all.
# Seen: it returns as for a new repository, without a word, and asks the server nothing more.
# The server here is a stand-in on 127.0.0.1 that answers status 409, "already created".
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'huggingface_hub==2.4.0'
cd "$folder"
cat > case.py <<'PYTHON'
import json
import threading
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer

from huggingface_hub import HfApi

asked = []


class Hub(BaseHTTPRequestHandler):
    def do_POST(self):
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append((self.path, told.get("visibility")))
        self.answer(409, {"error": "You already created this model repo", "url": f"{address}/owner/name"})

    def do_GET(self):
        asked.append((self.path, None))
        self.answer(200, {"id": "owner/name", "private": False})

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"
api = HfApi(endpoint=address, token="none")
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    url = api.create_repo("owner/name", private=True, exist_ok=True)
print("returned:", url.repo_id, "warnings:", len(told), "asked:", asked)
found = api.model_info("owner/name").private
print("private:", found)
server.shutdown()
assert asked[0] == ("/api/repos/create", "private")
assert (len(asked), len(told), found) == (2, 0, False), "the behaviour has changed"
PYTHON
"$folder/venv/bin/python" case.py
