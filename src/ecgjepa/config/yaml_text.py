"""Read YAML that people write: whatever is wrong with it is named, with its source."""

from pathlib import Path
from typing import Any

import yaml

from ecgjepa.errors import ConfigError

# The largest preset of the package has 3 kB.
_MOST_BYTES = 1_000_000


def parse_yaml(text: str, *, source: str) -> Any:  # noqa: ANN401
    """Return the content of YAML text; objects, tuples and other tags of programs are refused.

    Args:
        text: The text.
        source: Where it comes from, for the message.

    Raises:
        ConfigError: If it is not YAML, is nested too deeply, or holds an impossible date or number.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not readable as YAML: {str(error)[:500]}") from None
    except RecursionError:
        raise ConfigError(f"{source}: not readable as YAML: nested too deeply") from None
    except ValueError as error:
        # YAML takes 2020-13-45 for a date, and Python reads no number of 5,000 digits.
        raise ConfigError(
            f"{source}: holds an impossible date or number: {str(error)[:200]}; put text into "
            "quotes"
        ) from None


def read_yaml_text(path: Path) -> str:
    """Return the text of a YAML file.

    Raises:
        ConfigError: If it is not UTF-8, or far too large for a configuration.
    """
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise ConfigError(
            f"{path}: has {size:,} bytes; a configuration has {_MOST_BYTES:,} at most"
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: {error}") from None
