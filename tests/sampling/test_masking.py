import hashlib
import json
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgjepa.config import MaskConfig
from ecgjepa.sampling.masking import _mask_blocks, check_mask_size, sample_masks
from ecgjepa.sampling.mixture import masks_rng


def visible_patches(edges, num_patches):
    """Return (records, patches): whether a patch lies between an even edge and the next one."""
    passed = (edges[:, :, None] <= np.arange(num_patches)).sum(axis=1)
    return passed % 2 == 1


GOLDEN = json.loads((Path(__file__).parents[1] / "golden/mask_statistics.json").read_text())


@st.composite
def mask_settings(draw):
    num_patches = draw(st.integers(4, 200))
    low = draw(st.floats(0.05, 0.6))
    high = draw(st.floats(low, 0.7))
    most = num_patches - ceil(high * num_patches)
    block = draw(st.integers(1, max(1, most)))
    return MaskConfig(min_keep_ratio=low, max_keep_ratio=high, min_block_size=block), num_patches


@settings(deadline=None)
@given(mask_settings(), st.integers(1, 20), st.integers(0, 10_000))
def test_masks_partition_the_patches(setting, batch_size, seed):
    config, num_patches = setting
    masks = sample_masks(
        config, np.random.default_rng(seed), batch_size=batch_size, num_patches=num_patches
    )
    both = np.concatenate(masks, axis=1)
    np.testing.assert_array_equal(
        np.sort(both, axis=1), np.tile(range(num_patches), (batch_size, 1))
    )
    for part in masks:
        assert (np.diff(part, axis=1) > 0).all()
    kept = masks.context_index.shape[1] / num_patches
    assert config.min_keep_ratio <= kept <= config.max_keep_ratio + 1 / num_patches


@settings(deadline=None)
@given(mask_settings(), st.integers(0, 10_000))
def test_masked_runs_are_at_least_one_block_long(setting, seed):
    """Smaller rests are attached to a block, and whole small intervals join their neighbours."""
    config, num_patches = setting
    num_mask = num_patches - ceil(config.max_keep_ratio * num_patches)
    edges = _mask_blocks(
        np.random.default_rng(seed), 8, num_patches, num_mask, config.min_block_size
    )
    visible = visible_patches(edges, num_patches)
    assert (visible.sum(axis=1) == num_patches - num_mask).all()
    for row in visible:
        edges = np.flatnonzero(np.diff(np.concatenate(([1], row, [1])).astype(int)))
        lengths = edges[1::2] - edges[::2]
        assert lengths.min() >= config.min_block_size


def test_masks_depend_on_the_generator_alone():
    config = MaskConfig()
    a, b, c = (
        sample_masks(config, np.random.default_rng(seed), batch_size=9, num_patches=200)
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(a.target_index, b.target_index)
    assert a.target_index.shape != c.target_index.shape or (a.target_index != c.target_index).any()


def test_the_stream_of_a_seed_stays_what_it_was():
    """A run resumed with a later version must see the masks it would have seen."""
    digest = hashlib.sha256()
    for num_patches, min_block in ((200, 10), (25, 2), (50, 2)):
        for step in range(4):
            for index in sample_masks(
                MaskConfig(min_block_size=min_block),
                masks_rng(0, step),
                batch_size=300,
                num_patches=num_patches,
            ):
                digest.update(index.astype("<i8").tobytes())
    assert digest.hexdigest()[:16] == "ab65932ef95d4cea"


def test_one_kept_patch_keeps_two_axes():
    """The official collator squeezes the axis away."""
    config = MaskConfig(min_keep_ratio=0.01, max_keep_ratio=0.02, min_block_size=3)
    masks = sample_masks(config, np.random.default_rng(0), batch_size=5, num_patches=40)
    assert masks.context_index.shape == (5, 1)


@pytest.mark.parametrize("kept", [30, 40, 50])
def test_statistics_equal_the_published_samplers(kept):
    """Position by position, and in the number of visible stretches, within 4.5 standard errors."""
    golden = GOLDEN["kept"][str(kept)]
    records = 40_000
    edges = _mask_blocks(
        np.random.default_rng(kept),
        records,
        GOLDEN["patches"],
        GOLDEN["patches"] - kept,
        GOLDEN["min_block_size"],
    )
    visible = visible_patches(edges, GOLDEN["patches"])
    expected = np.array(golden["visible_share_by_position"])
    error = np.sqrt(expected * (1 - expected) * (1 / records + 1 / GOLDEN["records"]))
    assert (np.abs(visible.mean(axis=0) - expected) < 4.5 * error + 1e-5).all()

    runs = (np.diff(np.pad(visible, ((0, 0), (1, 1))).astype(int), axis=1) == 1).sum(axis=1)
    share = np.bincount(runs, minlength=20) / records
    expected = np.zeros(20)
    expected[: len(golden["share_by_number_of_visible_runs"])] = golden[
        "share_by_number_of_visible_runs"
    ]
    error = np.sqrt(expected * (1 - expected) * (1 / records + 1 / GOLDEN["records"]))
    assert (np.abs(share - expected) < 4.5 * error + 2e-4).all()


def test_the_published_position_bias_is_there():
    """Fault 7 of the official sampler is kept as the paper's mode: ends are masked less."""
    masks = [
        sample_masks(MaskConfig(), np.random.default_rng(i), batch_size=100, num_patches=200)
        for i in range(100)
    ]
    masked = np.concatenate(
        [np.bincount(m.target_index.ravel(), minlength=200)[None] for m in masks]
    )
    share = masked.sum(axis=0) / 10_000
    assert 0.2 < share[0] < 0.5
    assert 0.85 < share[100] < 0.95


def test_settings_that_cannot_be_met_are_refused():
    with pytest.raises(ValueError, match=r"as few as 7 patches are masked, less than min_block"):
        check_mask_size(MaskConfig(min_block_size=8), num_patches=10)


# ---------------------------------------------------------------- uniform coverage


def uniform(setting, seed, batch_size=8):
    config, num_patches = setting
    return sample_masks(
        config.model_copy(update={"sampler": "uniform"}),
        np.random.default_rng(seed),
        batch_size=batch_size,
        num_patches=num_patches,
    )


@settings(deadline=None)
@given(mask_settings(), st.integers(0, 10_000))
def test_uniform_masks_partition_the_patches_as_the_papers_do(setting, seed):
    config, num_patches = setting
    masks = uniform(setting, seed)
    np.testing.assert_array_equal(
        np.sort(np.concatenate(masks, axis=1), axis=1), np.tile(range(num_patches), (8, 1))
    )
    # The same number of each as the paper's sampler keeps with the same generator.
    paper = sample_masks(config, np.random.default_rng(seed), batch_size=8, num_patches=num_patches)
    for part, papers in zip(masks, paper, strict=True):
        assert part.shape == papers.shape
        assert part.dtype == papers.dtype
        assert (np.diff(part, axis=1) > 0).all()


@settings(deadline=None)
@given(mask_settings(), st.integers(0, 10_000))
def test_uniform_blocks_are_long_enough_around_the_circle(setting, seed):
    """A run at one end goes on at the other; everywhere else runs are whole blocks."""
    config, num_patches = setting
    for row in uniform(setting, seed).target_index:
        masked = np.zeros(num_patches, bool)
        masked[row] = True
        opened = np.roll(masked, -int(np.argmin(masked)))  # begin where a patch is visible
        edges = np.flatnonzero(np.diff(np.pad(opened, 1).astype(int)))
        assert (edges[1::2] - edges[::2]).min() >= config.min_block_size


@settings(deadline=None)
@given(mask_settings(), st.integers(0, 10_000))
def test_uniform_masks_depend_on_the_generator_alone(setting, seed):
    for a, b in zip(uniform(setting, seed), uniform(setting, seed), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("num_patches", "min_block"), [(200, 10), (25, 2), (50, 40)])
def test_every_position_is_masked_equally_often(num_patches, min_block):
    """Within 4.5 standard errors of the binomial; the paper's sampler is far outside."""
    kept, records = 8, 40_000
    ratio = kept / num_patches - 1e-9
    setting = MaskConfig(
        min_keep_ratio=ratio, max_keep_ratio=ratio, min_block_size=min(min_block, 40)
    )
    masks = uniform((setting, num_patches), seed=3, batch_size=records)
    assert masks.context_index.shape == (records, kept)
    wanted = 1 - kept / num_patches
    bound = 4.5 * np.sqrt(wanted * (1 - wanted) / records)
    share = np.bincount(masks.target_index.ravel(), minlength=num_patches) / records
    assert np.abs(share - wanted).max() < bound
    paper = sample_masks(
        setting, np.random.default_rng(3), batch_size=records, num_patches=num_patches
    )
    share = np.bincount(paper.target_index.ravel(), minlength=num_patches) / records
    assert np.abs(share - wanted).max() > 10 * bound


def test_the_uniform_samplers_ends_are_masked_as_often_as_its_middle():
    """With the paper's settings, where its sampler masks ends at 0.41 and the middle at 0.91."""
    shares = np.zeros(200)
    for step in range(100):
        masks = uniform((MaskConfig(), 200), seed=step, batch_size=100)
        shares += np.bincount(masks.target_index.ravel(), minlength=200) / 10_000
    # The share kept varies between batches, for all positions alike.
    assert np.abs(shares - shares.mean()).max() < 4.5 * np.sqrt(0.8 * 0.2 / 10_000)
    assert shares.mean() == pytest.approx(0.8, abs=0.01)


def test_neighbouring_visible_stretches_are_as_many_as_the_papers_or_nearly():
    """Blocks are as long as the paper's; only where they lie differs."""
    counts = []
    for sampler in ("paper", "uniform"):
        config = MaskConfig(min_keep_ratio=0.2, max_keep_ratio=0.2, sampler=sampler)
        masks = sample_masks(config, np.random.default_rng(0), batch_size=2000, num_patches=200)
        counts.append(1 + (np.diff(masks.target_index, axis=1) > 1).sum(axis=1).mean())
    assert counts[0] == pytest.approx(counts[1], rel=0.4), counts
