"""Unpack a zip file next to itself, without trusting what it says about its members."""

import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from ecgjepa.fetching.client import RefusedError
from ecgjepa.fetching.lists import safe_parts
from ecgjepa.fetching.transfer import partial_of
from ecgjepa.files import DiskFullError, move_into_place, naming_full_disk, open_unlinked

_BLOCK = 1 << 20


def unpack(
    archive: Path, recheck: bool = False, is_taken: Callable[[str], bool] = lambda _: False
) -> list[str]:
    """Unpack a verified zip file into its own folder.

    A member is written under a temporary name and renamed when its CRC-32 was found right. One
    that is there already, in its size, is left alone.

    Args:
        archive: The zip file.
        recheck: Read members that are there already, and compare their CRC-32.
        is_taken: Whether a member's name, relative to the archive's folder, is another's: no member
            may have it, or the archive's own.

    Returns:
        The members that were unpacked.

    Raises:
        RefusedError: If it is not a zip file; if a member is damaged, encrypted, not a file or
            outside it; or if the disk has not enough room for all.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            for member in members:
                _refuse_unsafe(archive, member)
                _refuse_taken(archive, member, is_taken)
            wanted = [member for member in members if not _is_there(archive, member, recheck)]
            _refuse_too_large(archive, sum(member.file_size for member in wanted))
            for member in wanted:
                _extract(opened, member, archive.parent / member.filename)
    except (DiskFullError, RefusedError):
        raise
    except Exception as error:
        # A damaged archive fails in many ways: of each compression, of names, of the file system.
        raise RefusedError(
            f"{archive.name} cannot be unpacked: {type(error).__name__}: {str(error)[:200]}"
        ) from None
    return [member.filename for member in wanted]


def _refuse_unsafe(archive: Path, member: zipfile.ZipInfo) -> None:
    kind = member.external_attr >> 28  # The top bits of a Unix mode; 8 is a plain file.
    if safe_parts(member.filename) is None or kind not in (0, 8) or member.flag_bits & 1:
        raise RefusedError(
            f"{archive.name} holds {member.filename[:200]!r}, which is encrypted, no plain file or "
            "outside its folder; it is not unpacked"
        )


def _refuse_taken(archive: Path, member: zipfile.ZipInfo, is_taken: Callable[[str], bool]) -> None:
    name = "/".join(safe_parts(member.filename) or ())
    if name == archive.name or is_taken(name):
        raise RefusedError(
            f"{archive.name} holds {member.filename[:200]!r}, which is the name of a file that was "
            "fetched by itself; it is not unpacked"
        )


def _refuse_too_large(archive: Path, needed: int) -> None:
    free = shutil.disk_usage(archive.parent).free
    if needed > free:
        raise RefusedError(
            f"{archive.name} holds {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB of disk are free"
        )


def _is_there(archive: Path, member: zipfile.ZipInfo, recheck: bool) -> bool:
    path = archive.parent / member.filename
    if not path.is_file() or path.stat().st_size != member.file_size:
        return False
    return not recheck or _crc_of(path) == member.CRC


def _crc_of(path: Path) -> int:
    crc = 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return crc


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = partial_of(path)
    try:
        with (
            naming_full_disk(path),
            opened.open(member) as source,
            open_unlinked(temporary, "wb") as target,
        ):
            shutil.copyfileobj(source, target, _BLOCK)  # Raises if the CRC-32 is wrong.
        if temporary.stat().st_size != member.file_size:
            raise RefusedError(f"{member.filename} ends too early")
        move_into_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
