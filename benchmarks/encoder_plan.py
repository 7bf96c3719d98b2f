"""What encoder_search.py compares: arms, recipes, and a plan that is fair and committed."""

import hashlib
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from ecgjepa.config import Section, load_preset, parse_yaml
from ecgjepa.model.heads import check_head
from ecgjepa.protocols.request import ReadingName, request_protocol
from ecgjepa.protocols.settings import FROM_SCRATCH_PROTOCOLS, Protocol


class Recipe(Section):
    """How labels are learned.

    Attributes:
        name: Name in the log.
        protocol: Of ``scratch`` and ``supervised``, without pre-training.
        reading: How a pre-trained encoder is read.
        settings: ``key=value`` items of the protocol.
    """

    name: str
    protocol: Protocol
    reading: ReadingName = "paper"
    settings: tuple[str, ...] = ()

    @property
    def from_labels(self) -> bool:
        """Whether nothing is pre-trained."""
        return self.protocol in FROM_SCRATCH_PROTOCOLS


class Arm(Section):
    """What is compared.

    Attributes:
        name: Name in the log.
        kind: Which recipes are tried.
        preset: Preset of the encoder and its pre-training.
        pretrain: ``section.key=value`` items of the preset.
        network: Residual network of ``supervised``.
    """

    name: str
    kind: str
    preset: str = "tiny"
    pretrain: tuple[str, ...] = ()
    network: str = "xresnet1d18"


class Plan(Section):
    """All trials: each arm, in turn, by each recipe of its kind.

    Attributes:
        task: Labels.
        seed: Seed, or seeds, of pre-training and protocol.
        teraflop: Operations of each pre-training, in units of 10^12.
        recipes: Ways to learn labels, by kind of arm.
        arms: What is compared, in the order in which it runs.
    """

    task: str = "superdiagnostic"
    seed: int | tuple[int, ...] = 0
    teraflop: float = Field(gt=0)
    recipes: dict[str, tuple[Recipe, ...]]
    arms: tuple[Arm, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds."""
        return (self.seed,) if isinstance(self.seed, int) else self.seed

    def trials(self) -> Iterator[tuple[Arm, Recipe]]:
        """Yield arms and recipes in the order in which they run."""
        for arm in self.arms:
            for recipe in self.recipes[arm.kind]:
                yield arm, recipe

    def digest(self, arm: Arm, recipe: Recipe) -> str:
        """Return what tells one trial from all others, in whatever plan they are."""
        content: list[object] = [arm.model_dump(), recipe.model_dump(), self.task]
        if not recipe.from_labels:
            content.append(self.teraflop)
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def read_plan(path: Path) -> Plan:
    """Return a plan; refuse one that is unfair, or wrong before anything is spent.

    Raises:
        SystemExit: If arms have different numbers of trials, or a name comes twice.
        ConfigError: If a setting is unknown or not usable.
    """
    plan = Plan.model_validate(parse_yaml(path.read_text(encoding="utf-8"), source=str(path)))
    counts = {kind: len(recipes) for kind, recipes in plan.recipes.items()}
    if len(set(counts.values())) > 1:
        raise SystemExit(f"{path}: arms have different numbers of trials: {counts}")
    names = Counter((arm.name, recipe.name) for arm, recipe in plan.trials())
    if twice := [name for name, count in names.items() if count > 1]:
        raise SystemExit(f"{path}: {': '.join(twice[0])!r} is the name of several trials")
    for arm, recipe in plan.trials():
        config = load_preset(arm.preset, arm.pretrain)
        asked = request_protocol(
            recipe.protocol, recipe.settings, reading=recipe.reading, network=arm.network
        )
        if asked.settings is not None and recipe.protocol != "supervised":
            check_head(asked.settings.head, config.encoder.num_registers)
    return plan


def check_committed(path: Path) -> None:
    """Refuse a plan that is not in the repository as it is: it was to be fixed beforehand.

    Raises:
        SystemExit: If git knows no such file, or another content of it.
    """
    git = ["git", "-C", str(path.parent)]
    known = subprocess.run([*git, "ls-files", "--error-unmatch", path.name], capture_output=True)
    same = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", path.name])
    if known.returncode or same.returncode:
        raise SystemExit(f"{path} differs from what is committed: commit the plan first")
