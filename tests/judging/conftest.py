"""A classifier to judge, trained in a moment, and a folder of records that it has not seen."""

import pytest
from conftest import write_ptb_xl
from judged_records import write_kinds
from small_encoders import save_encoder

import ecgjepa


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("judging-cache")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder") / "model")


@pytest.fixture(scope="session")
def clinic(tmp_path_factory):
    """An archive of 120 records of patients that no classifier here has seen."""
    root = write_ptb_xl(tmp_path_factory.mktemp("clinic"), records=120, seed=7, seconds=4)
    for table in root.glob("*.csv"):
        table.unlink()
    return root


@pytest.fixture(scope="session")
def table(ptb_xl, tmp_path_factory):
    return write_kinds(ptb_xl, tmp_path_factory.mktemp("table") / "kinds.csv")


@pytest.fixture(scope="session")
def probed(encoder, ptb_xl, table, cache, tmp_path_factory):
    """A linear probe of four labels, one for each kind."""
    folder = tmp_path_factory.mktemp("probed") / "probe"
    asked = {"task": str(table), "protocol": "linear", "cache": cache}
    return ecgjepa.probe(encoder, {"ptb-xl": ptb_xl}, folder, **asked)
