"""The evaluations that repeats are made of, and the folder that says which are done.

``repeats.json`` tells what a folder repeats; a ``case.json``, that its evaluation is finished.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ecgjepa.errors import ConfigError
from ecgjepa.files import claim, sha256_of_file
from ecgjepa.model.folder import CONFIG_FILE, find_model
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.results.layout import RESULTS_FILE
from ecgjepa.store.manifest import store_fingerprint
from ecgjepa.store.shard_plan import Settings, make_plan
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.label_table import digest_of_table
from ecgjepa.tasks.opening import Data
from ecgjepa.tasks.task import is_table
from ecgjepa.tasks.treatment import one_treatment
from ecgjepa.version import __version__

logger = logging.getLogger(__name__)

REQUEST_FILE = "repeats.json"
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


def describe_request(
    model: str | Path,
    data: Data,
    cohort: Cohort,
    settings: Mapping[str, Any],
    cases: list[Case],
) -> dict[str, Any]:
    """Return all that decides the numbers, as JSON content.

    Args:
        model: Run, checkpoint or model folder.
        data: Databases, or a store.
        cohort: Labels and folds; what differs between the cases is taken from those.
        settings: Protocol and what differs from its settings.
        cases: All evaluations.
    """
    ranges = {
        name: list(dict.fromkeys(values))
        for name, values in zip(Case._fields, zip(*cases, strict=True), strict=True)
    }
    return {
        "software_version": __version__,
        "model": _digest_of_model(Path(model)),
        "records": _digest_of_records(model, data),
        "labels": digest_of_table(cohort.task) if is_table(cohort.task) else None,
        **cohort.as_request(),
        **settings,
        **ranges,
    }


def _digest_of_model(path: Path) -> dict[str, str]:
    """Return hashes of the files that a model is loaded from."""
    folder = find_model(path)
    files = [*folder.glob("*.safetensors"), *folder.glob(CONFIG_FILE)]
    return {file.name: sha256_of_file(file) for file in sorted(files)}


def _digest_of_records(model: str | Path, data: Data) -> str:
    """Return a hash of which records are evaluated, and of how they are prepared."""
    if not isinstance(data, Mapping):
        return store_fingerprint(Path(data))
    preprocessing = one_treatment(load_encoder(model).config.preprocessing, data)
    return make_plan(data, "all", Settings(preprocessing), own_filters=False).digest()


def claim_folder(out: Path, request: dict[str, Any], cases: list[Case]) -> None:
    """Write down what a folder repeats, or make sure that it is the same.

    A folder in which nothing is finished can still be given to something else.

    Raises:
        ConfigError: If the folder holds other evaluations.
    """
    path = out / REQUEST_FILE
    foreign = [*out.glob(RESULTS_FILE), *out.glob(f"*/{RESULTS_FILE}")]
    if foreign and not path.is_file():
        raise ConfigError(
            f"{foreign[0]}: exists, and no {REQUEST_FILE} says what it repeats; choose another "
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
