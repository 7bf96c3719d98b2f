"""What is compared with what: a YAML file, or one of the plans that come with the package."""

from importlib import resources
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from ecgjepa.config import PretrainConfig, Section, describe_validation_error, load_preset
from ecgjepa.errors import ConfigError
from ecgjepa.evaluation.protocols import load_protocol
from ecgjepa.evaluation.tasks import Split, check_split, check_task
from ecgjepa.pretraining.costs import count_flops

# What `ecgjepa.comparing.cells` knows how to run.
Protocol = Literal["linear", "attentive", "finetune", "finetune-after-probe", "supervised"]
_WARMUP = 0.1  # share of the steps


class Arm(Section):
    """One way to pre-train: a preset and what differs from it."""

    preset: str
    overrides: tuple[str, ...] = ()


class Folds(Section):
    """Which folds of the labelled database are for what."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


class ComparisonPlan(Section):
    """A comparison.

    Attributes:
        database: The labelled database.
        folds: Its split; the test folds select nothing.
        tasks: Labels to predict.
        arms: By name; the first is the one that the others are compared with.
        seeds: Of pre-training and of evaluation, one run each.
        budget_teraflop: Operations that pre-training may spend, the same for every arm. None
            leaves each preset its own number of steps.
        protocols: Overrides of each; linear has none.
        networks: Residual networks for the protocol ``supervised``.
    """

    database: str = "ptb-xl"
    folds: Folds
    tasks: tuple[str, ...] = Field(min_length=1)
    arms: dict[str, Arm] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    budget_teraflop: float | None = Field(None, gt=0)
    protocols: dict[Protocol, tuple[str, ...]] = Field(min_length=1)
    networks: tuple[str, ...] = ("xresnet1d18",)

    @model_validator(mode="after")
    def _sound(self) -> "ComparisonPlan":
        check_split(self.split)
        for task in self.tasks:
            check_task(task)
        for protocol, overrides in self.protocols.items():
            if protocol != "linear":
                load_protocol(protocol, overrides)
            elif overrides:
                raise ValueError("protocol linear has no settings")
        for name in self.arms:
            self.config(name, self.seeds[0])
        return self

    @property
    def split(self) -> Split:
        """The folds as evaluation takes them."""
        return Split(self.folds.train, self.folds.validation, self.folds.test)

    def overrides(self, arm: str, seed: int) -> list[str]:
        """Return the settings of an arm's run, with the steps that its budget pays for."""
        chosen = self.arms[arm]
        seeded = [*chosen.overrides, f"train.seed={seed}"]
        if self.budget_teraflop is None:
            return seeded
        steps = affordable_steps(load_preset(chosen.preset, seeded), self.budget_teraflop)
        return [*seeded, f"train.steps={steps}", f"train.warmup_steps={int(_WARMUP * steps)}"]

    def first_alike(self, arm: str) -> str:
        """Return the first arm with the same encoder: without pre-training they are the same."""
        encoder = self.config(arm, self.seeds[0]).encoder
        alike = (name for name in self.arms if self.config(name, self.seeds[0]).encoder == encoder)
        return next(alike)

    def config(self, arm: str, seed: int) -> PretrainConfig:
        """Return the whole configuration of an arm's run."""
        return load_preset(self.arms[arm].preset, self.overrides(arm, seed))


def affordable_steps(config: PretrainConfig, teraflop: float) -> int:
    """Return how many steps of a configuration a number of operations pays for, at least one."""
    return max(1, int(teraflop * 1e12 / (count_flops(config).total * config.train.batch_size)))


def plan_names() -> list[str]:
    """Return the names of the plans that come with the package."""
    folder = resources.files("ecgjepa.comparing") / "plans"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir())


def load_plan(name: str | Path) -> ComparisonPlan:
    """Return a plan of the package, or the one in a YAML file.

    Raises:
        ConfigError: If there is none, or something in it is wrong.
    """
    if str(name).endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"no plan {path}")
        text = path.read_text(encoding="utf-8")
    elif name in plan_names():
        plan = resources.files("ecgjepa.comparing") / "plans" / f"{name}.yaml"
        text = plan.read_text(encoding="utf-8")
    else:
        raise ConfigError(
            f"unknown plan {str(name)!r}: expected one of {', '.join(plan_names())}, or the path "
            "of a .yaml file"
        )
    try:
        return ComparisonPlan.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not readable as YAML: {error}") from None
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, str(name))) from None
