"""Optional writers of a run's metrics beside ``metrics.jsonl``: TensorBoard, Weights & Biases.

Neither package is imported unless ``train.trackers`` names it. What is written is what
``metrics.jsonl`` says, and to Weights & Biases the configuration and whatever it collects by itself
(it sends all that to its server, unless its own settings say otherwise); never a signal or label.
"""

import importlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ecgjepa.config import PretrainConfig
from ecgjepa.errors import ConfigError
from ecgjepa.files import write_text

_TENSORBOARD_FOLDER = "tensorboard"
# The number under which Weights & Biases knows the run, so that a resumed run continues there.
_WANDB_FILE = "wandb-id.txt"
_MODULES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}


class Tracker(NamedTuple):
    """Something that takes lines of metrics.

    Attributes:
        write: Takes a step and its values.
        close: Finishes; nothing comes after.
    """

    write: Callable[[int, Mapping[str, float]], None]
    close: Callable[[], None]


def check_trackers(names: Sequence[str]) -> None:
    """Make sure that the named packages are installed, before a run begins.

    Raises:
        ConfigError: If one is not.
    """
    for name in names:
        _load(name)


def open_trackers(run: Path, config: PretrainConfig, *, first_step: int) -> list[Tracker]:
    """Return the trackers that ``train.trackers`` names, to continue after ``first_step``.

    Raises:
        ConfigError: If a package is not installed.
    """
    kinds = {"tensorboard": _tensorboard, "wandb": _wandb}
    return [kinds[name](run, config, first_step) for name in config.train.trackers]


def _tensorboard(run: Path, config: PretrainConfig, first_step: int) -> Tracker:
    # What an interrupted run had written beyond its checkpoint is hidden.
    writer = _load("tensorboard").SummaryWriter(
        str(run / _TENSORBOARD_FOLDER), purge_step=first_step + 1
    )

    def write(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return Tracker(write, writer.close)


def _wandb(run: Path, config: PretrainConfig, first_step: int) -> Tracker:
    path = run / _WANDB_FILE
    if not path.is_file():
        write_text(path, uuid.uuid4().hex)
    online = _load("wandb").init(
        project="ecgjepa",
        name=run.name,
        id=path.read_text(encoding="utf-8"),
        resume="allow",
        dir=str(run),
        config=config.model_dump(mode="json"),
    )
    return Tracker(lambda step, values: online.log(dict(values), step=step), online.finish)


def _load(name: str) -> Any:  # noqa: ANN401
    try:
        return importlib.import_module(_MODULES[name])
    except ImportError as error:
        raise ConfigError(
            f"train.trackers: {name} cannot be imported ({error}); install it with "
            "pip install 'ecgjepa[track]', or leave it out"
        ) from None
