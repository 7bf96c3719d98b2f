"""Encoders made elsewhere: what their descriptions say is done, and every wrong one is named."""

import copy

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, helper
from torch import nn

from ecgjepa import own_encoder
from ecgjepa.errors import ConfigError, EcgjepaError, EncoderError
from ecgjepa.foreign.description import EncoderDescription
from ecgjepa.foreign.importing import digest_of_code
from ecgjepa.foreign.raw_signal import RawSignal
from ecgjepa.inference.windows import window_size
from ecgjepa.protocols.encoders import load_encoder

LEADS = ["I", "II", "V1"]
TOLD = {
    "sampling_rate": 100,
    "leads": LEADS,
    "window_seconds": 2,
    "normalisation": "none",
    "unit": "mV",
    "trained_on": {},
}


class Means(nn.Module):
    """A register of zeros, then the mean of each lead over each 20 samples."""

    dim, samples_per_token, num_registers = 3, 20, 1

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, signal):
        means = signal.unfold(2, 20, 20).mean(3).transpose(1, 2) * self.scale
        return torch.cat((torch.zeros_like(means[:, :1]), means), 1)


def means(trained):
    return Means(2.0 if trained else 1.0)


def factory(**changes):
    """Return a factory of a module with some attributes, or another forward, in its place."""

    def make(trained):
        module = Means()
        for name, value in changes.items():
            setattr(module, name, value)
        return module

    return make


@pytest.fixture
def described(tmp_path):
    def write(**changes):
        path = tmp_path / "encoder.yaml"
        content = {**TOLD, **changes}
        path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
        return path

    return write


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Make a factory importable as ``own_module:make``."""
    import sys
    import types

    def put(make):
        monkeypatch.setitem(sys.modules, "own_module", types.ModuleType("own_module"))
        sys.modules["own_module"].make = make
        return "own_module:make"

    return put


@pytest.fixture
def signal(rng):
    return torch.from_numpy(rng.normal(0.3, 2.0, (4, 3, 200)).astype(np.float32))


def write_onnx(path, *, shape=("batch", 3, 200), axes=(1, 2), nodes=None, outputs=("tokens",)):
    """Write a graph that turns (batch, leads, samples) into tokens of 20 samples, all leads."""
    kind = TensorProto.FLOAT
    if nodes is None:
        # (batch, 3, 200) -> (batch, 3, 10, 20) -> (batch, 10, 3, 20) -> (batch, 10, 60)
        split, flat = (np.array(each, np.int64) for each in ((0, 3, 10, 20), (0, 10, 60)))
        constants = [
            helper.make_tensor(name, TensorProto.INT64, [len(each)], each)
            for name, each in (("split", split), ("flat", flat))
        ]
        nodes = [
            helper.make_node("Reshape", ["signal", "split"], ["parts"]),
            helper.make_node("Transpose", ["parts"], ["turned"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", ["turned", "flat"], ["tokens"]),
        ]
        out = (shape[0], 10, 60)
    else:
        nodes, constants, out = nodes
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("signal", kind, shape)],
        [helper.make_tensor_value_info(name, kind, out) for name in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return path


def tokens_of(signal):
    """Return what the graph of `write_onnx` gives."""
    return signal.unfold(2, 20, 20).transpose(1, 2).flatten(2)


def test_a_module_and_its_rival(module, described, signal):
    loaded = own_encoder(module(means), described())
    encoder, config = loaded
    assert load_encoder(loaded) is loaded
    found = encoder(signal)
    torch.testing.assert_close(found, Means(2.0)(signal))
    rival = loaded.without_training()
    torch.testing.assert_close(rival.encoder(signal), Means(1.0)(signal))
    assert loaded.rival_name == "untrained"
    assert (encoder.num_tokens(200), config.encoder.num_registers) == (11, 1)
    assert window_size(config) == (200, 100)
    assert rival.config == config
    assert encoder.identity == rival.encoder.identity != ""


def test_the_raw_signal_stands_beside_a_file(described, signal, tmp_path):
    loaded = own_encoder(write_onnx(tmp_path / "e.onnx"), described())
    torch.testing.assert_close(loaded.encoder(signal), tokens_of(signal))
    rival = loaded.without_training()
    assert loaded.rival_name == "raw signal"
    assert loaded.normalisation is not None
    assert rival.normalisation is None  # scaled by the records of the task
    parts = signal.unfold(2, 25, 25).transpose(1, 2)
    found = rival.encoder(signal)
    assert found.shape == (4, 8, 15)
    torch.testing.assert_close(found[:, :, :3], parts.mean(3))
    torch.testing.assert_close(found[:, :, 6:9], parts.amin(3))
    assert copy.deepcopy(loaded.encoder) is loaded.encoder


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_is_filled_up(batch, described, signal, tmp_path):
    path = write_onnx(tmp_path / "e.onnx", shape=(batch, 3, 200))
    torch.testing.assert_close(own_encoder(path, described()).encoder(signal), tokens_of(signal))


def test_other_axes_of_input_and_output(described, signal, tmp_path):
    shape = ("batch", 200, 1, 3)
    constants = [helper.make_tensor("axes", TensorProto.INT64, [1], [1])]
    mean = helper.make_node("ReduceMean", ["signal", "axes"], ["tokens"], keepdims=0)
    nodes = ([mean], constants, ("batch", 1, 3))
    path = write_onnx(tmp_path / "e.onnx", shape=shape, nodes=nodes)
    told = {"input_axes": ["batch", "samples", "one", "leads"]}
    pooled = {**told, "output_axes": ["batch", "one", "dim"]}
    found = own_encoder(path, described(onnx=pooled)).encoder(signal)
    torch.testing.assert_close(found, signal.mean(2)[:, None])
    turned = {**told, "output_axes": ["batch", "dim", "tokens"]}
    with pytest.raises(EncoderError, match="dim: Input should be greater than or equal to 2"):
        own_encoder(path, described(onnx=turned))
    nodes = ([helper.make_node("Neg", ["signal"], ["tokens"])], [], ("batch", 3, 200))
    path = write_onnx(path, nodes=nodes)
    turned = {"output_axes": ["batch", "dim", "tokens"]}
    found = own_encoder(path, described(onnx=turned)).encoder(signal)
    torch.testing.assert_close(found, -signal.transpose(1, 2))


def test_how_amplitudes_are_scaled(module, described, signal):
    def given(**told):
        loaded = own_encoder(module(factory()), described(**told))
        microvolt = (1000 * signal).round().to(torch.int16).transpose(1, 2)
        normaliser = (loaded.normalisation or loaded.config.normalisation).build()
        return loaded.encoder(normaliser(microvolt))[:, 1:]

    def expected(values):
        return Means()(values)[:, 1:]

    exact = (1000 * signal).round() / 1000
    for unit, factor in (("mV", 1), ("uV", 1000), ("V", 0.001)):
        torch.testing.assert_close(given(unit=unit), expected(factor * exact))
    constants = {"mean": [100.0, 200.0, 300.0], "std": [1000.0, 2000.0, 500.0], "clip": 2.0}
    mean, std = (torch.tensor(constants[name])[:, None] / 1000 for name in ("mean", "std"))
    found = given(normalisation="constants", unit="uV", **constants)
    torch.testing.assert_close(found, expected(((exact - mean) / std).clamp(-2, 2)))
    lead = (exact - exact.mean(2, keepdim=True)) / exact.std(2, keepdim=True, unbiased=False)
    torch.testing.assert_close(given(normalisation="window"), expected(lead))
    both = (exact - exact.mean((1, 2), keepdim=True)) / exact.std(
        (1, 2), keepdim=True, unbiased=False
    )
    torch.testing.assert_close(given(normalisation="window-and-leads"), expected(both))
    assert own_encoder(module(means), described(normalisation="records")).normalisation is None


def test_a_window_without_signal_is_not_divided_by_zero(module, described):
    encoder = own_encoder(module(means), described(normalisation="window")).encoder
    assert encoder(torch.ones(2, 3, 200)).eq(0).all()


def test_what_it_was_trained_on_is_known_to_the_leak_guard(module, described):
    told = {"ptb-xl": [1, 2], "code-15": "all"}
    facts = own_encoder(module(means), described(trained_on=told)).config.pretraining
    assert facts.folds == {"ptb-xl": (1, 2), "code-15": None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampling_rate": None}, "sampling_rate: Field required"),
        ({"trained_on": None}, "trained_on: Field required"),
        ({"leads": ["I", "X9"]}, "'X9' is not one of"),
        ({"unit": None}, "unit: missing, for normalisation none"),
        ({"unit": "kg"}, "unknown amplitude unit 'kg'"),
        ({"normalisation": "zscore"}, "normalisation: Input should be 'none', 'constants'"),
        ({"normalisation": "constants"}, "mean: found 0 numbers, expected 3"),
        ({"mean": [1.0, 1.0, 1.0]}, "mean: found 3 numbers, expected 0 for normalisation none"),
        ({"window": 2}, "window: no such key"),
        ({"onnx": {"input_axes": ["batch", "leads"]}}, "input_axes: found batch, leads"),
        ({"onnx": {"output_axes": ["dim", "batch"]}}, "the first axis must be batch"),
    ],
)
def test_a_wrong_description_names_the_key(module, described, changes, words):
    with pytest.raises(EncoderError, match=words):
        own_encoder(module(means), described(**changes))


def test_a_description_that_is_not_one(module, tmp_path):
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(EncoderError, match=r"list\.yaml: expected keys and values"):
        own_encoder(module(means), tmp_path / "list.yaml")
    with pytest.raises(EncoderError, match="no description of the encoder at"):
        own_encoder(module(means), tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Means(), "is of type Means; expected a function of trained"),
        (lambda: Means(), "cannot be called with trained=True"),
        (lambda trained: 3, "returned int; expected a torch.nn.Module"),
        (factory(dim=2.5), r"dim of the module is 2\.5; expected a whole number, 1 or more"),
        (factory(dim=None), "dim of the module is missing"),
        (factory(samples_per_token=0), "samples_per_token of the module is 0"),
        (factory(dim=4), r"gives \(2, 11, 3\) for 2 windows; expected .*dim 4"),
        (factory(samples_per_token=40), "gives 11 tokens for 200 samples; expected 6: 1 registers"),
        (factory(forward=lambda signal: signal.mean()), r"gives \(\) for 2 windows"),
        (factory(forward=lambda signal: [signal]), "gives list; expected a tensor"),
        (
            factory(forward=lambda signal: signal @ signal),
            r"fails on windows of shape \(2, 3, 200\)",
        ),
    ],
)
def test_a_module_that_is_not_as_documented(module, described, make, words):
    with pytest.raises(EncoderError, match=words):
        own_encoder(module(make), described())


def test_a_module_that_cannot_be_found(described, tmp_path):
    for path, words in (
        ("no_such_module:make", "cannot be imported: No module named"),
        ("json:no_such_name", "module json has no no_such_name"),
        ("weights.pt", r"is an ONNX file \(\.onnx\) or the factory"),
        (tmp_path / "none.onnx", "no ONNX file at"),
    ):
        with pytest.raises(EncoderError, match=words):
            own_encoder(path, described())
    for path in ("json:loads", "encoder.onnx"):
        with pytest.raises(ConfigError, match="needs a description: give --encoder-description"):
            load_encoder(path)


@pytest.mark.parametrize(
    ("graph", "told", "words"),
    [
        ({}, {"leads": ["I", "II"]}, "takes 3 along the axis of leads; the description gives 2"),
        ({}, {"window_seconds": 1}, r"takes 200 along the axis of samples.* gives 100 \(window_s"),
        ({}, {"window_seconds": 200}, "window_seconds: 20,000 samples; expected 10,000 at most"),
        ({}, {"onnx": {"input": "x"}}, r"has no input 'x' \(onnx\.input\); found signal"),
        ({}, {"onnx": {"output": "y"}}, r"has no output 'y' \(onnx\.output\); found tokens"),
        ({}, {"onnx": {"input_axes": ["batch", "one", "leads", "samples"]}}, "names 4"),
        ({}, {"onnx": {"output_axes": ["batch", "dim"]}}, r"has shape \(2, 10, 60\)"),
        ({}, {"onnx": {"num_registers": 10}}, "gives 10 tokens, registers among them; expected 11"),
        ({"shape": ("batch", 3, "samples")}, {"window_seconds": 1.1}, "fails on an input of shape"),
    ],
)
def test_a_file_that_is_not_as_described(described, signal, tmp_path, graph, told, words):
    path = write_onnx(tmp_path / "e.onnx", **graph)
    if told.get("window_seconds") == 200:
        told = {**told, "onnx": {}}
    with pytest.raises(EncoderError, match=words):
        own_encoder(path, described(**told)).encoder(signal)


def test_a_row_for_each_window_is_told_how_to_be_described(described, tmp_path):
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [2])
    mean = helper.make_node("ReduceMean", ["signal", "axes"], ["tokens"], keepdims=0)
    path = write_onnx(tmp_path / "e.onnx", nodes=([mean], [axes], ("batch", 3)))
    with pytest.raises(EncoderError, match=r"shape \(2, 3\) .*each window is \[batch, dim\]"):
        own_encoder(path, described())


def test_several_outputs_and_what_is_not_onnx(described, tmp_path, signal):
    twice = [
        helper.make_node("Identity", ["signal"], ["tokens"]),
        helper.make_node("Neg", ["signal"], ["others"]),
    ]
    nodes = (twice, [], ("batch", 3, 200))
    path = write_onnx(tmp_path / "e.onnx", nodes=nodes, outputs=("tokens", "others"))
    with pytest.raises(EncoderError, match=r"has 2 outputs, tokens, others; say .* \{output: tok"):
        own_encoder(path, described())
    found = own_encoder(path, described(onnx={"output": "others"}))
    torch.testing.assert_close(found.encoder(signal), -signal)
    (tmp_path / "x.onnx").write_bytes(b"not a graph")
    with pytest.raises(EncoderError, match=r"x\.onnx: not readable as ONNX"):
        own_encoder(tmp_path / "x.onnx", described())


def test_the_hash_is_of_the_code_and_of_the_file(described, tmp_path):
    assert digest_of_code(means) != digest_of_code(copy.deepcopy)
    first = own_encoder(write_onnx(tmp_path / "e.onnx"), described()).encoder.identity
    nodes = ([helper.make_node("Neg", ["signal"], ["tokens"])], [], ("batch", 3, 200))
    other = own_encoder(write_onnx(tmp_path / "e.onnx", nodes=nodes), described()).encoder.identity
    assert first != other


def test_raw_features_of_a_window_shorter_than_a_stretch():
    told = EncoderDescription.model_validate({**TOLD, "window_seconds": 0.1})
    assert RawSignal(told).eval()(torch.zeros(2, 3, 10)).shape == (2, 1, 15)


def test_what_is_not_hidden(module, described, signal):
    encoder = own_encoder(module(means), described()).encoder
    with pytest.raises(EcgjepaError, match="encodes whole windows of all leads only"):
        encoder(signal, leads=torch.tensor([[0]]))


class OfTheBatch(Means):
    def forward(self, signal):
        return super().forward(signal - signal.mean())


class OfChance(Means):
    def forward(self, signal):
        return nn.functional.dropout(super().forward(signal))  # which is on if not told


@pytest.mark.parametrize("kind", [OfTheBatch, OfChance])
def test_a_module_whose_tokens_depend_on_more_than_their_window(kind, module, described):
    with pytest.raises(EncoderError, match="gives other tokens for the same windows"):
        own_encoder(module(lambda trained: kind()), described())


@pytest.mark.parametrize("batch", ["batch", 3])
def test_a_file_whose_tokens_depend_on_the_batch(batch, described, tmp_path):
    mean = helper.make_node("ReduceMean", ["signal"], ["mean"])
    nodes = ([mean, helper.make_node("Sub", ["signal", "mean"], ["tokens"])], [], (batch, 3, 200))
    path = write_onnx(tmp_path / "e.onnx", shape=(batch, 3, 200), nodes=nodes)
    with pytest.raises(EncoderError, match="gives other tokens for the same windows"):
        own_encoder(path, described())


def test_the_hash_is_of_the_code_of_every_module_within(module, described, monkeypatch):
    read = []
    monkeypatch.setattr(
        "ecgjepa.foreign.torch_module.digest_of_code", lambda *kinds: read.extend(kinds) or "x"
    )
    make = factory(inner=nn.Sequential(OfChance()))
    own_encoder(module(make), described())
    assert read == [make, Means, nn.Sequential, OfChance]
