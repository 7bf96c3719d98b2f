"""LeJEPA: the statistic against its closed form, and the loss written out."""

import math

import pytest
import torch
import torch.nn.functional as F
from conftest import SMALL_MODEL, write_ptb_xl
from torch.utils.flop_counter import FlopCounterMode

import ecgjepa
from ecgjepa.config import load_preset
from ecgjepa.errors import ConfigError
from ecgjepa.model import layers
from ecgjepa.objectives.build import objective_of
from ecgjepa.objectives.networks.lejepa import Lejepa, random_directions, sigreg
from ecgjepa.objectives.networks.views import make_views
from ecgjepa.planning.costs import count_bytes, count_flops, count_parameters
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.sampling.augmentation import Augmentation

FAST = [*SMALL_MODEL, "train.steps=3", "train.warmup_steps=1", "train.checkpoint_every=1"]
FAST += ["train.log_every=1", "train.keep_checkpoints=0", "lejepa.directions=8"]


def closed_form(values: torch.Tensor) -> float:
    """Return n times the integral over all t, by hand, for one direction."""
    values = values.double()
    number = len(values)
    pairs = torch.exp(-(values[:, None] - values[None]).square() / 2).sum() / number**2
    single = torch.exp(-values.square() / 4).sum() / number
    return number * (
        math.sqrt(2 * math.pi) * pairs.item()
        - 2 * math.sqrt(math.pi) * single.item()
        + math.sqrt(2 * math.pi / 3)
    )


# The 17 places are too few for samples that lie far apart; there the sum is a little off.
@pytest.mark.parametrize(("scale", "error"), [(0.0, 2e-3), (0.3, 2e-3), (1.0, 2e-3), (2.0, 2e-2)])
def test_the_statistic_is_its_integral(scale, error):
    torch.manual_seed(0)
    values = scale * torch.randn(40, 6) + 0.2
    directions = random_directions(torch.tensor([5]), 6, 7)
    expected = [closed_form(values @ directions[:, i]) for i in range(7)]
    found = sigreg(values, directions).item()
    assert found == pytest.approx(sum(expected) / 7, rel=error, abs=2e-4)
    # Of several groups, the mean over each by itself.
    groups = torch.stack((values, values + 1))
    both = (sigreg(values, directions) + sigreg(values + 1, directions)) / 2
    torch.testing.assert_close(sigreg(groups, directions), both)


def test_it_is_least_for_a_standard_gaussian_and_pulls_towards_it():
    torch.manual_seed(0)
    gaussian, directions = torch.randn(500, 4), random_directions(torch.tensor([1]), 4, 16)
    found = sigreg(gaussian, directions)
    for other in (torch.zeros(500, 4), 0.5 * gaussian, 2 * gaussian, gaussian + 1, gaussian.sign()):
        assert sigreg(other, directions) > 3 * found
    values = (0.1 * torch.randn(64, 4) + 0.5).requires_grad_()
    optimizer = torch.optim.Adam([values], lr=0.05)
    for step in range(150):
        sigreg(values, random_directions(torch.tensor([step]), 4, 16)).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert values.mean(dim=0).abs().max() < 0.2
    torch.testing.assert_close(values.T.cov(), torch.eye(4), atol=0.3, rtol=0)


def test_directions_are_unit_vectors_of_their_seed():
    directions = random_directions(torch.tensor([3]), 8, 2000)
    torch.testing.assert_close(directions.norm(dim=0), torch.ones(2000))
    torch.testing.assert_close(
        directions @ directions.T / 2000, torch.eye(8) / 8, atol=0.02, rtol=0
    )
    assert torch.equal(directions, random_directions(torch.tensor([3]), 8, 2000))
    assert not torch.equal(directions, random_directions(torch.tensor([4]), 8, 2000))
    objective = objective_of(load_preset("tiny-lejepa"))
    seeds = [objective.draw(0, step, part, size=3)[0] for step, part in ((0, 0), (0, 1), (1, 0))]
    assert all(len(set(seed.tolist())) == 1 for seed in seeds)
    assert len({seed[0].item() for seed in seeds}) == 3


def test_the_loss_is_written_out_by_hand():
    torch.manual_seed(0)
    config = load_preset("tiny-lejepa", [*SMALL_MODEL, "lejepa.weight=0.3", "lejepa.within=0.25"])
    networks = objective_of(config).networks()
    seeds, *augmentation = objective_of(config).draw(0, 0, 0, size=6)
    signal = torch.randn(6, 12, 200)
    views = make_views(signal, Augmentation(*augmentation))
    tokens = [networks.encoder(view)[:, 1:] for view in views]
    first, second = (networks.projector(found.mean(dim=1)) for found in tokens)
    directions = random_directions(seeds[:1], 64, 64)
    across = (sigreg(first, directions) + sigreg(second, directions)) / 2
    rows = [row - row.mean(dim=0) for found in tokens for row in found]
    within = sum(sigreg(F.linear(row, networks.patch_map.weight), directions) for row in rows) / 12
    distance = (first - second).square().mean() / 4
    expected = 0.7 * distance + 0.3 * (0.75 * across + 0.25 * within)
    torch.testing.assert_close(networks(signal, seeds, *augmentation).loss, expected)


def test_costs_are_those_that_pytorch_counts(monkeypatch):
    monkeypatch.setattr(
        layers, "attend", lambda q, k, v: (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v
    )
    config = load_preset("tiny-lejepa", ["train.batch_size=4"])
    networks = objective_of(config).networks()
    inputs = objective_of(config).draw(0, 0, 0, size=4)
    with FlopCounterMode(display=False) as counter:
        networks(torch.randn(4, 12, 250), *inputs).loss.backward()
    found = counter.get_total_flops() - 2 * 2 * 4 * 4 * 64  # of the failure signals
    assert 4 * count_flops(config).total == pytest.approx(found, rel=0.005)
    assert count_parameters(config).in_memory == sum(p.numel() for p in networks.parameters())
    sizes = sum(values[0].numel() * values.element_size() for values in inputs)
    assert count_bytes(config).device == 250 * 12 * 2 + 8 + sizes


def test_a_run_resumes_bit_for_bit_and_gives_an_encoder(tmp_path, monkeypatch):
    source = write_ptb_xl(tmp_path / "source", records=20, seconds=3.0)
    store, preprocessing = tmp_path / "store", ecgjepa.PreprocessingConfig(sampling_rate=100.0)
    ecgjepa.prepare({"ptb-xl": source}, store, preprocessing=preprocessing)
    whole = ecgjepa.pretrain(store, tmp_path / "whole", preset="tiny-lejepa", overrides=FAST)
    calls = []

    def stop(self, momentum):
        calls.append(momentum)
        if len(calls) == 2:
            raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(Lejepa, "update_target", stop)
        with pytest.raises(InterruptedError):
            ecgjepa.pretrain(store, tmp_path / "cut", preset="tiny-lejepa", overrides=FAST)
    cut = ecgjepa.pretrain(store, tmp_path / "cut", preset="tiny-lejepa", overrides=FAST)
    name = "checkpoints/step-000003/weights.safetensors"
    assert (cut / name).read_bytes() == (whole / name).read_bytes()
    assert load_encoder(whole)[1].pretraining.objective == "lejepa"


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="compares the patches of a record, found 1"):
        ecgjepa.plan("tiny-lejepa", overrides=["encoder.patch_size=250"])
    ecgjepa.plan("tiny-lejepa", overrides=["encoder.patch_size=250", "lejepa.within=0"])
    with pytest.raises(ConfigError, match="needs at least 2; found 1"):
        ecgjepa.plan("tiny-lejepa", overrides=["train.gradient_accumulation_steps=64"])
