"""The examples in the docstrings of the front door run, one after the other, in one folder."""

import doctest

import pytest
from fetching.archive_server import serving
from fetching.georgia import FILES

import ecgjepa
from ecgjepa import demonstration

# What an example needs was made by those before it.
ORDER = (
    "simulate",
    "prepare",
    "prepare_share",
    "pretrain",
    "online_probe",
    "probe",
    "finetune",
)
NAMES = [*ORDER, *(name for name in sorted(ecgjepa.__all__) if name not in ORDER)]
NAMES.remove("__version__")
NAMES.remove("demo")  # tests/acceptance/test_demo.py


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("examples")


@pytest.fixture
def mirror(monkeypatch):
    """Publish a database on this machine, for the example of `ecgjepa.fetch`."""
    with serving() as server:
        server.publish_physionet("challenge-2021", "1.0.3", FILES)
        monkeypatch.setenv("ECGJEPA_MIRROR", server.url)
        yield


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_every_public_name_runs(name, folder, mirror, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ECGJEPA_CACHE", str(folder / "cache"))
    monkeypatch.setattr(demonstration, "_PROBE", ("steps=20", "validate_every=10"))
    monkeypatch.setattr(demonstration, "_FINETUNE", ("steps=4", "validate_every=2"))
    documented = getattr(ecgjepa, name)
    example = doctest.DocTestParser().get_doctest(documented.__doc__, {}, name, None, 0)
    assert example.examples, f"ecgjepa.{name} has no example"
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    assert not runner.run(example, out=said.append).failed, "".join(said)
