"""Which patches the context encoder sees and which the predictor must fill in.

The published sampler (Weimann & Conrad, section 3): per batch one share of patches to keep; per
record a union of blocks is masked until exactly the wanted number is. It masks the middle of a
record more often (about 0.91) than its ends (about 0.41); that bias is part of the published
method and kept. ``uniform`` masks every position equally often instead.

The published sampler works on all records of a batch at once. Choosing a visible interval with
probability proportional to its length, as published, is the same as choosing a visible patch
uniformly and taking the interval around it. A record is kept as the ascending edges of its visible
intervals [e0, e1), [e2, e3), …: a block adds two edges, and sorting them is all it takes to cut an
interval.
"""

from math import ceil
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Int64

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
    num_mask = num_patches - ceil(keep_ratio * num_patches)
    if config.sampler == "uniform":
        is_masked = _mask_on_circle(rng, batch_size, num_patches, num_mask, config.min_block_size)
        return MaskIndices(_places(~is_masked), _places(is_masked))
    edges = _mask_blocks(rng, batch_size, num_patches, num_mask, config.min_block_size)
    # What lies between the visible intervals is masked: the same edges, shifted by one.
    gaps = np.pad(edges, ((0, 0), (1, 1)), constant_values=((0, 0), (0, num_patches)))
    return MaskIndices(_patches_within(edges), _patches_within(gaps))


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
) -> Int32[np.ndarray, "batch edges"]:
    """Mask exactly ``num_mask`` patches per row; return the edges of what stays visible."""
    edges = np.full((batch_size, 2), (0, num_patches), np.int32)
    active = np.arange(batch_size)
    remaining = np.full(batch_size, num_mask)
    while active.size:
        start, end = _interval_of_random_patch(rng, edges[active])
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
        # Rows that are done get an empty interval at the end.
        edges = np.pad(edges, ((0, 0), (0, 2)), constant_values=num_patches)
        edges[active, -2] = first
        edges[active, -1] = first + taken
        edges[active] = np.sort(edges[active], axis=1)
        remaining = remaining - taken
        active, remaining = active[remaining > 0], remaining[remaining > 0]
    return edges


def _mask_on_circle(
    rng: np.random.Generator, batch_size: int, num_patches: int, num_mask: int, min_block: int
) -> Bool[np.ndarray, "batch patches"]:
    """Mask exactly ``num_mask`` patches per row, every position with the same probability.

    Blocks and visible patches are laid out on a circle in random order, and the circle is opened at
    a random place: all rotations being equally likely, so are all positions. A block that is cut
    there becomes two, at both ends of the window, together no shorter than the smallest block.
    """
    blocks = _block_lengths(rng, batch_size, num_mask, min_block)
    num_blocks, num_items = blocks.shape[1], blocks.shape[1] + num_patches - num_mask
    lengths = np.ones((batch_size, num_items), np.int64)
    lengths[:, :num_blocks] = blocks  # some of them may be 0: such a block is not there
    order = rng.random((batch_size, num_items)).argsort(axis=1)
    lengths = np.take_along_axis(lengths, order, axis=1)
    circle = np.repeat(order.ravel() < num_blocks, lengths.ravel()).reshape(batch_size, num_patches)
    opened_at = rng.integers(num_patches, size=(batch_size, 1))
    return np.take_along_axis(circle, (opened_at + np.arange(num_patches)) % num_patches, axis=1)


def _block_lengths(
    rng: np.random.Generator, batch_size: int, num_mask: int, min_block: int
) -> Int64[np.ndarray, "batch blocks"]:
    """Return lengths of at least ``min_block``, or 0, that add up to ``num_mask`` in every row.

    As in the published sampler, each is uniform between the smallest block and all that is left; a
    rest too small for a block of its own makes the last block longer.
    """
    blocks: list[Int64[np.ndarray, " batch"]] = []
    left = np.full(batch_size, num_mask)
    while left.any():
        block = rng.integers(np.minimum(min_block, left), left + 1)
        block = np.where(left - block < min_block, left, block)
        blocks.append(block)
        left = left - block
    return np.stack(blocks, axis=1)


def _places(chosen: Bool[np.ndarray, "batch patches"]) -> Int64[np.ndarray, "batch places"]:
    """Return the positions of what is true, of which every row has as many."""
    return np.nonzero(chosen)[1].astype(np.int64).reshape(len(chosen), -1)


def _interval_of_random_patch(
    rng: np.random.Generator, edges: Int32[np.ndarray, "active edges"]
) -> tuple[Int64[np.ndarray, " active"], Int64[np.ndarray, " active"]]:
    """Return [start, end) of the visible interval around a uniformly drawn visible patch."""
    num_visible = np.cumsum(edges[:, 1::2] - edges[:, ::2], axis=1, dtype=np.int64)
    drawn = rng.integers(1, num_visible[:, -1] + 1)
    # The drawn patch lies in the first interval up to which there are that many visible patches.
    left = 2 * np.sum(num_visible < drawn[:, None], axis=1)
    row = np.arange(len(edges))
    return edges[row, left].astype(np.int64), edges[row, left + 1].astype(np.int64)


def _patches_within(
    edges: Int32[np.ndarray, "batch edges"],
) -> Int64[np.ndarray, "batch patches"]:
    """Return the patches inside [e0, e1), [e2, e3), …; as many in every row."""
    starts = edges[:, ::2].astype(np.int64)
    lengths = edges[:, 1::2] - starts
    before = np.cumsum(lengths) - lengths.ravel()
    patches = np.repeat(starts.ravel() - before, lengths.ravel())
    patches += np.arange(len(patches))
    return patches.reshape(len(edges), -1)


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


def check_random_masks(num_patches: int) -> None:
    """Raise `ValueError` if there are too few patches to hide some and to leave some."""
    if num_patches < 2:
        raise ValueError(
            f"hides a part of at least 2 patches, found {num_patches}: take a longer "
            "data.window_seconds or a smaller encoder.patch_size"
        )


def sample_random_masks(
    mask_ratio: float, rng: np.random.Generator, *, batch_size: int, num_patches: int
) -> MaskIndices:
    """Draw masks of single patches, each as likely as any other, as a masked autoencoder does."""
    num_kept = kept_of(num_patches, mask_ratio)
    order = np.argsort(rng.random((batch_size, num_patches)), axis=1)
    return MaskIndices(np.sort(order[:, :num_kept], axis=1), np.sort(order[:, num_kept:], axis=1))


def kept_of(num_patches: int, mask_ratio: float) -> int:
    """Return how many patches `sample_random_masks` keeps.

    As published (He et al. 2021), the number of visible patches is rounded down; here at least one
    stays and one is masked.
    """
    return min(max(1, int(num_patches * (1 - mask_ratio))), num_patches - 1)
