"""Models in the box: folders that are installed with the package, made by one committed command."""

from pathlib import Path

# The model that answers where none is named.
DEFAULT_MODEL = "box-superdiagnostic"
# What the names of all models in the box begin with.
BOX_PREFIX = "box-"
_FOLDER = Path(__file__).parent / "boxes"


def box_names() -> tuple[str, ...]:
    """Return the names of the models in the box, in alphabetical order."""
    return tuple(sorted(path.parent.name for path in _FOLDER.glob(f"{BOX_PREFIX}*/config.json")))


def box_folder(name: str) -> Path:
    """Return the model folder of a model in the box, by one of `box_names`."""
    return _FOLDER / name
