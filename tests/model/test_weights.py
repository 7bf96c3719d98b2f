"""Weights are written whole or not at all, and are looked at before they are believed."""

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from ecgjepa.errors import ModelFolderError
from ecgjepa.files import DiskFullError, naming_full_disk, replacing_folder
from ecgjepa.model import weights
from ecgjepa.model.weights import (
    check_finite_weights,
    load_finite,
    read_shapes,
    save_pickled,
    save_tensors,
)


def full(tensors, path, metadata):
    raise SafetensorError("Error while serializing: I/O error: No space left (os error 28)")


def test_a_full_disk_is_named_and_leaves_what_stood_there(tmp_path, monkeypatch):
    with replacing_folder(tmp_path / "m") as partial:
        save_tensors(partial / "w", {"a": torch.zeros(2)})
    monkeypatch.setattr(weights, "save_file", full)
    with (
        pytest.raises(DiskFullError, match=r"no space left .* run the same command"),
        replacing_folder(tmp_path / "m") as partial,
    ):
        save_tensors(partial / "w", {"a": torch.ones(2)})
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert load_finite(tmp_path / "m/w", ModelFolderError)["a"].sum() == 0


def test_other_errors_of_the_library_are_passed_on(tmp_path, monkeypatch):
    def broken(tensors, path, metadata):
        raise SafetensorError("of another kind")

    monkeypatch.setattr(weights, "save_file", broken)
    with pytest.raises(SafetensorError, match="another kind"):
        save_tensors(tmp_path / "w", {"a": torch.zeros(2)})


def test_a_full_disk_is_named_in_what_torch_writes(tmp_path):
    """Linux's device on which no space is ever left stands for the disk."""
    with (
        pytest.raises(DiskFullError, match="no space left"),
        naming_full_disk(tmp_path / "a"),
        Path("/dev/full").open("wb", buffering=0) as stream,
    ):
        save_pickled(stream, {"a": torch.zeros(1000)})


def test_what_torch_writes_is_read_back(tmp_path):
    with (tmp_path / "a").open("wb") as stream:
        save_pickled(stream, {"a": torch.arange(3)})
    assert torch.load(tmp_path / "a", weights_only=True)["a"].tolist() == [0, 1, 2]


def test_shapes_are_known_without_reading(tmp_path):
    save_tensors(tmp_path / "w", {"a": torch.zeros(2, 3), "b": torch.zeros(())})
    assert read_shapes(tmp_path / "w") == {"a": (2, 3), "b": ()}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_refused(tmp_path, value):
    tensors = {"good": torch.ones(3), "bad": torch.tensor([1.0, value])}
    with pytest.raises(ModelFolderError, match="here: 1 of 2 numbers of tensor bad are NaN"):
        check_finite_weights(tensors, "here", ModelFolderError)
    save_tensors(tmp_path / "w", tensors)
    with pytest.raises(ModelFolderError, match="tensor bad"):
        load_finite(tmp_path / "w", ModelFolderError)
