"""The catalogue knows every database this package reads, and says where it knows that from."""

import dataclasses
import re

import pytest

from ecgjepa.databases import database_names
from ecgjepa.databases.catalogue import CATALOGUE, describe
from ecgjepa.databases.description import DatabaseDescription
from ecgjepa.errors import DatabaseError

ALL = list(CATALOGUE.values())


def test_the_paper_used_ten_of_the_eleven():
    used = [item for item in ALL if item.paper_records is not None]
    assert len(used) == 10
    # The totals of the paper.
    assert sum(item.paper_records for item in used) == 1_011_849
    assert sum(item.paper_seconds for item in used) == 10_394_994


def test_every_database_that_is_read_is_described():
    assert sorted(CATALOGUE) == database_names()


@pytest.mark.parametrize("item", ALL, ids=lambda item: item.name)
def test_a_description_is_whole(item):
    assert (item.paper_records or 0) <= item.num_records
    assert item.access == "open"
    assert all(100 <= rate <= 1000 for rate in item.sampling_rates)
    assert item.download_bytes > 5e8
    assert any("doi:10." in citation for citation in item.citations)
    assert item.origin.page.startswith("https://")
    # Every fact has a source; the name is ours.
    known = set(re.split(", ", ", ".join(item.sources)))
    fields = {field.name for field in dataclasses.fields(DatabaseDescription)} - {"name", "sources"}
    optional = {"title", "unpacked_bytes"}
    assert known <= fields
    assert fields - optional <= known


def test_unknown_names_get_a_hint():
    with pytest.raises(DatabaseError, match=r"'ptb_xl'; did you mean 'ptb-xl'\? Databases are"):
        describe("ptb_xl")
