"""The evaluations that repeats are made of, and the folder that says which are done.

``repeats.json`` tells what a folder repeats; a ``case.json``, that its evaluation is finished.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ecgjepa.claims import claim
from ecgjepa.errors import ConfigError
from ecgjepa.evaluation.requests import REPEATS, refuse_foreign
from ecgjepa.results.layout import REPEATS_FILE, RESULTS_FILE
from ecgjepa.tasks.cohort import Cohort

logger = logging.getLogger(__name__)

CASE_FILE = "case.json"


class Case(NamedTuple):
    """One evaluation among repeats of it."""

    test_on: tuple[str, ...]
    label_fraction: float
    label_draw: int
    seed: int

    def choose(self, cohort: Cohort) -> Cohort:
        """Return a cohort with the databases and labels of this evaluation."""
        return replace(
            cohort,
            test_on=self.test_on,
            label_fraction=self.label_fraction,
            label_draw=self.label_draw,
        )

    def folder(self) -> str:
        """Return a name that tells it from the others."""
        parts = [f"on-{'+'.join(self.test_on)}"] if self.test_on else []
        parts += [f"labels-{100 * self.label_fraction:g}", f"draw-{self.label_draw}"]
        return "-".join([*parts, f"seed-{self.seed}"])


def list_cases(
    targets: list[tuple[str, ...]], fractions: Sequence[float], draws: int, seeds: range
) -> Iterator[Case]:
    """Yield every case once: databases, then shares, then draws, then seeds."""
    for test_on in targets:
        for fraction in dict.fromkeys(fractions):
            for draw in range(draws if fraction < 1 else 1):
                for seed in seeds:
                    yield Case(test_on, fraction, draw, seed)


def describe_cases(cases: list[Case]) -> dict[str, Any]:
    """Return what the cases of repeats differ in, as JSON content: all values of each field."""
    return {
        name: list(dict.fromkeys(values))
        for name, values in zip(Case._fields, zip(*cases, strict=True), strict=True)
    }


def claim_folder(out: Path, request: dict[str, Any], cases: list[Case]) -> None:
    """Write down what a folder repeats, or make sure that it is the same.

    A folder in which nothing is finished can still be given to something else.

    Raises:
        ConfigError: If the folder holds other evaluations, or something else.
    """
    refuse_foreign(out, REPEATS)
    path = out / REPEATS_FILE
    foreign = [*out.glob(RESULTS_FILE), *out.glob(f"*/{RESULTS_FILE}")]
    if foreign and not path.is_file():
        raise ConfigError(
            f"{foreign[0]}: exists, and no {REPEATS_FILE} says what it repeats; choose another "
            "folder"
        )
    if not any(out.glob(f"*/{CASE_FILE}")):
        path.unlink(missing_ok=True)
    if differing := claim(path, request):
        raise ConfigError(
            f"{out}: holds repeats of something else: {'; '.join(differing[:5])}. Choose another "
            "folder, or repeat the same request to resume it"
        )
    finished = sum((out / case.folder() / CASE_FILE).is_file() for case in cases)
    if finished:
        logger.info("%d of %d runs are finished already", finished, len(cases))
