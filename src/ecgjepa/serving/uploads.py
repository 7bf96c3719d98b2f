"""The parts of a request become files in a folder of their own; no name of a client is a path."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ecgjepa.io.uploads import file_name

if TYPE_CHECKING:
    from fastapi import UploadFile

_PIECE_BYTES = 1 << 20


@asynccontextmanager
async def written(
    parts: "Sequence[UploadFile]", root: Path
) -> AsyncIterator[tuple[Path, list[str]]]:
    """Write parts into a folder while the block runs; yield it and the names of the files.

    Args:
        parts: Parts of a request.
        root: Folder in which the folder is made.

    Raises:
        ValueError: If two of them have the same name, or one has none.
    """
    names = [file_name(part.filename) for part in parts]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(
            f"two files are called {min(repeated)}; send them apart, or under names of their own"
        )
    if not all(part.filename for part in parts):
        raise ValueError("a file has no name; send one, for formats are known by it, too")
    folder = Path(tempfile.mkdtemp(prefix="request-", dir=root))
    try:
        for part, name in zip(parts, names, strict=True):
            await asyncio.to_thread(_copy, part, folder / name)
        yield folder, names
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _copy(part: "UploadFile", path: Path) -> None:
    with path.open("xb") as stream:
        shutil.copyfileobj(part.file, stream, _PIECE_BYTES)
