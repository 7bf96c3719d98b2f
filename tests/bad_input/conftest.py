"""An archive of a few records, each with its own fault, and what `prepare` makes of it."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb

import ecgjepa
from ecgjepa import cli
from ecgjepa.store.manifest import DatabaseSummary


class Archive:
    """WFDB records that are given as ``mine`` to `prepare`, and the store made of them last."""

    def __init__(self, root: Path) -> None:
        self.root = root / "mine"
        self.store = root / "store"
        self._rng = np.random.default_rng(0)
        self._count = 0

    def ecg(self, seconds: float = 10.0, rate: float = 500) -> np.ndarray:
        return toy_ecg(self._rng, num_samples=round(seconds * rate), rate=rate)

    def add(self, name: str, digital: np.ndarray | None = None, **options) -> Path:
        """Write a record, a faultless one by default, and return its header."""
        return write_wfdb(
            self.root / f"{name}.hea", self.ecg() if digital is None else digital, **options
        )

    def prepare(self, **options) -> DatabaseSummary:
        self._count += 1
        self.store = self.root.parent / f"store-{self._count}"
        return ecgjepa.prepare({"mine": self.root}, self.store, **options).databases["mine"]

    def samples(self, name: str) -> np.ndarray:
        with ecgjepa.Store(self.store) as store:
            return store.read_record(store.table()["record_id"].tolist().index(name))

    def row(self, name: str):
        with ecgjepa.Store(self.store) as store:
            return store.table().set_index("record_id").loc[name]

    def issues(self, name: str) -> list[str]:
        return list(self.row(name)["issues"])

    def refused(self, **options) -> None:
        """Assert that ``raise`` stops at a record, names its file and leaves nothing behind."""
        with pytest.raises(ecgjepa.errors.RecordError) as caught:
            self.prepare(on_bad="raise", **options)
        assert str(self.root) in str(caught.value)
        assert not self.store.exists()


@pytest.fixture
def mine(tmp_path) -> Archive:
    return Archive(tmp_path)


@pytest.fixture
def command(monkeypatch, capsys):
    """Return a function that runs the command: exit code, stdout, stderr."""
    before = logging.getLogger().handlers[:]

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ecgjepa", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield run
    logging.getLogger().handlers[:] = before
