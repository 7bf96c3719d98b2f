import numpy as np
import pytest
import torch

from ecgjepa.config import AugmentConfig
from ecgjepa.sampling.augmentation import sample_augmentation
from ecgjepa.sampling.masking import sample_random_masks


def draw(config=None, seed=0, size=2000):
    config = config or AugmentConfig()
    return sample_augmentation(config, np.random.default_rng(seed), batch_size=size, num_leads=12)


def test_views_are_a_function_of_the_generator():
    a, b, c = draw(), draw(), draw(seed=1)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not torch.equal(a.crop_start, c.crop_start)
    assert not torch.equal(a.crop_start[:, 0], a.crop_start[:, 1])  # two views, two draws


def test_everything_stays_within_its_bounds():
    config = AugmentConfig(min_crop=0.4, max_time_mask=0.3, noise=0.2, max_scale=2.0)
    views = draw(config)
    assert 0.4 <= views.crop_width.min() < 0.42
    assert views.crop_width.max() <= 1
    assert (views.crop_start >= 0).all()
    assert (views.crop_start + views.crop_width <= 1 + 1e-6).all()
    assert 0.28 < views.mask_width.max() <= 0.3
    assert (views.mask_start + views.mask_width <= 1 + 1e-6).all()
    assert 0.19 < views.noise.max() <= 0.2
    assert 0.5 <= views.scale.min() < 0.51
    assert 1.98 < views.scale.max() <= 2.0
    assert views.scale.log().mean().abs() < 0.03


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.99])
def test_a_lead_always_stays(probability):
    keep = draw(AugmentConfig(lead_mask=probability)).keep_lead
    assert keep.any(dim=2).all()
    expected = 1 - probability * 11 / 12  # one of twelve is spared
    assert keep.float().mean().item() == pytest.approx(expected, abs=0.02)
    assert keep.float().mean(dim=(0, 1)).std().item() < 0.02


def test_random_masks_hide_every_patch_equally_often():
    masks = sample_random_masks(0.75, np.random.default_rng(0), batch_size=4000, num_patches=25)
    assert masks.context_index.shape == (4000, 6)  # 25 · 0.25, rounded down
    whole = np.sort(np.concatenate(masks, axis=1), axis=1)
    assert (whole == np.arange(25)).all()
    hidden = np.bincount(masks.target_index.ravel(), minlength=25) / 4000
    assert np.abs(hidden - 19 / 25).max() < 0.03


@pytest.mark.parametrize("ratio", [0.01, 0.99])
def test_random_masks_leave_something_on_both_sides(ratio):
    masks = sample_random_masks(ratio, np.random.default_rng(0), batch_size=3, num_patches=4)
    assert masks.context_index.shape[1] >= 1
    assert masks.target_index.shape[1] >= 1
