"""Write down what a folder is for, and tell in what another request differs from that."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecgjepa.files import write_json

_HASH = re.compile('"[0-9a-f]{64}"')


def claim(path: Path, content: dict[str, Any]) -> list[str]:
    """Write down what a folder is for, or return how that differs from what stands there.

    Args:
        path: File of the folder.
        content: JSON content; nested fields are compared one by one.

    Returns:
        A line for each field that differs; none if the file was new or says the same.
    """
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)
        return []
    there = json.loads(path.read_text(encoding="utf-8"))
    return differences(there, content)


def differences(there: Any, asked: Any) -> list[str]:  # noqa: ANN401
    """Return a line for each field in which JSON content differs from what is asked for.

    Args:
        there: Content as it was read.
        asked: Content to compare; a tuple is equal to a list.
    """
    return list(_differences(there, json.loads(json.dumps(asked))))


def _differences(there: Any, asked: Any, name: str = "") -> Iterator[str]:  # noqa: ANN401
    if isinstance(there, dict) and isinstance(asked, dict):
        for key in dict.fromkeys((*there, *asked)):
            full = f"{name}.{key}" if name else key
            yield from _differences(there.get(key), asked.get(key), full)
    elif there != asked:
        first, second = (_shortened(json.dumps(one, ensure_ascii=False)) for one in (there, asked))
        yield f"{name} ({first} there, {second} asked for)"


def _shortened(text: str) -> str:
    """Return JSON as a message can show it: the beginning of a hash, or of what is long."""
    return f"{text[:13]}…" if _HASH.fullmatch(text) else text[:60]
