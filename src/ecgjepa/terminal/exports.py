"""A model that was exported, on a terminal."""

import json
from typing import TYPE_CHECKING, Any

from ecgjepa.terminal.screen import as_bytes, print_line, print_wrapped

if TYPE_CHECKING:  # the terminal must not import torch just to print
    from ecgjepa.exporting.export import Exported


def exported_as_json(exported: "Exported") -> dict[str, Any]:
    """Return what was exported as JSON content."""
    return {
        "out": str(exported.path),
        "bytes": exported.num_bytes,
        "differences": dict(exported.differences),
        "int8": None if exported.int8 is None else exported.int8.as_json(),
        "metadata": dict(exported.metadata),
    }


def print_exported(exported: "Exported") -> None:
    """Print where the file is, how it takes a record, and how it agrees with PyTorch."""
    metadata = exported.metadata
    given = json.loads(metadata["input"])
    print_line(f"{exported.path}: {as_bytes(exported.num_bytes)}")
    print_wrapped(
        "input",
        f"{given['name']} ({', '.join(given['axes'])}), {given['type']} in {given['unit']}, at "
        f"{metadata['sampling_rate']} Hz; no sample: {given['missing']}",
    )
    print_wrapped("leads", ", ".join(json.loads(metadata["leads"])))
    print_wrapped("outputs", ", ".join(json.loads(metadata["outputs"])))
    steps = [step["name"] for step in json.loads(metadata["preprocessing_outside"])]
    print_wrapped("not inside", f"{', '.join(steps)}: see preprocessing_outside in the metadata")
    gaps = ", ".join(f"{name} {gap:.1e}" for name, gap in exported.differences.items())
    print_wrapped("checked", f"largest difference from PyTorch on simulated records: {gaps}")
    if exported.int8 is not None:
        facts = exported.int8.as_json()
        low, high = facts["difference"][1:]
        print_wrapped(
            "int8",
            f"{facts['score']} {facts['int8']:.4f} instead of {facts['float32']:.4f} on "
            f"{facts['records']:,} records (difference {facts['difference'][0]:+.4f}, 95 % "
            f"interval {low:+.4f} to {high:+.4f}); outputs differ by {facts['mean_difference']:g} "
            f"in the mean and {facts['largest_difference']:g} at most"
            + (
                ""
                if facts["changed_decisions"] is None
                else f"; {facts['changed_decisions']:.2%} of the decisions change"
            ),
        )
