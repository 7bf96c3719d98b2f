"""Which patches the context encoder sees and which the predictor must fill in.

The published sampler (Weimann & Conrad, section 3): per batch one share of patches to keep; per
record a union of blocks is masked until exactly the wanted number is. It masks the middle of a
record more often (about 0.91) than its ends (about 0.41); that bias is part of the published
method and kept.

The sampler works on all records of a batch at once. Choosing a visible interval with probability
proportional to its length, as published, is the same as choosing a visible patch uniformly and
taking the interval around it.
"""

from math import ceil
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from ecgjepa.config import MaskConfig


class MaskIndices(NamedTuple):
    """Positions of visible and of masked patches, ascending in each row."""

    context_index: Int64[np.ndarray, "batch context"]
    target_index: Int64[np.ndarray, "batch target"]


def sample_masks(
    config: MaskConfig, rng: np.random.Generator, *, batch_size: int, num_patches: int
) -> MaskIndices:
    """Draw masks for a batch; all rows keep the same number of patches.

    Raises:
        ValueError: If fewer patches are to be masked than the smallest block has, or none is kept.
    """
    check_mask_size(config, num_patches)
    keep_ratio = rng.uniform(config.min_keep_ratio, config.max_keep_ratio)
    num_keep = ceil(keep_ratio * num_patches)
    visible = _mask_blocks(
        rng, batch_size, num_patches, num_patches - num_keep, config.min_block_size
    )
    return MaskIndices(
        np.nonzero(visible)[1].reshape(batch_size, num_keep),
        np.nonzero(~visible)[1].reshape(batch_size, num_patches - num_keep),
    )


def check_mask_size(config: MaskConfig, num_patches: int) -> None:
    """Refuse mask settings that a record of ``num_patches`` patches cannot meet.

    Raises:
        ValueError: If the fewest patches that may be masked make no block.
    """
    fewest_masked = num_patches - ceil(config.max_keep_ratio * num_patches)
    if fewest_masked < config.min_block_size:
        raise ValueError(
            f"with {num_patches} patches and max_keep_ratio {config.max_keep_ratio}, as few as "
            f"{fewest_masked} patches are masked, less than min_block_size "
            f"{config.min_block_size}; use smaller blocks or a longer window"
        )


def _mask_blocks(
    rng: np.random.Generator, batch_size: int, num_patches: int, num_mask: int, min_block: int
) -> Bool[np.ndarray, "batch patches"]:
    """Mask exactly ``num_mask`` patches per row, block by block; return what stays visible."""
    visible = np.ones((batch_size, num_patches), np.bool_)
    active = np.arange(batch_size)
    remaining = np.full(batch_size, num_mask)
    position = np.arange(num_patches)
    while active.size:
        start, end = _interval_of_random_patch(rng, visible[active], position)
        length = end - start
        # Where too little is left for a block of its own, the block is all that remains.
        is_rest = remaining < min_block
        block = rng.integers(np.minimum(min_block, remaining), remaining + 1)
        first = np.where(
            is_rest,
            _attach(rng, start, end, block, num_patches),
            rng.integers(start, np.maximum(end - block, start) + 1),
        )
        # An interval no longer than the block is masked whole.
        whole = length <= block
        first = np.where(whole, start, first)
        taken = np.where(whole, length, block)
        inside = (position >= first[:, None]) & (position < (first + taken)[:, None])
        visible[active] &= ~inside
        remaining = remaining - taken
        active, remaining = active[remaining > 0], remaining[remaining > 0]
    return visible


def _interval_of_random_patch(
    rng: np.random.Generator,
    visible: Bool[np.ndarray, "active patches"],
    position: Int64[np.ndarray, " patches"],
) -> tuple[Int64[np.ndarray, " active"], Int64[np.ndarray, " active"]]:
    """Return [start, end) of the visible interval around a uniformly drawn visible patch."""
    rank = np.cumsum(visible, axis=1)
    drawn = rng.integers(1, rank[:, -1] + 1)
    # The drawn patch is the first whose rank among visible patches reaches the drawn number.
    patch = np.sum(rank < drawn[:, None], axis=1)
    masked_before = ~visible & (position < patch[:, None])
    masked_after = ~visible & (position > patch[:, None])
    num_patches = len(position)
    start = np.max(np.where(masked_before, position + 1, 0), axis=1)
    end = np.min(np.where(masked_after, position, num_patches), axis=1)
    return start, end


def _attach(
    rng: np.random.Generator,
    start: Int64[np.ndarray, " active"],
    end: Int64[np.ndarray, " active"],
    block: Int64[np.ndarray, " active"],
    num_patches: int,
) -> Int64[np.ndarray, " active"]:
    """Place a small rest at an end of the interval that touches an earlier block."""
    at_start = rng.random(len(start)) < 0.5
    at_start = np.where(start == 0, False, np.where(end == num_patches, True, at_start))
    return np.where(at_start, start, end - block)
