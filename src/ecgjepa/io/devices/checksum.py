"""The checksum that SCP-ECG and ISHNE share: CRC-CCITT, polynomial 0x1021, start 0xFFFF."""

from binascii import crc_hqx

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.wfdb import Damaged
from ecgjepa.signals.record import Issue

_START = 0xFFFF


def checksum(content: bytes | memoryview) -> int:
    """Return the 16-bit checksum of bytes."""
    return crc_hqx(content, _START)


def compare_checksum(
    part: str, stored: int, content: bytes | memoryview, damaged: Damaged
) -> list[Issue]:
    """Compare a stored checksum with the bytes it covers.

    Args:
        part: What the checksum covers, for messages.
        stored: The checksum in the file.
        content: The bytes it covers.
        damaged: With ``flag``, a mismatch is an issue. One checksum covers all leads, so that
            ``mask`` cannot tell which lead to mark as invalid, and refuses as ``raise`` does.

    Raises:
        RecordFormatError: If they differ, with the reason ``checksum_mismatch``.
    """
    found = checksum(content)
    if found == stored:
        return []
    words = f"checksum of {part} is {found}, the stored one {stored}"
    if damaged != "flag":
        raise RecordFormatError(
            f"{words}; the file is damaged; --on-bad mask uses what is sound of it (in Python, "
            "read_record(…, damaged='flag'))",
            reason="checksum_mismatch",
        )
    return [Issue("checksum_mismatch", words)]
