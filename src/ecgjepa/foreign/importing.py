"""Code that a user names on the command line: ``package.module:name``."""

import hashlib
import importlib
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

from ecgjepa.errors import EncoderError

_PATH = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)", re.ASCII)


def is_import_path(text: str) -> bool:
    """Return whether a text is spelled as ``package.module:name``."""
    return _PATH.fullmatch(text) is not None


def import_named(path: str) -> object:
    """Import what a user names; modules of the working folder are found last.

    Nothing else of this package imports by name: a path is never taken from a file.

    Args:
        path: ``package.module:name``.

    Raises:
        EncoderError: If it is spelled otherwise, or there is no such module or name in it.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise EncoderError(f"{path[:200]!r}: expected package.module:name, such as my_ecg:encoder")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(found[1])
    except ImportError as error:
        raise EncoderError(
            f"{path}: module {found[1]} cannot be imported: {error}; it must be installed, or lie "
            "in the working folder"
        ) from None
    if not hasattr(module, found[2]):
        raise EncoderError(f"{path}: module {found[1]} has no {found[2]}")
    return getattr(module, found[2])


def digest_of_code(*objects: object) -> str:
    """Return a hash of the files in which functions and classes are written, as far as there are.

    Args:
        objects: Functions and classes.
    """
    digest = hashlib.sha256()
    for each in objects:
        module = inspect.getmodule(each)
        digest.update(f"{getattr(each, '__qualname__', '')} {_name(module)}".encode())
        try:
            digest.update(Path(inspect.getfile(each)).read_bytes())  # type: ignore[arg-type]
        except (TypeError, OSError):  # written in an interactive session, or not in Python
            continue
    return digest.hexdigest()


def _name(module: ModuleType | None) -> str:
    return "" if module is None else module.__name__
