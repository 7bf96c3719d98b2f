"""What is compared with what: a YAML file, or one of the plans that come with the package."""

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from ecgjepa.config import (
    PretrainConfig,
    Section,
    describe_validation_error,
    load_preset,
    parse_yaml,
    read_yaml_text,
)
from ecgjepa.errors import ConfigError
from ecgjepa.metrics.classification import FEW_POSITIVES
from ecgjepa.model.heads import check_head
from ecgjepa.model.outputs import ClassificationKind
from ecgjepa.model.xresnet import check_network
from ecgjepa.objectives.build import objective_of
from ecgjepa.planning.costs import count_flops
from ecgjepa.protocols.request import ReadingName, request_protocol
from ecgjepa.protocols.settings import (
    FROM_SCRATCH_PROTOCOLS,
    FROZEN,
    TUNING,
    Protocol,
)
from ecgjepa.tasks.split import Split, check_split
from ecgjepa.tasks.task import REGRESSIONS, check_task

# Which arms without an objective belong to the protocols that train all of a network.
_BASELINE_OF = {"finetune": "scratch", "scratch": "scratch", "supervised": "network"}
_WARMUP = 0.1  # share of the steps


class Arm(Section):
    """One way to pre-train: a preset and what differs from it."""

    preset: str
    overrides: tuple[str, ...] = ()


class Baseline(Section):
    """An arm without an objective.

    Attributes:
        kind: ``untrained``: an arm's encoder before its first step, in the frozen protocols.
            ``scratch``: the same, trained from the labels alone, in the protocols finetune or
            scratch. ``network``: a residual network, in the protocol supervised.
        like: The arm whose encoder, or whose rate and windows, it has; the first by default.
        network: One of `ecgjepa.model.xresnet.NETWORKS`.
    """

    kind: Literal["untrained", "scratch", "network"]
    like: str | None = None
    network: str = "xresnet1d18"


class EvaluationSpec(Section):
    """A protocol, what differs from its settings, and with how many labels.

    Attributes:
        name: The protocol. ``scratch`` (finetune, of baselines alone) and ``supervised`` (of
            residual networks) stand in the column of the fine-tuned arms. The probe before
            ``finetune-after-probe`` has the settings of ``attentive``.
        reading: How encoders are read, see `ecgjepa.protocols.request.ProtocolRequest`; a protocol
            may be in a plan once with each reading.
        overrides: ``key=value`` items of the protocol; linear and knn have none. Those of the probe
            before ``finetune-after-probe`` may be among them, as ``probe.key=value``.
        label_fractions: Shares of the training patients whose labels are used.
    """

    name: Protocol
    reading: ReadingName = "paper"
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
        folds: Split of the database; the test folds select nothing.
        tasks: Labels to predict: names of tasks, or tables of labels (CSV).
        kind: What such tables hold.
        arms: By name; the first is the one that the others are compared with.
        seeds: Seeds of the evaluations, one run each.
        pretraining_seeds: Seeds of pre-training, taken in turn by the evaluations; None for an
            encoder of its own for each. The paper evaluates one encoder ten times.
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
    kind: ClassificationKind = "multi-label"
    arms: dict[str, Arm] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    pretraining_seeds: tuple[int, ...] | None = Field(None, min_length=1)
    budget_teraflop: float | None = Field(None, gt=0)
    baselines: dict[str, Baseline] = Field(default_factory=dict)
    protocols: tuple[EvaluationSpec, ...] = Field(min_length=1)
    min_positives: int = Field(FEW_POSITIVES, ge=1)

    @model_validator(mode="after")
    def _sound(self) -> "ComparisonPlan":
        check_split(self.split)
        for task in self.tasks:
            check_task(task)
            if task in REGRESSIONS:
                raise ValueError(
                    f"task {task!r} is a regression, and what is compared is the macro AUROC; use "
                    "ecgjepa probe and compare-predictions"
                )
        heads: list[str] = []
        for protocol in self.protocols:
            settings = request_protocol(protocol.name, protocol.overrides).settings
            if settings is not None and protocol.name in ("finetune", "scratch"):
                heads.append(settings.head)
        self._check_names()
        for name in self.arms:
            config = self.config(name, self.seeds[0])
            for head in heads:
                check_head(head, config.encoder.num_registers)
        return self

    def _check_names(self) -> None:
        names = [protocol.name for protocol in self.protocols]
        read = [(protocol.name, protocol.reading) for protocol in self.protocols]
        if len(set(read)) < len(read):
            raise ValueError("a protocol comes twice; give it several label_fractions")
        if any(name == "supervised" and reading != "paper" for name, reading in read):
            raise ValueError("protocol supervised: a residual network has no other reading")
        if {"finetune", "scratch"} <= set(names):
            raise ValueError("protocol finetune trains baselines from scratch too; leave scratch")
        _check_different("seeds", self.seeds)
        _check_different("pretraining_seeds", self.pretraining_seeds or ())
        _check_different("tasks", [task_folder(task) for task in self.tasks])
        for protocol in self.protocols:
            _check_different(f"label_fractions of {protocol.name}", protocol.label_fractions)
        evaluated = {arm for name in names for arm in self.arms_of(name)}
        for name, baseline in self.baselines.items():
            if name in self.arms:
                raise ValueError(f"baseline {name!r} has the name of an arm")
            if self.encoder_of(name) not in self.arms:
                raise ValueError(
                    f"baseline {name!r} is like {baseline.like!r}, which is not an arm"
                )
            if name not in evaluated:
                raise ValueError(
                    f"baseline {name!r} ({baseline.kind}) is evaluated by none of the protocols "
                    f"{', '.join(names)}"
                )
            check_network(baseline.network)
        _check_different("folders of arms", map(file_name, (*self.arms, *self.baselines)))

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

    def arms_of(self, protocol: Protocol) -> list[str]:
        """Return the names of the arms that a protocol evaluates, pre-trained ones first."""
        trained = [] if protocol in FROM_SCRATCH_PROTOCOLS else list(self.arms)
        kind = "untrained" if protocol in FROZEN else _BASELINE_OF.get(protocol)
        return trained + [name for name, one in self.baselines.items() if one.kind == kind]

    def encoder_of(self, arm: str) -> str:
        """Return the pre-trained arm whose encoder an arm has; itself, if it is one."""
        if arm in self.arms:
            return arm
        return self.baselines[arm].like or next(iter(self.arms))

    def shown_with(self, spec: EvaluationSpec) -> EvaluationSpec:
        """Return in whose column a protocol's results stand, beside the arms they compare with.

        What is trained from the labels alone stands beside the first fine-tuning of the plan.
        """
        if spec.name not in FROM_SCRATCH_PROTOCOLS:
            return spec
        tuned = [one for name in TUNING for one in self.protocols if one.name == name]
        return tuned[0] if tuned else spec

    def pretraining_seed(self, seed: int) -> int:
        """Return the seed of the pre-training whose encoder an evaluation has."""
        if self.pretraining_seeds is None:
            return seed
        return self.pretraining_seeds[self.seeds.index(seed) % len(self.pretraining_seeds)]

    def specification(self, protocol: Protocol, reading: ReadingName) -> EvaluationSpec:
        """Return how the plan has a protocol, or the protocol as it is, if the plan has not."""
        found = [one for one in self.protocols if (one.name, one.reading) == (protocol, reading)]
        return found[0] if found else EvaluationSpec(name=protocol, reading=reading)

    def as_json(self) -> dict[str, object]:
        """Return the plan as JSON content, as it was before protocols had readings if none has."""
        content = self.model_dump(mode="json")
        for protocol in content["protocols"]:
            if protocol["reading"] == "paper":
                del protocol["reading"]
        return content

    def config(self, arm: str, seed: int) -> PretrainConfig:
        """Return the whole configuration of an arm's run."""
        config = load_preset(self.arms[arm].preset, self.overrides(arm, seed))
        objective_of(config)  # refuses settings that do not suit the objective
        return config


def file_name(name: str) -> str:
    """Return the name of an arm as its folders have it: letters, digits and hyphens."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def task_folder(task: str) -> str:
    """Return the name of a task, or of a table of labels, as its folder has it."""
    return file_name(Path(task).stem)


def _check_different(what: str, values: Iterable[object]) -> None:
    """Refuse what would share a folder, and count one run as two."""
    listed = list(values)
    if twice := sorted({str(value) for value in listed if listed.count(value) > 1}):
        raise ValueError(f"{what}: {', '.join(twice)} more than once; expected each once")


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
        text = read_yaml_text(path)
    elif name in plan_names():
        plan = resources.files("ecgjepa.comparing") / "plans" / f"{name}.yaml"
        text = plan.read_text(encoding="utf-8")
    else:
        raise ConfigError(
            f"unknown plan {str(name)!r}: expected one of {', '.join(plan_names())}, or the path "
            "of a .yaml file"
        )
    content = parse_yaml(text, source=str(name))
    try:
        return ComparisonPlan.model_validate(content)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, str(name))) from None
