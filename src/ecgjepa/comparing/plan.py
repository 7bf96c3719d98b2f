"""What is compared with what: a YAML file, or one of the plans that come with the package."""

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from ecgjepa.config import PretrainConfig, Section, describe_validation_error, load_preset
from ecgjepa.errors import ConfigError
from ecgjepa.evaluation.metrics import FEW_POSITIVES
from ecgjepa.evaluation.protocols import load_settings
from ecgjepa.evaluation.running import FROZEN
from ecgjepa.evaluation.tasks import Split, check_split, check_task
from ecgjepa.model.heads import check_head
from ecgjepa.model.xresnet import NETWORKS
from ecgjepa.pretraining.costs import count_flops

# What an arm may be evaluated by.
Evaluated = Literal["linear", "attentive", "knn", "finetune", "finetune-after-probe", "supervised"]
# Which arms without an objective belong to the protocols that train all of a network.
_BASELINE_OF = {"finetune": "scratch", "supervised": "network"}
_WARMUP = 0.1  # share of the steps


class Arm(Section):
    """One way to pre-train: a preset and what differs from it."""

    preset: str
    overrides: tuple[str, ...] = ()


class Baseline(Section):
    """An arm without an objective.

    Attributes:
        kind: ``untrained``: an arm's encoder before its first step, in the frozen protocols.
            ``scratch``: the same, fine-tuned. ``network``: a residual network from scratch.
        like: The arm whose encoder, or whose rate and windows, it has; the first by default.
        network: One of `ecgjepa.model.xresnet.NETWORKS`.
    """

    kind: Literal["untrained", "scratch", "network"]
    like: str | None = None
    network: str = "xresnet1d18"


class Evaluation(Section):
    """A protocol, what differs from its settings, and with how many labels.

    Attributes:
        name: The protocol; ``supervised`` is of residual networks.
        overrides: Of its settings; linear and knn have none.
        label_fractions: Shares of the training patients whose labels are used.
    """

    name: Evaluated
    overrides: tuple[str, ...] = ()
    label_fractions: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field((1.0,), min_length=1)


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
        baselines: Arms without an objective, by name.
        protocols: How the arms are evaluated.
        min_positives: Labels with fewer positive, or fewer negative, test records are in no mean:
            intervals over them do not cover (docs/statistics.md).
    """

    database: str = "ptb-xl"
    folds: Folds
    tasks: tuple[str, ...] = Field(min_length=1)
    arms: dict[str, Arm] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    budget_teraflop: float | None = Field(None, gt=0)
    baselines: dict[str, Baseline] = Field(default_factory=dict)
    protocols: tuple[Evaluation, ...] = Field(min_length=1)
    min_positives: int = Field(FEW_POSITIVES, ge=1)

    @model_validator(mode="after")
    def _sound(self) -> "ComparisonPlan":
        check_split(self.split)
        for task in self.tasks:
            check_task(task)
        heads: list[str] = []
        for protocol in self.protocols:
            settings = load_settings(protocol.name, protocol.overrides)
            if settings is not None and protocol.name == "finetune":
                heads.append(settings.head)
        self._check_names()
        for name in self.arms:
            config = self.config(name, self.seeds[0])
            for head in heads:
                check_head(head, config.encoder.num_registers)
        return self

    def _check_names(self) -> None:
        names = [protocol.name for protocol in self.protocols]
        if len(set(names)) < len(names):
            raise ValueError("a protocol comes twice; give it several label_fractions")
        evaluated = {arm for name in names for arm in self.arms_of(name)}
        for name, baseline in self.baselines.items():
            if name in self.arms:
                raise ValueError(f"baseline {name!r} has the name of an arm")
            if self.encoder_of(name) not in self.arms:
                raise ValueError(f"baseline {name!r} is like {baseline.like!r}, which is no arm")
            if name not in evaluated:
                raise ValueError(
                    f"baseline {name!r} ({baseline.kind}) is evaluated by none of the protocols "
                    f"{', '.join(names)}"
                )
            if baseline.network not in NETWORKS:
                raise ValueError(f"network {baseline.network!r}: expected {', '.join(NETWORKS)}")

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

    def arms_of(self, protocol: Evaluated) -> list[str]:
        """Return the names of the arms that a protocol evaluates, pre-trained ones first."""
        trained = [] if protocol == "supervised" else list(self.arms)
        kind = "untrained" if protocol in FROZEN else _BASELINE_OF.get(protocol)
        return trained + [name for name, one in self.baselines.items() if one.kind == kind]

    def encoder_of(self, arm: str) -> str:
        """Return the pre-trained arm whose encoder an arm has; itself, if it is one."""
        if arm in self.arms:
            return arm
        return self.baselines[arm].like or next(iter(self.arms))

    def protocol(self, name: Evaluated) -> Evaluation:
        """Return how a protocol is run."""
        return next(protocol for protocol in self.protocols if protocol.name == name)

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
