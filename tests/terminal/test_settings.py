"""Every setting is explained: its docstring has a meaning for each key, and none for no key."""

import pytest

from ecgjepa.config import (
    format_value,
    load_preset,
    preset_names,
    preset_settings,
    read_meanings,
    sections,
)
from ecgjepa.protocols.settings import ProtocolConfig


@pytest.mark.parametrize("section", [*sections().values(), ProtocolConfig])
def test_every_key_has_a_meaning(section):
    meanings = read_meanings(section)
    assert list(meanings) == list(section.model_fields)
    for key, meaning in meanings.items():
        assert len(meaning.text) > 10, key
        assert meaning.text.endswith("."), key


def test_the_papers_value_is_that_of_its_presets():
    found = {item.key: item for item in preset_settings("tiny")}
    assert found["train.learning_rate"].paper == "0.001"
    assert found["encoder.dim"].paper == "192 (XS), 384 (S), 768 (B)"
    assert found["mae.mask_ratio"].paper == ""
    assert found["train.steps"].value == load_preset("tiny").train.steps
    assert found["train.betas"].default == (0.9, 0.99)
    assert found["train.steps"].default is None


@pytest.mark.parametrize("name", [name for name in preset_names() if name.startswith("paper")])
def test_a_preset_of_the_paper_has_the_papers_values(name):
    size = name.split("-")[2].upper()
    for item in preset_settings(name):
        if not item.paper or item.key == "data.weights":
            continue
        value = format_value(item.value)
        assert item.paper == value or f"{value} ({size})" in item.paper, item.key


def test_overrides_are_in_it():
    found = {item.key: item.value for item in preset_settings("tiny", ["train.steps=777"])}
    assert found["train.steps"] == 777
