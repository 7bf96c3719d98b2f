"""How often are exchanged leads and wrong gains noticed, and how often is a sound record suspected?

    python benchmarks/lead_checks.py ptb-xl=DIR georgia=DIR … [--result FILE]

Each folder holds records as `ecgjepa prepare` reads them. Every record is judged as it is, and
after a band-pass of 0.5 to 40 Hz that makes it as clean as denoised recordings are (where a rule in
millivolts fails). Then each exchange of two limb leads, some of a limb with a chest lead, inverted
and rescaled leads, exchanged electrodes and wrong gains are done to it in turn. *Named* counts the
records in which the finding names just these two leads. Weak hints, at electrodes and the order of
the chest leads, stand beside. Of gains, random groups of each database are also judged as a whole.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
from scipy import signal as dsp

from ecgjepa.cli.arguments import named_folders
from ecgjepa.databases import list_all
from ecgjepa.errors import RecordError
from ecgjepa.signals.faults import swap_arms
from ecgjepa.signals.lead_order import electrode_hints, limb_lead_issues
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.measures import measure
from ecgjepa.signals.preprocessing import PreprocessingConfig, prepare_record
from ecgjepa.signals.quality import quality_issues
from ecgjepa.signals.units import INVALID_MICROVOLT
from ecgjepa.store.amplitudes import describe

LIMB = LEADS[:6]
CHEST = LEADS[6:]
MIXED = [("I", "V1"), ("aVR", "V1"), ("aVF", "V6"), ("III", "V1")]
CHEST_PAIRS = [("V1", "V2"), ("V1", "V3"), ("V2", "V5"), ("V3", "V4"), ("V1", "V6"), ("V5", "V6")]
SCALES = (0.5, 2.0)
GAINS = {"divided by 5": 1 / 5, "divided by 4.88": 1 / 4.88, "times 4.88": 4.88, "times 5": 5.0}
_BAND = dsp.butter(4, [0.5, 40.0], btype="bandpass", fs=500.0, output="sos")
GROUPS, DRAWS = (4, 10, 20, 60), 200
Samples = np.ndarray


class Found(NamedTuple):
    """What a record's checks say: at all, and in words."""

    is_noticed: bool
    words: str


def records(databases: dict[str, Path]) -> Iterator[tuple[str, Samples]]:
    """Yield database and samples of every record of twelve leads that can be read."""
    for listing in list_all(databases):
        for entry in listing.entries():
            try:
                prepared = prepare_record(listing.read(entry), PreprocessingConfig())
            except RecordError:
                continue
            assert isinstance(prepared.samples, np.ndarray), "records are read whole"
            yield listing.database, prepared.samples


def filtered(samples: Samples) -> Samples:
    """Return samples without baseline wander and most noise; gaps stay gaps."""
    gaps = samples == INVALID_MICROVOLT
    clean = dsp.sosfiltfilt(_BAND, np.where(gaps, 0, samples).astype(np.float64), axis=0)
    return kept(np.where(gaps, INVALID_MICROVOLT, np.rint(clean)))


def kept(values: Samples) -> Samples:
    """Return amplitudes as the store holds them."""
    out = np.rint(values)
    return np.where(np.abs(out) > 32767, INVALID_MICROVOLT, out).astype(np.int16)


def exchanged(first: str, second: str) -> Callable[[Samples], Samples]:
    """Return a function that exchanges two leads."""
    order = list(range(len(LEADS)))
    a, b = LEADS.index(first), LEADS.index(second)
    order[a], order[b] = b, a
    return lambda samples: samples[:, order]


def scaled(factor: float, *leads: str) -> Callable[[Samples], Samples]:
    """Return a function that multiplies some leads; what does not fit the store is a gap."""
    columns = [LEADS.index(lead) for lead in leads]

    def scale(samples: Samples) -> Samples:
        out = samples.astype(np.float64)
        out[:, columns] = np.where(
            samples[:, columns] == INVALID_MICROVOLT, INVALID_MICROVOLT, out[:, columns] * factor
        )
        return kept(out)

    return scale


def leads_found(samples: Samples) -> Found:
    """Return what the limb leads' law says."""
    issues = limb_lead_issues(samples, measure(samples, 500.0))
    return Found(bool(issues), "; ".join(issue.message for issue in issues))


def hints_found(samples: Samples) -> Found:
    """Return the weak hints."""
    issues = electrode_hints(measure(samples, 500.0), len(samples))
    return Found(bool(issues), "; ".join(issue.message for issue in issues))


def gain_found(samples: Samples) -> Found:
    """Return whether the amplitude is called implausible."""
    issues = quality_issues(measure(samples, 500.0), LEADS, len(samples))
    return Found(any(issue.code == "implausible_amplitude" for issue in issues), "")


def faults() -> Iterator[tuple[str, Callable[[Samples], Samples], Any, tuple[str, ...]]]:
    """Yield each fault: its name, what does it, what should notice it, and what is to be named."""
    for pair in [*combinations(LIMB, 2), *MIXED]:
        yield f"{pair[0]}/{pair[1]}", exchanged(*pair), leads_found, pair
    for lead in LIMB:
        yield f"-{lead}", scaled(-1.0, lead), leads_found, (f"{lead} is turned upside down",)
    for factor in SCALES:
        for lead in ("I", "III", "aVL"):
            yield f"{lead} x {factor:g}", scaled(factor, lead), leads_found, ("scaled apart",)
    yield "arm electrodes", lambda s: swap_arms(s, np.random.default_rng()), hints_found, ()
    for pair in CHEST_PAIRS:
        yield f"{pair[0]}/{pair[1]}", exchanged(*pair), hints_found, pair
    for name, factor in GAINS.items():
        yield f"gain {name}", scaled(factor, *LEADS), gain_found, ()


def judged_as_a_whole(amplitudes: dict[str, list[float]]) -> dict[str, Any]:
    """Return how often random groups of a database are called unlike what is usual."""
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for database, values in amplitudes.items():
        for size in (n for n in GROUPS if n <= len(values)):
            groups = [rng.choice(values, size, replace=False) for _ in range(DRAWS)]
            found.setdefault(database, {})[f"groups of {size}"] = {
                name: round(
                    float(
                        np.mean([describe("", factor * group, {}) is not None for group in groups])
                    ),
                    4,
                )
                for name, factor in {"as it is": 1.0, **GAINS}.items()
            }
    return found


def measure_all(databases: dict[str, Path]) -> dict[str, Any]:
    """Return rates per database, as recorded and filtered."""
    found: dict[str, dict[str, Any]] = {}
    amplitudes: dict[str, list[float]] = {}
    for database, samples in records(databases):
        amplitudes.setdefault(database, []).append(measure(samples, 500.0).beats_mv)
        for kind, values in (("as recorded", samples), ("filtered", filtered(samples))):
            place = found.setdefault(database, {}).setdefault(kind, {"records": 0})
            place["records"] += 1
            for name, check in (
                ("limb leads", leads_found),
                ("hints", hints_found),
                ("gain", gain_found),
            ):
                suspected = place.setdefault("suspected as it is", {})
                suspected[name] = suspected.get(name, 0) + check(values).is_noticed
            for fault, do, check, names in faults():
                told = check(do(values))
                row = place.setdefault("noticed", {}).setdefault(fault, [0, 0])
                row[0] += told.is_noticed
                row[1] += bool(names) and all(name in told.words for name in names)
    for kinds in found.values():
        for place in kinds.values():
            count = place["records"]
            place["noticed"] = {
                fault: {"noticed": round(a / count, 4), "named": round(b / count, 4)}
                for fault, (a, b) in place["noticed"].items()
            }
    medians = {name: round(float(np.median(values)), 3) for name, values in amplitudes.items()}
    return {
        "records one by one": found,
        "median of beats, mV": medians,
        "groups of records": judged_as_a_whole(amplitudes),
    }


def main() -> None:
    """Measure, print JSON, write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("databases", nargs="+", metavar="NAME=DIR")
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    machine.report(options.result, measure_all(dict(named_folders(options.databases))))


if __name__ == "__main__":
    main()
