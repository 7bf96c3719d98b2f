"""Record outputs, losses and schedules of the official implementation.

    PYTHONPATH=tests/golden python tests/golden/make_official_outputs.py CHECKOUT

The checkout is kweimann/ECG-JEPA at 504b4e5. ``official_outputs.json`` is what the tests compare
with where there is no checkout.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import official_setup as setup
import torch
from official_code import (
    build_official,
    import_official,
    official_hyper_parameters,
    official_losses,
    official_outputs,
    shapes_of,
)

NUM_VALUES = 24
SCHEDULE_STEPS = (0, 1, 5_000, 9_999, 10_000, 10_001, 37_123, 50_000, 75_000, 99_998, 99_999)


def sample(tensor: torch.Tensor) -> list[float]:
    """Return some values of a tensor, evenly spaced."""
    flat = tensor.detach().flatten()
    return flat[:: max(1, len(flat) // NUM_VALUES)][:NUM_VALUES].tolist()


def recorded_outputs(official: SimpleNamespace, size: str) -> dict[str, list[float]]:
    model = build_official(official, size, setup.seeded_weights(shapes_of(size)))
    return {name: sample(value) for name, value in official_outputs(model, size).items()}


def recorded_schedules(official: SimpleNamespace) -> dict[str, list[float]]:
    path = official.root / "configs/pretrain/ViTS_all.yaml"
    config = official.configs.pretrain.Config(**official.configs.load_config_file(path))
    values = vars(official_hyper_parameters(official, config))
    every = {name: [next(value) for _ in range(config.steps)] for name, value in values.items()}
    return {name: [found[step] for step in SCHEDULE_STEPS] for name, found in every.items()}


def main() -> None:
    torch.set_num_threads(1)
    official = import_official(sys.argv[1])
    content = {
        "outputs": {size: recorded_outputs(official, size) for size in setup.BATCH},
        "losses": {"tiny": official_losses(official, "tiny", setup.STEPS)},
        "schedules": {"steps": SCHEDULE_STEPS, **recorded_schedules(official)},
    }
    out = Path(__file__).with_name("official_outputs.json")
    out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
