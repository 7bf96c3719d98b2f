"""What a recording looks like in 128 bits, by which copies of it are found.

A record has the same bits in every process, on every processor: they follow from exact sums.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Float64, Int8, UInt8

from ecgjepa.signals.leads import LEADS, LIMB_LEAD_WEIGHTS
from ecgjepa.signals.measures import Measures

# What `signature` looks at: 10 s of the leads that do not follow from others.
_SIGNATURE_BLOCKS = 50
_LEAST_BLOCKS = 25
_INDEPENDENT = [column for column, lead in enumerate(LEADS) if lead not in LIMB_LEAD_WEIGHTS]
_SIGNATURE_BITS = 128
# Without a limit a few large beats decide every bit, and records with beats in the same places
# look alike (benchmarks/signatures.py).
_SIGNATURE_LIMIT_MICROVOLT = 100.0


def signature(measures: Measures) -> UInt8[np.ndarray, " 16"]:
    """Return 128 bits that nearly agree for copies of a recording and differ by half otherwise.

    A copy may have been resampled, rounded or filtered against baseline wander. Each bit is the
    sign of a random ±1 combination (SimHash, https://doi.org/10.1145/509907.509965) of the
    recording's `bends`. All bits are 0 for less than five seconds, which say too little.
    """
    return signatures([measures])[0]


def signatures(measures: Sequence[Measures]) -> list[UInt8[np.ndarray, " 16"]]:
    """Return the `signature` of each of several records, in less time."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for place, own in enumerate(measures):
        if len(own.block_means) >= _LEAST_BLOCKS:
            alike.setdefault(own.block_means.shape, []).append(place)
    found = np.zeros((len(measures), _SIGNATURE_BITS // 8), np.uint8)
    for places in alike.values():
        together = _bends(np.array([measures[place].block_means for place in places]))
        # Sums of integers are exact, in whatever order they are added.
        products = together.reshape(len(places), -1).astype(np.float32) @ _directions().T
        found[places] = np.packbits(products > 0, axis=1)
    return list(found)


def bends(measures: Measures) -> Int8[np.ndarray, "bends 8"]:
    """Return how the means over 0.2 s bend, in µV: their second differences, limited to ±100.

    They are of the first ten seconds of the leads I, II, V1 to V6 (of the first eight columns, if
    there are not twelve), 0 beyond the end. First differences would feel a filter more.
    """
    return _bends(measures.block_means[None])[0]


def _bends(means: Float64[np.ndarray, "records blocks leads"]) -> Int8[np.ndarray, "records 48 8"]:
    means = means[:, :_SIGNATURE_BLOCKS]
    means = np.rint(means[..., _INDEPENDENT] if means.shape[2] == len(LEADS) else means[..., :8])
    change = means[:, 1:] - means[:, :-1]
    limit = _SIGNATURE_LIMIT_MICROVOLT
    bent = np.clip(change[:, 1:] - change[:, :-1], -limit, limit)
    filled = np.zeros((len(means), _SIGNATURE_BLOCKS - 2, len(_INDEPENDENT)), np.int8)
    filled[:, : bent.shape[1], : bent.shape[2]] = bent
    return filled


@lru_cache(maxsize=1)
def _directions() -> Float32[np.ndarray, "bits bends"]:
    """Return the fixed ±1 combinations, from a hash: no library's generator may change them."""
    terms = (_SIGNATURE_BLOCKS - 2) * len(_INDEPENDENT)
    content = hashlib.shake_128(b"ecgjepa signature").digest(_SIGNATURE_BITS * terms // 8)
    bits = np.unpackbits(np.frombuffer(content, np.uint8)).reshape(_SIGNATURE_BITS, terms)
    return bits.astype(np.float32) * 2 - 1
