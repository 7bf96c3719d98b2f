import json
import subprocess
import sys

import pytest
import torch
from conftest import write_ptb_xl
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from ecgjepa.config import load_preset
from ecgjepa.errors import ConfigError, StoreError
from ecgjepa.model import layers
from ecgjepa.model.compute import autocast
from ecgjepa.objectives.build import objective_of
from ecgjepa.objectives.costs import part_size
from ecgjepa.objectives.networks.jepa import Jepa
from ecgjepa.planning.costs import (
    count_bytes,
    count_parameters,
    estimate_disk,
    estimate_memory,
)
from ecgjepa.planning.measure import Measurement
from ecgjepa.planning.plan import plan
from ecgjepa.pretraining.loop import initial_networks
from ecgjepa.pretraining.optim import build_optimizer
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.prepare import prepare
from ecgjepa.store.reading import Store

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    source = write_ptb_xl(folder / "source", records=12, seconds=3.0)
    prepare(
        {"ptb-xl": source}, folder / "store", preprocessing=PreprocessingConfig(sampling_rate=100.0)
    )
    return folder / "store"


def batch(config, size: int, num_context: int):
    order = torch.stack([torch.randperm(config.num_tokens) for _ in range(size)])
    signal = torch.zeros(size, config.data.window_samples, len(config.data.leads)).short()
    return signal, order[:, :num_context], order[:, num_context:]


@pytest.mark.parametrize(
    "name", ["tiny", "small", "paper-vit-xs-ptbxl", "paper-vit-s-ptbxl", "paper-vit-b-all"]
)
def test_parameters_are_counted_exactly(name):
    config = load_preset(name)
    with torch.device("meta"):
        jepa = Jepa(config.encoder, config.predictor)
    counted = count_parameters(config)
    assert counted.trained == sum(p.numel() for p in jepa.parameters() if p.requires_grad)
    assert counted.in_memory == sum(p.numel() for p in jepa.parameters())


@pytest.mark.parametrize(
    ("name", "num_context", "published"),
    [("tiny", 5, None), ("paper-vit-xs-all", 40, 4.06e9), ("paper-vit-s-all", 40, 14.9e9)],
)
def test_operations_are_those_that_pytorch_counts(monkeypatch, name, num_context, published):
    # The counter knows no fused attention on CPUs.
    monkeypatch.setattr(
        layers, "attend", lambda q, k, v: (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v
    )
    config = load_preset(name)
    jepa = Jepa(config.encoder, config.predictor)
    signal, context, target = batch(config, 1, num_context)
    with FlopCounterMode(display=False) as counter:
        jepa(signal.float().transpose(1, 2), context, target).loss.backward()
    counted = objective_of(config).flops_with(num_context).total
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.02)
    if published:
        assert counted == pytest.approx(published, rel=0.02)


def peak_bytes(config, precision: str) -> int:
    """Return the most bytes that a second step has allocated at once, on the CPU."""
    jepa = initial_networks(config)
    optimizer = build_optimizer(jepa, config.train)
    num_context = int(config.mask.max_keep_ratio * config.num_patches) + 1
    num_context *= config.encoder.tokens_per_patch

    def step() -> None:
        signal, context, target = batch(config, part_size(config), num_context)
        normalised = signal.float().transpose(1, 2).contiguous()
        with autocast(CPU, precision):
            output = jepa(normalised, context, target)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    allocated = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        allocated += event.nbytes()
        most = max(most, allocated)
    return most


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["data.window_seconds=10", "encoder.depth=2"],
        ["encoder.positions=learned"],
        ["encoder.positions=rotary"],
        ["encoder.lead_patches=true", "train.batch_size=8", "encoder.depth=2", "predictor.depth=2"],
    ],
)
def test_memory_is_what_pytorch_allocates(precision, overrides):
    config = load_preset("tiny", ["train.batch_size=32", *overrides])
    memory = estimate_memory(config, precision, on_cpu=True)
    # Weights and optimizer are there before the step.
    expected = memory.gradients + memory.activations
    assert expected == pytest.approx(peak_bytes(config, precision), rel=0.2)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "overrides",
    [
        ["encoder.stem=convolutional"],
        ["encoder.architecture=xresnet"],
        ["encoder.architecture=xresnet", "encoder.stem=convolutional"],
    ],
)
def test_memory_of_convolutions_is_not_promised_too_small(precision, overrides):
    config = load_preset("tiny", ["train.batch_size=32", *overrides])
    memory = estimate_memory(config, precision, on_cpu=True)
    peak = peak_bytes(config, precision)
    assert peak < memory.gradients + memory.activations < 1.25 * peak


def test_dividing_the_batch_divides_the_activations():
    whole = estimate_memory(load_preset("paper-vit-s-all"), "bfloat16")
    halved = estimate_memory(
        load_preset("paper-vit-s-all", ["train.gradient_accumulation_steps=2"]), "bfloat16"
    )
    assert halved.activations == pytest.approx(whole.activations / 2, rel=0.01)
    assert halved.optimizer == whole.optimizer == 2 * whole.gradients


def test_bytes_and_disk():
    config = load_preset("paper-vit-xs-all")
    assert count_bytes(config) == (5000 * 12 * 2, 5000 * 12 * 2 + 8 * 201)
    assert count_bytes(config, 40_000.0).store == 40_000.0
    disk = estimate_disk(config, None)
    assert disk.checkpoints == 10 * disk.checkpoint
    kept = load_preset("paper-vit-xs-all", ["train.keep_checkpoints=2"])
    assert estimate_disk(kept, None).checkpoints == 3 * disk.checkpoint


def test_a_given_rate_gives_a_time():
    """The paper: 0.58 s a step for ViT-S on an A100."""
    found = plan("paper-vit-s-all", tflops=52.6, memory_gb=80)
    assert found.speed.seconds_per_step == pytest.approx(0.58, rel=0.02)
    assert found.speed.seconds == pytest.approx(16.2 * 3600, rel=0.02)
    assert found.limit.startswith("computing")


def test_too_little_memory_is_said_with_a_way_out():
    found = plan("paper-vit-s-all", tflops=50, memory_gb=24)
    assert "memory: a step needs 40.3 GB, the device has 24.0 GB" in found.limit
    assert "20.3 GB with train.gradient_accumulation_steps=2" in found.limit
    assert "no division" in plan("paper-vit-b-all", memory_gb=0.1).limit


def measurement(**changes) -> Measurement:
    base = Measurement("some GPU", "bfloat16", {}, 1e-3, 0.01, 500.0, 10**12, 64)
    return base._replace(**changes)


@pytest.mark.parametrize(
    ("measured", "rate", "limit"),
    [
        (measurement(), 500, "reading: the store gives 500 records/s"),
        (measurement(records_read_per_second=4000.0), 64 / 0.074, "computing: 865 records/s"),
        (measurement(records_read_per_second=None), 64 / 0.074, "computing; how fast"),
        # A CPU has to read and compute in turn.
        (measurement(device="cpu"), 64 / (0.074 + 0.128), "reading"),
    ],
)
def test_what_limits_is_the_slower_part(monkeypatch, measured, rate, limit):
    monkeypatch.setattr("ecgjepa.planning.plan._measure", lambda *_: measured)
    found = plan("tiny", measure=True)
    assert found.limit.startswith(limit)
    assert found.speed.records_per_second == pytest.approx(rate)


def test_a_step_is_timed_here(store, short_timing):
    """That it agrees with a run is for an idle machine: benchmarks/plan_check.py."""
    small = ["train.batch_size=8", "encoder.depth=1", "predictor.depth=1"]
    found = plan("tiny", overrides=small, store=store, measure=True, device="cpu")
    assert found.measured.device == "cpu"
    assert found.measured.records_at_once == 8
    assert found.speed.read_per_second > 0
    assert found.speed.seconds == pytest.approx(3000 * found.speed.seconds_per_step)
    with Store(store) as records:
        assert found.draws_per_record == pytest.approx(3000 * 8 / len(records))
    assert found.disk.store == sum(path.stat().st_size for path in store.glob("shard-*"))
    assert json.loads(json.dumps(found.as_json()))["measured"]["precision"] == found.precision


def test_wrong_use_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="choose one"):
        plan("tiny", measure=True, tflops=3)
    with pytest.raises(ConfigError, match="above 0"):
        plan("tiny", tflops=0)
    with pytest.raises(ConfigError, match="mask: with 25 patches"):
        plan("tiny", overrides=["mask.min_block_size=24"])
    with pytest.raises(StoreError, match="no store at"):
        plan("tiny", store=tmp_path / "none")


def test_counting_loads_no_torch():
    code = "import sys, ecgjepa; ecgjepa.plan('tiny', tflops=1); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
