"""Draws without replacement: every record once per epoch, with no stored order and no buffer.

Not the paper's way (decision 0012). Two closed forms make the draws of any step a function of the
seed and the draws before it, which are counted, not remembered:

- *Whose turn it is.* Draw j of a database falls due at time (j + phase) / weight, and the n-th draw
  of all is the n-th by due time. Each database then keeps its share to within a few draws.
- *Which record.* Draw j of a database with N records takes place j mod N of a shuffled order of
  epoch j div N. `permute` computes a place of that order without the others.
"""

import numpy as np
from jaxtyping import Float64, Int64, UInt64

# Two records stay correlated if no round swaps just one of them: one chance in 2**32.
_ROUNDS = 32
_GOLDEN = 0x9E3779B97F4A7C15


def shuffled_draws(
    rng: np.random.Generator,
    weights: Float64[np.ndarray, " databases"],
    sizes: Int64[np.ndarray, " databases"],
    first: int,
    last: int,
) -> tuple[Int64[np.ndarray, " draws"], Int64[np.ndarray, " draws"]]:
    """Return database and place within it of the draws in ``range(first, last)``.

    Args:
        rng: Freshly made from the seed; the same for every range of the same run.
        weights: Positive shares that sum to 1.
        sizes: Records of each database.
        first: Number of draws before these.
        last: Number of draws up to and with these.
    """
    phases = rng.random(len(weights))
    keys = rng.integers(2**64, size=len(weights), dtype=np.uint64)
    database, number = turns(weights, phases, first, last)
    size = sizes[database]
    epoch = (number // size).astype(np.uint64)
    return database, permute(number % size, size, _scramble(keys[database] + epoch * _GOLDEN))


def turns(
    weights: Float64[np.ndarray, " databases"],
    phases: Float64[np.ndarray, " databases"],
    first: int,
    last: int,
) -> tuple[Int64[np.ndarray, " draws"], Int64[np.ndarray, " draws"]]:
    """Return for the draws in ``range(first, last)`` the database and its own count of draws."""
    # At time t, between t - databases and t + databases draws are due.
    margin = len(weights) + 1
    low, high = (
        np.ceil(time * weights - phases).clip(0).astype(np.int64)
        for time in (first - margin, last + margin)
    )
    database = np.repeat(np.arange(len(weights)), high - low)
    number = np.concatenate([np.arange(*span) for span in zip(low, high, strict=True)])
    due = (number + phases[database]) / weights[database]
    skip = first - int(low.sum())
    order = np.lexsort((database, due))[skip : skip + last - first]
    return database[order], number[order]


def permute(
    place: Int64[np.ndarray, " draws"],
    size: Int64[np.ndarray, " draws"],
    key: UInt64[np.ndarray, " draws"],
) -> Int64[np.ndarray, " draws"]:
    """Return where the shuffled order of ``key`` sends each place in ``range(size)``.

    Swap-or-not (Hoang, Morris & Rogaway, CRYPTO 2012): each round pairs the places whose sum is a
    secret number, and a hash of the pair says whether the two change places. That is a permutation
    of any size. Rows may differ in size and key.
    """
    place, size = place.astype(np.uint64), size.astype(np.uint64)
    for number in range(_ROUNDS):
        secret = _scramble(key + np.uint64(number))
        partner = (secret % size + size - place) % size
        swap = _scramble(secret ^ np.maximum(place, partner)) >> 63
        place = np.where(swap == 1, partner, place)
    return place.astype(np.int64)


def _scramble(word: UInt64[np.ndarray, " draws"]) -> UInt64[np.ndarray, " draws"]:
    """Mix the bits of each number (the finaliser of SplitMix64, a bijection)."""
    word = (word ^ (word >> 30)) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> 27)) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> 31)
