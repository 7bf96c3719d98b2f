"""Run the official implementation from a checkout; none of its code is kept here.

The checkout is kweimann/ECG-JEPA at 504b4e5 (MIT licence). Its top-level packages have names as
common as ``models`` and ``utils``, so they are forgotten again once they are imported.
"""

import hashlib
import importlib
import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import official_setup as setup
import torch

from ecgjepa.official.checkpoint import tensor_names
from ecgjepa.official.config import to_official_config

_PACKAGES = ("configs", "models")
_FILES = (
    "configs/pretrain/__init__.py",
    "data/masks.py",
    "models/JEPA.py",
    "models/modules.py",
    "models/predictor.py",
    "models/utils.py",
    "models/vision_transformer.py",
    "utils/schedules.py",
)
_SHA256 = "f8f3d806bf1a7130e925a3a768ef85f6ab057a68693f132334aa804e72bf984f"


class WrongCheckoutError(ValueError):
    """The folder is not the commit that the parity checks are about."""


def import_official(checkout: str | Path) -> SimpleNamespace:
    """Return ``configs``, ``models``, ``schedules`` and ``masks`` of a checkout.

    Raises:
        WrongCheckoutError: If its files are not those of commit 504b4e5.
    """
    root = Path(checkout)
    missing = [name for name in _FILES if not (root / name).is_file()]
    if missing:
        raise WrongCheckoutError(f"{root}: is no checkout of kweimann/ECG-JEPA: no {missing[0]}")
    digest = hashlib.sha256(b"".join((root / name).read_bytes() for name in _FILES)).hexdigest()
    if digest != _SHA256:
        raise WrongCheckoutError(f"{root}: its files are not those of commit 504b4e5")
    before = set(sys.modules)
    sys.path.insert(0, str(root))
    try:
        packages = {name: importlib.import_module(name) for name in _PACKAGES}
    finally:
        sys.path.remove(str(root))
        for name in set(sys.modules) - before:
            if name.split(".")[0] in _PACKAGES:
                del sys.modules[name]
    return SimpleNamespace(
        **packages,
        root=root,
        # Alone, for their packages need h5py, wfdb and psutil.
        schedules=_import_file(root / "utils/schedules.py"),
        masks=_import_file(root / "data/masks.py"),
    )


def build_official(
    official: SimpleNamespace, size: str, weights: dict[str, torch.Tensor] | None = None
) -> torch.nn.Module:
    """Return the official JEPA of that size, with our weights by our names if given."""
    config = official.configs.pretrain.Config(**to_official_config(setup.parity_config(size)))
    momentum = official.schedules.linear_schedule(
        config.steps, config.encoder_momentum, config.final_encoder_momentum
    )
    model = official.models.JEPA(config, momentum)
    if weights is not None:
        names = tensor_names(to_official_config(setup.parity_config(size)), complete=True)
        model.load_state_dict({theirs: weights[ours] for theirs, ours in names.items()})
    return model


def official_hyper_parameters(official: SimpleNamespace, config) -> SimpleNamespace:
    """Return the official schedules of an official configuration, as `pretrain.py` makes them."""
    schedules = official.schedules
    return SimpleNamespace(
        learning_rate=schedules.cosine_schedule(
            config.steps,
            config.learning_rate,
            config.final_learning_rate,
            config.learning_rate_warmup_steps,
            1e-6,
        ),
        weight_decay=schedules.cosine_schedule(
            config.steps, config.weight_decay, config.final_weight_decay
        ),
        momentum=schedules.linear_schedule(
            config.steps, config.encoder_momentum, config.final_encoder_momentum
        ),
    )


@torch.no_grad()
def official_outputs(model: torch.nn.Module, size: str) -> dict[str, torch.Tensor]:
    """Return what the official networks make of the first shared batch, and the loss.

    The loss is taken last: computing it moves the target encoder.
    """
    signal, context_index, target_index = setup.batch_of(size, 0)
    target = model.target_encoder(signal)
    context = model.encoder(signal, context_index)
    predicted = model.predictor(context, context_index, target_index)
    model.momentum_schedule = iter([1.0])
    loss = model(signal, context_index, target_index)
    return {"target": target, "context": context, "predicted": predicted, "loss": loss}


def official_losses(
    official: SimpleNamespace, size: str, steps: int, *, parts: int = 1, momentum=None
) -> list[float]:
    """Train the official JEPA on the shared weights, batches and masks, as `pretrain.py` does.

    Args:
        official: The imported code.
        size: Of `official_setup`.
        steps: Optimizer steps.
        parts: Batches per optimizer step (gradient accumulation).
        momentum: Constant EMA coefficient in place of the schedule.
    """
    model = build_official(official, size, setup.training_weights(shapes_of(size)))
    if momentum is not None:
        model.momentum_schedule = itertools.repeat(momentum)
    optimizer = model.get_optimizer()
    values = official_hyper_parameters(official, model.config)
    losses = []
    for step in range(steps):
        official.schedules.update_learning_rate_(optimizer, next(values.learning_rate))
        official.schedules.update_weight_decay_(optimizer, next(values.weight_decay))
        total = 0.0
        for part in range(parts):
            loss = model(*setup.batch_of(size, step * parts + part)) / parts
            loss.backward()
            total += loss.item()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total)
    return losses


def shapes_of(size: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all our tensors of a size, by name."""
    from ecgjepa.objectives.networks.jepa import Jepa

    config = setup.parity_config(size)
    with torch.device("meta"):
        jepa = Jepa(config.encoder, config.predictor)
    return {name: tuple(tensor.shape) for name, tensor in jepa.state_dict().items()}


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"official_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
