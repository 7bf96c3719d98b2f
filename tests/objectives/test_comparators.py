"""SimCLR, BYOL and the masked autoencoder against their published definitions, written out."""

import copy

import numpy as np
import pytest
import torch

from ecgjepa.config import EncoderConfig, MaeConfig, load_preset
from ecgjepa.errors import CollapseError
from ecgjepa.objectives.build import objective_of
from ecgjepa.objectives.networks.byol import regression_loss
from ecgjepa.objectives.networks.mae import Mae, normalise_patches
from ecgjepa.objectives.networks.simclr import contrastive_loss
from ecgjepa.objectives.networks.views import make_views, pooled, white_noise
from ecgjepa.pretraining.collapse import CollapseWatch
from ecgjepa.pretraining.loop import initial_networks
from ecgjepa.sampling.augmentation import Augmentation

SMALL = ["encoder.dim=16", "encoder.depth=1", "predictor.dim=8", "predictor.depth=1"]
ENCODER = EncoderConfig(patch_size=5, dim=16, depth=1, num_heads=4)
OBJECTIVES = ["jepa", "simclr", "byol", "mae", "mae-lead-time"]


def small_config(name: str):
    objective = name.split("-")[0]
    masking = ["mae.masking=lead-time"] if name == "mae-lead-time" else []
    return load_preset("tiny", [f"objective={objective}", *SMALL, *masking])


def batch(config, size=6, seed=0):
    """Return normalised signals and what the objective takes beside them."""
    signal = torch.randn(size, 12, 250, generator=torch.Generator().manual_seed(seed))
    return signal, *objective_of(config).draw(seed, 0, 0, size=size)


def unchanged(size: int, **changes) -> Augmentation:
    """Return an augmentation that leaves signals as they are, but for ``changes``."""
    zero, one = torch.zeros(size, 2), torch.ones(size, 2)
    as_it_is = {
        "crop_start": zero,
        "crop_width": one,
        "scale": one,
        "noise": zero,
        "noise_seed": torch.zeros(size, 2, dtype=torch.int64),
        "mask_start": zero,
        "mask_width": zero,
        "keep_lead": torch.ones(size, 2, 12, dtype=torch.bool),
    }
    return Augmentation(**{**as_it_is, **changes})


# ---------------------------------------------------------------- losses


def test_contrastive_loss_is_the_published_sum():
    """SimCLR, algorithm 1: the mean over all 2 N views, each against the 2 N - 1 others."""
    torch.manual_seed(0)
    first, second = torch.randn(5, 7), torch.randn(5, 7)
    views = [*first.double(), *second.double()]

    def similarity(i: int, j: int) -> float:
        return float(views[i] @ views[j] / (views[i].norm() * views[j].norm()))

    total = 0.0
    for i in range(10):
        partner = (i + 5) % 10
        others = sum(np.exp(similarity(i, k) / 0.3) for k in range(10) if k != i)
        total -= np.log(np.exp(similarity(i, partner) / 0.3) / others)
    assert float(contrastive_loss(first, second, 0.3)) == pytest.approx(total / 10, rel=1e-5)


def test_byol_is_the_published_sum():
    """BYOL, equations 2 and 3: squared distances of unit vectors, both ways."""
    config = small_config("byol")
    torch.manual_seed(0)
    byol = objective_of(config).networks()
    with torch.no_grad():
        for parameter in byol.target_encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    signal, *augmentation = batch(config)
    loss = byol(signal, *augmentation).loss
    one, two = make_views(signal, Augmentation(*augmentation))
    total = torch.zeros(())
    for seen, other in ((one, two), (two, one)):
        q = byol.predictor(byol.projector(pooled(byol.encoder, seen)))
        z = byol.target_projector(pooled(byol.target_encoder, other))
        for a, b in zip(q, z, strict=True):
            total = total + (a / a.norm() - b / b.norm()).square().sum() / len(q)
    torch.testing.assert_close(loss, total)
    torch.testing.assert_close(regression_loss(q, 3 * q), torch.zeros(()), atol=1e-6, rtol=0)


def test_byol_targets_get_no_gradient_and_move_by_the_momentum():
    byol = objective_of(small_config("byol")).networks()
    byol(*batch(small_config("byol"))).loss.backward()
    targets = [*byol.target_encoder.parameters(), *byol.target_projector.parameters()]
    online = [*byol.encoder.parameters(), *byol.projector.parameters()]
    assert all(parameter.grad is None for parameter in targets)
    assert all(parameter.grad is not None for parameter in [*online, *byol.predictor.parameters()])
    with torch.no_grad():
        for parameter in online:
            parameter.add_(1.0)
    before = copy.deepcopy(targets)
    byol.update_target(0.75)
    for old, new, trained in zip(before, targets, online, strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * trained)


@pytest.mark.parametrize("normalised", [True, False])
def test_reconstruction_is_scored_on_hidden_patches_alone(normalised):
    torch.manual_seed(0)
    mae = Mae(ENCODER, MaeConfig(decoder_dim=8, normalise_targets=normalised))
    signal = torch.randn(2, 12, 30)
    context, target = torch.tensor([[0, 4], [1, 5]]), torch.tensor([[1, 2, 3, 5], [0, 2, 3, 4]])
    loss = mae(signal, context, target).loss
    drawn = mae.decoder(mae.encoder(signal, context)[:, 1:], context, 6).view(2, 6, 12, 5)
    errors = []
    for record in range(2):
        for patch in target[record].tolist():
            wanted = signal[record, :, 5 * patch : 5 * patch + 5]
            if normalised:  # torch.var is the sample variance
                wanted = (wanted - wanted.mean()) / (wanted.var() + 1e-6).sqrt()
            errors.append((drawn[record, patch] - wanted).square().mean())
    torch.testing.assert_close(loss, torch.stack(errors).mean())


def test_hidden_samples_reach_the_encoder_in_neither_masking():
    for name in ("mae", "mae-lead-time"):
        config = small_config(name)
        mae = objective_of(config).networks()
        signal, context, target = batch(config)
        before = mae(signal, context, target).features
        hidden = torch.zeros(6, objective_of(config).num_maskable).scatter(1, target, 1.0)
        hidden = hidden.view(6, 25, -1).expand(-1, -1, 12).transpose(1, 2)
        changed = signal + 10 * hidden.repeat_interleave(10, dim=2)
        assert torch.equal(mae(changed, context, target).features, before)
        assert not torch.equal(mae(changed + 1, context, target).features, before)


def test_single_lead_patches_are_numbered_patch_by_patch():
    config = small_config("mae-lead-time")
    mae = objective_of(config).networks()
    signal = torch.arange(12 * 250.0).view(1, 12, 250)
    patches = mae._patches(signal)
    assert torch.equal(patches[0, 3 * 12 + 7], signal[0, 7, 30:40])
    assert patches.shape == (1, 300, 10)


def test_normalised_patches_have_sample_variance_one():
    torch.manual_seed(0)
    patches = normalise_patches(3 + 2 * torch.randn(2, 4, 50))
    torch.testing.assert_close(patches.mean(dim=2), torch.zeros(2, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(patches.var(dim=2, correction=1), torch.ones(2, 4))
    assert torch.isfinite(normalise_patches(torch.zeros(1, 1, 50))).all()  # a flat lead


# ---------------------------------------------------------------- views


def test_an_augmentation_of_nothing_changes_nothing():
    signal = torch.randn(3, 12, 250)
    for view in make_views(signal, unchanged(3)):
        torch.testing.assert_close(view, signal, atol=1e-4, rtol=0)


def test_a_crop_is_stretched_over_the_window():
    ramp = torch.linspace(0, 1, 251).expand(1, 12, -1)
    crop = unchanged(1, crop_start=torch.full((1, 2), 0.25), crop_width=torch.full((1, 2), 0.5))
    first, _ = make_views(ramp, crop)
    torch.testing.assert_close(first[0, 0], torch.linspace(0.25, 0.75, 251), atol=1e-5, rtol=0)


def test_views_are_scaled_and_blanked_each_on_its_own():
    signal = torch.ones(1, 12, 250)
    keep = torch.ones(1, 2, 12, dtype=torch.bool)
    keep[0, 1, 4] = False
    first, second = make_views(
        signal,
        unchanged(
            1,
            scale=torch.tensor([[2.0, 0.5]]),
            mask_start=torch.tensor([[0.2, 0.0]]),
            mask_width=torch.tensor([[0.4, 0.0]]),
            keep_lead=keep,
        ),
    )
    assert set(first.unique().tolist()) == {0.0, 2.0}
    assert (first == 0).float().mean().item() == pytest.approx(0.4, abs=0.01)
    assert (first[0, :, 50:149] == 0).all()
    assert (second[0, 4] == 0).all()
    assert (second[0, torch.arange(12) != 4] == 0.5).all()


def test_noise_is_white_and_a_function_of_its_seed():
    seed = torch.tensor([1, 2, 2**32 - 1, 1])
    noise = white_noise(seed, torch.Size((4, 12, 2500)))
    assert torch.equal(noise[0], noise[3])
    assert not torch.equal(noise[0], noise[1])
    # A record's noise does not depend on its neighbours, so neither on the number of processes.
    assert torch.equal(white_noise(seed[1:2], torch.Size((1, 12, 2500)))[0], noise[1])
    flat = noise[:3].flatten(1).double()
    assert flat.mean(dim=1).abs().max() < 4 / 30_000**0.5
    assert (flat.std(dim=1) - 1).abs().max() < 0.02
    assert np.abs(np.corrcoef(flat.numpy()) - np.eye(3)).max() < 0.03
    lagged = (flat[:, 1:] * flat[:, :-1]).mean(dim=1)
    assert lagged.abs().max() < 0.03


# ---------------------------------------------------------------- what all objectives share


def test_all_objectives_start_from_the_same_encoder():
    encoders = [initial_networks(small_config(name)).encoder_to_keep for name in OBJECTIVES]
    first = encoders[0].state_dict()
    for encoder in encoders[1:]:
        state = encoder.state_dict()
        assert state.keys() == first.keys()
        assert all(torch.equal(state[key], first[key]) for key in first)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_one_batch_can_be_learned_and_everything_takes_part(name):
    config = small_config(name)
    objective = initial_networks(config)
    kept = f"{objective_of(config).kept_encoder}."
    held = {key.removeprefix(kept) for key in objective.state_dict() if key.startswith(kept)}
    assert held == set(objective.encoder_to_keep.state_dict())
    optimizer = torch.optim.AdamW(
        [parameter for parameter in objective.parameters() if parameter.requires_grad], lr=3e-3
    )
    inputs = batch(config, size=8)
    losses = []
    for _ in range(60):
        output = objective(*inputs)
        output.loss.backward()
        assert all(p.grad is not None for p in objective.parameters() if p.requires_grad)
        optimizer.step()
        optimizer.zero_grad()
        objective.update_target(0.99)
        losses.append(output.loss.item())
    assert losses[-1] < 0.9 * losses[0]
    signs = output.signs()
    assert np.isfinite(list(signs.values())).all()
    assert list(signs) == [sign.name for sign in objective_of(config).signs]


def test_signs_of_views_and_of_reconstruction():
    config = small_config("simclr")
    simclr = objective_of(config).networks()
    signal = batch(config)[0]
    output = simclr(signal, *unchanged(6))
    signs = output.signs()
    assert signs["positive_similarity"] == pytest.approx(1, abs=1e-3)
    same = simclr(signal[:1].expand(6, -1, -1), *unchanged(6))
    collapsed = same.signs()
    assert collapsed["spread"] < 0.01
    mae_config = small_config("mae")
    mae = objective_of(mae_config).networks()
    with torch.no_grad():
        mae.decoder.proj.weight.zero_()  # predicts the mean
    signs = mae(*batch(mae_config)).signs()
    assert signs["reconstruction_r2"] == pytest.approx(0, abs=1e-6)


def test_embeddings_that_are_all_alike_raise_the_alarm(caplog):
    objective, watch = objective_of(small_config("byol")), CollapseWatch(stop=True)
    healthy = {"spread": 0.1, "effective_rank": 0.1, "negative_similarity": 0.5}
    for step in range(5):
        watch.look(step, objective.find_collapse(healthy))
    assert not caplog.records
    bad = objective.find_collapse({**healthy, "negative_similarity": 0.95})
    watch.look(6, bad)
    watch.look(7, bad)
    with pytest.raises(CollapseError, match=r"different records have a mean cosine of 0\.95"):
        watch.look(8, bad)
