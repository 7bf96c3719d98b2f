import pickle
import zipfile

import official_code
import official_setup as setup
import pytest
import torch

from ecgjepa.errors import CheckpointError, OfficialCheckpointError
from ecgjepa.official.checkpoint import (
    OfficialCheckpoint,
    read_official,
    tensor_names,
    write_official,
)
from ecgjepa.official.config import OFFICIAL_FIELDS, from_official_config, to_official_config

CONFIG = to_official_config(setup.parity_config("tiny"))


def complete() -> OfficialCheckpoint:
    weights = setup.seeded_weights(official_code.shapes_of("tiny"))
    return OfficialCheckpoint(CONFIG, weights, step=7, optimizer={"state": {}, "param_groups": []})


def minified() -> OfficialCheckpoint:
    weights = complete().weights
    kept = {name: weights[name] for name in weights if name.startswith("target_encoder.")}
    return OfficialCheckpoint(CONFIG, kept)


def content(checkpoint: OfficialCheckpoint) -> dict:
    """A file's content, spelt out beside `write_official`."""
    names = tensor_names(CONFIG, complete=checkpoint.is_complete)
    result = {"model": {theirs: checkpoint.weights[ours] for theirs, ours in names.items()}}
    result |= {"config": dict(CONFIG)}
    return result | ({"step": 7, "optimizer": {}} if checkpoint.is_complete else {})


@pytest.mark.parametrize("make", [complete, minified])
def test_round_trip_is_bit_exact(tmp_path, make):
    before = make()
    after = read_official(write_official(tmp_path / "a.pt", before))
    assert after._replace(weights={}) == before._replace(weights={})
    assert after.weights.keys() == before.weights.keys()
    for name, tensor in before.weights.items():
        assert tensor.numpy().tobytes() == after.weights[name].numpy().tobytes(), name
    again = write_official(tmp_path / "b.pt", after)
    assert tensors_of(again) == tensors_of(tmp_path / "a.pt")


def tensors_of(path) -> dict[str, bytes]:
    model = torch.load(path, weights_only=True)["model"]
    return {name: tensor.numpy().tobytes() for name, tensor in model.items()}


def test_names_are_a_contract():
    small = {"depth": 1, "pred_depth": 1, "num_registers": 1}
    block = [
        "blocks.0.norm1.weight",
        "blocks.0.attn.qkv.weight",
        "blocks.0.attn.proj.weight",
        "blocks.0.norm2.weight",
        "blocks.0.mlp.fc1.weight",
        "blocks.0.mlp.fc2.weight",
    ]
    encoder = ["registers", "patch_embed.proj.weight", *block, "norm.weight"]
    predictor = ["mask_token", "embed.weight", *block, "norm.weight", "proj.weight"]
    assert tensor_names(small, complete=True) == {
        **{f"encoder.{name}": f"context_encoder.{name}" for name in encoder},
        **{f"predictor.{name}": f"predictor.{name}" for name in predictor},
        **{f"target_encoder.{name}": f"target_encoder.{name}" for name in encoder},
    }
    assert "target_encoder.registers" not in tensor_names(
        {**small, "num_registers": 0}, complete=False
    )


@pytest.mark.parametrize("size", setup.BATCH)
def test_names_and_order_are_those_of_the_official_code(official, size):
    model = official_code.build_official(official, size)
    names = tensor_names(to_official_config(setup.parity_config(size)), complete=True)
    assert list(names) == list(model.state_dict())
    fields = official.configs.pretrain.Config.__dataclass_fields__
    assert set(fields) == OFFICIAL_FIELDS


def test_configurations_go_both_ways():
    config = setup.parity_config("b-like")
    # Theirs knows neither precision nor a probe.
    train = config.train.model_copy(update={"precision": "auto"})
    plain = config.model_copy(update={"train": train, "probe": type(config.probe)()})
    assert from_official_config(to_official_config(config), source="c") == plain
    accumulated = {**CONFIG, "batch_size": 512, "gradient_accumulation_steps": 2}
    assert from_official_config(accumulated, source="c").train.batch_size == 1024
    assert to_official_config(from_official_config(accumulated, source="c")) == accumulated


def with_norm_biases(found: dict) -> None:
    for name in [name for name in found["model"] if "norm" in name]:
        found["model"][name.replace(".weight", ".bias")] = torch.zeros_like(found["model"][name])


def nan_weight(found):
    found["model"]["target_encoder.norm.weight"][0] = float("nan")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (with_norm_biases, r"biases .*before commit d7b787b.* 14,284,416 parameters"),
        (lambda c: c.pop("config"), r"lacks config; expected a pre-training checkpoint"),
        (lambda c: c.pop("model"), r"lacks model; expected a pre-training checkpoint"),
        (lambda c: c.update(eval_config={}), r"a classifier written by the official finetune\.py"),
        (lambda c: c.update(model={}), r"'model' holds no tensors by name"),
        (lambda c: c.update(model=[1]), r"'model' holds no tensors by name"),
        (lambda c: c.update(config=3), r"'config' is a int; expected a dictionary"),
        (lambda c: c["config"].pop("dim"), r"configuration lacks dim; expected the fields of"),
        (lambda c: c["config"].update(x=1), r"configuration has unknown x"),
        (lambda c: c["config"].update(bias=True), r"bias is True; only False"),
        (lambda c: c["config"].update(layer_scale_eps=0.1), r"layer_scale_eps is 0\.1; only 0\.0"),
        (lambda c: c["config"].update(num_heads=5), r"dim 32 is not a multiple of num_heads 5"),
        (lambda c: c["config"].update(pred_dim="wide"), r"dim: .*found 'wide'"),
        (lambda c: c["config"].update(depth=None), r"depth is None"),
        (lambda c: c["config"].update(channels=["I", "X"]), r"channel 'X' is no standard lead"),
        (lambda c: c["config"].update(channels=None), r"channels is None"),
        (lambda c: c["config"].update(datasets=None), r"datasets is None"),
        (lambda c: c["config"].update(sampling_frequency="x"), r"sampling_frequency is 'x'"),
        (
            lambda c: c["config"].update(sampling_frequency=float("nan")),
            r"sampling_frequency is nan",
        ),
        (
            lambda c: c["config"].update(sampling_frequency=float("inf")),
            r"sampling_frequency is inf",
        ),
        (lambda c: c["config"].update(depth="2"), r"depth is '2'"),
        (lambda c: c["config"].update(depth=10**6), r"depth: Input should be less than"),
        (lambda c: c["config"].update(pred_depth="2"), r"pred_depth is '2'"),
        (lambda c: c["config"].update(pred_depth=10**6), r"depth: Input should be less than"),
        (lambda c: c["config"].update(mlp_ratio=1e300), r"mlp_ratio: Input should be less than"),
        (lambda c: c["config"].update(channels=["I"] * 12), r"channels name lead I twice"),
        (lambda c: c["config"].update(datasets={"a\n# b": 1.0}), r"datasets names 'a\\n# b'"),
        (nan_weight, r"1 of 32 numbers of tensor target_encoder\.norm\.weight are NaN"),
        (lambda c: c.update(step="x"), r"step is 'x'; expected a number"),
        (lambda c: c["config"].update(depth=3), r"lacks tensors: .*blocks\.2.* and \d+ more"),
        (lambda c: c["config"].update(depth=1), r"has unknown tensors: .*blocks\.1"),
        (lambda c: c["config"].update(dim=64), r"shape \(1, 1, 32\).* \(1, 1, 64\)"),
        (lambda c: c["model"].pop("predictor.mask_token"), r"lacks tensors: predictor\.mask_token"),
        (
            lambda c: c["model"].update({"encoder.norm.weight": torch.ones(32).half()}),
            r"encoder\.norm\.weight is torch\.float16; expected a float32 tensor",
        ),
    ],
)
def test_other_contents_are_named(tmp_path, change, match):
    found = content(complete())
    change(found)
    torch.save(found, tmp_path / "c.pt")
    with pytest.raises(OfficialCheckpointError, match=match) as error:
        read_official(tmp_path / "c.pt")
    assert str(tmp_path / "c.pt") in str(error.value)


class Evil:
    def __reduce__(self):
        return print, ("run by a file",)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a checkpoint"),
        lambda path: path.write_bytes(pickle.dumps(Evil())),
        lambda path: torch.save(Evil(), path),
        lambda path: torch.save({"model": {"a": Evil()}, "config": {}}, path),
        lambda path: zipfile.ZipFile(path, "w").close(),
    ],
)
def test_files_that_are_no_checkpoints_are_refused_and_not_run(tmp_path, write, capsys):
    path = tmp_path / "c.pt"
    write(path)
    with pytest.raises(CheckpointError, match=r"c\.pt: not readable as a PyTorch file"):
        read_official(path)
    assert "run by a file" not in capsys.readouterr().out


def test_a_list_and_a_missing_file_are_named(tmp_path):
    torch.save([1, 2], tmp_path / "c.pt")
    with pytest.raises(OfficialCheckpointError, match="holds a list; expected"):
        read_official(tmp_path / "c.pt")
    with pytest.raises(OfficialCheckpointError, match="no checkpoint file"):
        read_official(tmp_path / "none.pt")


def test_one_changed_byte_of_a_weight_is_noticed(tmp_path):
    path = write_official(tmp_path / "a.pt", minified())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(OfficialCheckpointError, match=r"not readable.* is damaged"):
        read_official(path)


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, rng):
    path = write_official(tmp_path / "a.pt", minified())
    data = path.read_bytes()
    for length in rng.integers(0, len(data) - 1, 30):
        path.write_bytes(data[:length])
        with pytest.raises(OfficialCheckpointError, match="not readable"):
            read_official(path)
