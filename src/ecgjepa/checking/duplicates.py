"""Find records that a store holds twice: sample for sample, or nearly.

Nearly equal records (resampled, rescaled or filtered copies) have signatures that differ in few
bits. Two signatures within `MAX_DISTANCE` almost surely agree in one of six bands of 21 bits, so
only records that share a band are compared, and a million take seconds. What is found is then
confirmed on the samples.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int64, UInt64

from ecgjepa.store.held_out import MAX_DISTANCE
from ecgjepa.store.reading import Store

_BANDS, _BAND_BITS = 6, 21
# Records of one band that are all compared with each other; more of them are not copies but, for
# instance, all flat, and each is compared with its next in order only.
_LARGEST_BUCKET = 512
# Seconds compared, and how alike they must be.
_SECONDS, _LEAST_CORRELATION = 10.0, 0.9


class Duplicates(NamedTuple):
    """What a store holds more than once, as rows of its index.

    Attributes:
        exact: Groups of records with the same samples.
        near: Pairs of records with nearly the same.
    """

    exact: list[list[int]]
    near: list[tuple[int, int]]


def find_duplicates(store: Store, index: pa.Table) -> Duplicates:
    """Find records with equal or nearly equal samples.

    Args:
        store: The store, open.
        index: Its ``sha256`` and ``signature`` columns.
    """
    hashes = index["sha256"].to_numpy()
    exact = [group.tolist() for group in _groups(hashes)]
    joined = b"".join(index["signature"].to_pylist())
    signatures = np.frombuffer(joined, np.uint64).reshape(-1, 2)
    candidates = near_pairs(signatures)
    near = [
        (int(a), int(b))
        for a, b in candidates
        if hashes[a] != hashes[b] and _are_alike(store, int(a), int(b))
    ]
    return Duplicates(exact, near)


def near_pairs(signatures: UInt64[np.ndarray, "records 2"]) -> Int64[np.ndarray, "pairs 2"]:
    """Return pairs of rows whose signatures differ in at most `MAX_DISTANCE` bits, sorted.

    A record without any signal in it has the signature 0 and is like no other.
    """
    rows = np.flatnonzero(signatures.any(axis=1))
    found = [np.empty((0, 2), np.int64)]
    for band in range(_BANDS):
        keys = _band(signatures[rows], band)
        for pairs in _pairs_of_equal(keys):
            a, b = rows[pairs[:, 0]], rows[pairs[:, 1]]
            distance = np.bitwise_count(signatures[a] ^ signatures[b]).sum(axis=1)
            close = distance <= MAX_DISTANCE
            found.append(np.sort(np.column_stack([a[close], b[close]]), axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _band(signatures: UInt64[np.ndarray, "records 2"], band: int) -> UInt64[np.ndarray, " records"]:
    """Return 21 of the bits of each signature: three bands lie in either half."""
    half, place = divmod(band, 3)
    mask = np.uint64(2**_BAND_BITS - 1)
    return (signatures[:, half] >> np.uint64(place * _BAND_BITS)) & mask


def _groups(values: np.ndarray) -> Iterator[Int64[np.ndarray, " group"]]:
    """Yield the places of each value that occurs more than once."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    stops = np.append(starts[1:], len(ordered))
    for start, stop in zip(starts[stops - starts > 1], stops[stops - starts > 1], strict=True):
        yield order[start:stop]


def _pairs_of_equal(keys: np.ndarray) -> Iterator[Int64[np.ndarray, "pairs 2"]]:
    """Yield pairs of places with the same key."""
    if not len(keys):
        return
    for group in _groups(keys):
        if len(group) > _LARGEST_BUCKET:
            yield np.column_stack([group[:-1], group[1:]])
        else:
            first, second = np.triu_indices(len(group), k=1)
            yield np.column_stack([group[first], group[second]])


def _are_alike(store: Store, first: int, second: int) -> bool:
    """Return whether the beginnings of two records are the same ECG, whatever its scale."""
    length = int(_SECONDS * store.sampling_rate)
    length = min(length, int(store.num_samples[first]), int(store.num_samples[second]))
    leads = range(store.num_leads)
    a, b = (store.read_record(row)[:length].astype(np.float64) for row in (first, second))
    # Differences between samples do not care about drift, which one of them may be rid of.
    a, b = np.diff(a, axis=0), np.diff(b, axis=0)
    moving = [lead for lead in leads if a[:, lead].any() and b[:, lead].any()]
    alike = [np.corrcoef(a[:, lead], b[:, lead])[0, 1] for lead in moving]
    return bool(alike) and float(np.median(alike)) >= _LEAST_CORRELATION
