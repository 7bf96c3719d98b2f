"""Are the beats of a whole database, or of a device, several times too small or too large?

Of one record it is hard to tell, for hearts differ; the medians of databases hardly do. A gain
wrong by 4.88 or 5 is seen from a few records on.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float64

from ecgjepa.store.manifest import INDEX_FILE

# Of `Measures.beats_mv`: median over PTB-XL, and standard deviation of its logarithm between
# records (benchmarks/lead_checks.py).
TYPICAL_BEATS_MV, _SPREAD = 1.08, 0.3
# How much a median may differ that is known exactly, and by how many standard errors besides.
_FACTOR, _ERRORS = 2.0, 3.0
_MEDIAN_ERROR = math.sqrt(math.pi / 2)
_SHARES = {2: "half of", 3: "a third of", 4: "a quarter of", 5: "a fifth of", 6: "a sixth of"}
_SHARES |= {10: "a tenth of"}
# Labels of one's own table that tell where a record comes from: ``device=…``.
_SOURCES = ("device", "machine", "recorder", "cart", "site", "hospital")
_COLUMNS = ("database", "record_id", "amplitude_mv", "source_sampling_rate", "labels")
# Database to device to the ids of its records.
Devices = Mapping[str, Mapping[str, Iterable[str]]]


class Amplitudes:
    """Collects the amplitudes of records, per database, rate and device, as an index goes by."""

    def __init__(self, devices: Devices) -> None:
        """Begin with none.

        Args:
            devices: What recorded the records, where that is known apart from the labels.
        """
        self._groups: dict[str, dict[str, list[float]]] = {}
        self._devices = {
            (database, record): f"device={device}"
            for database, own in devices.items()
            for device, records in own.items()
            for record in records
        }

    def add(self, rows: pa.Table) -> None:
        """Add rows of a store's index; records in which nothing moves do not count."""
        columns = [rows[name].to_pylist() for name in _COLUMNS]
        for database, record, amplitude, rate, labels in zip(*columns, strict=True):
            if amplitude:
                groups = self._groups.setdefault(database, {})
                sources = _sources(labels)
                if device := self._devices.get((database, record)):
                    sources.append(device)
                for name in ("", f"records at {rate:g} Hz", *sources):
                    groups.setdefault(name, []).append(amplitude)

    def findings(self) -> Iterator[tuple[str, str]]:
        """Yield database and words for each group whose beats are unlike all others."""
        whole = {name: np.array(groups[""]) for name, groups in self._groups.items()}
        for name, groups in self._groups.items():
            others = [own for other, own in whole.items() if other != name]
            medians = {other: float(np.median(whole[other])) for other in whole if other != name}
            found = describe(name, whole[name], medians)
            if found is not None:
                yield name, found
                continue
            for part, values in groups.items():
                rest = len(whole[name]) - len(values)
                if part and rest:
                    all_others = np.concatenate([whole[name], *others])
                    words = describe(
                        f"{name}, {part},", np.array(values), {"": float(np.median(all_others))}
                    )
                    if words is not None:
                        yield name, words


def findings_of_store(store: Path, devices: Devices | None = None) -> list[str]:
    """Return in words which databases and devices of a finished store have odd amplitudes.

    Args:
        store: Its folder, which does not hold the devices.
        devices: What recorded the records, where that is known.
    """
    amplitudes = Amplitudes(devices or {})
    amplitudes.add(pq.read_table(store / INDEX_FILE, columns=list(_COLUMNS)))
    return [words for _, words in amplitudes.findings()]


def describe(
    name: str, own: Float64[np.ndarray, " records"], medians: Mapping[str, float]
) -> str | None:
    """Return how a group's beats differ from the others and from what is usual, or None.

    Args:
        name: Of the group.
        own: Amplitudes of its beats in mV.
        medians: The others' medians, by name; they count as their median.
    """
    median = float(np.median(own))
    limit = math.log(_FACTOR) + _ERRORS * _MEDIAN_ERROR * _SPREAD / math.sqrt(len(own))
    other = float(np.median(list(medians.values()))) if medians else None
    references = [TYPICAL_BEATS_MV, *([] if other is None else [other])]
    if any(abs(math.log(median / reference)) <= limit for reference in references):
        return None
    ratio = median / references[-1]
    whose = "what is usual" if other is None else "the others'"
    size = f"{ratio:.1f} times" if ratio > 1 else _share(ratio)
    words = (
        f"beats of {name} are {size} {whose} ({median:.2g} mV from peak to peak in the median of "
        f"{len(own):,} records, {references[-1]:.2g} mV there): is the gain right?"
    )
    if 4.0 <= max(ratio, 1 / ratio) <= 6.0:
        words += (
            " A factor of about 5 is known from the first headers of Georgia, 4880 in place of "
            "1000 steps a mV, and from 200 steps a mV"
        )
    return words


def _share(ratio: float) -> str:
    parts = round(1 / ratio)
    return _SHARES.get(parts, f"1/{parts} of")


def _sources(labels: str) -> list[str]:
    if "=" not in labels:
        return []
    told = json.loads(labels).items()
    return [code for code, known in told if known and code.partition("=")[0] in _SOURCES]
