"""A small archive on this machine that publishes Georgia."""

import pytest
from fetching.archive_server import serving
from fetching.georgia import FILES

from ecgjepa.fetching import client, transfer, work
from ecgjepa.fetching.fetch import fetch as run


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(transfer, "RETRY_SECONDS", (0.0,) * 5)
    monkeypatch.setattr(client, "TIMEOUT_SECONDS", 2.0)
    monkeypatch.setattr(work, "_SECONDS_BETWEEN_NEWS", 0.02)
    monkeypatch.delenv("ECGJEPA_MIRROR", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as server:
        server.publish_physionet("challenge-2021", "1.0.3", FILES)
        yield server


@pytest.fixture
def georgia(server, tmp_path):
    """Return a function that fetches Georgia from the server."""

    def fetch_georgia(**options):
        return run("georgia", tmp_path / "g", **({"base_url": server.url} | options))

    return fetch_georgia
