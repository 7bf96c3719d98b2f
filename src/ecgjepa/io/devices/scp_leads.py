"""SCP-ECG, section 3: which leads a record holds, and which samples of each."""

import struct
from typing import NamedTuple

from ecgjepa.errors import RecordFormatError

# The standard's lead numbers, as far as they have names that are in use.
LEAD_NAMES = {
    1: "I", 2: "II", 3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5", 8: "V6", 9: "V7",
    10: "V2R", 11: "V3R", 12: "V4R", 13: "V5R", 14: "V6R", 15: "V7R", 16: "X", 17: "Y", 18: "Z",
    61: "III", 62: "aVR", 63: "aVL", 64: "aVF", 65: "-aVR", 66: "V8", 67: "V9", 68: "V8R",
    69: "V9R",
}  # fmt: skip

_LEAD_BYTES = 9


class Leads(NamedTuple):
    """What section 3 says.

    Attributes:
        names: Of all leads, in the order of the samples.
        first: Number of the first sample; 1 by the standard, 0 from some writers.
        last: Number of the last sample.
        has_beats_subtracted: Whether the rhythm is what remains after a reference beat.
    """

    names: tuple[str, ...]
    first: int
    last: int
    has_beats_subtracted: bool

    @property
    def num_samples(self) -> int:
        """Number of samples of each lead that the range announces."""
        return self.last - self.first + 1


def read_leads(body: bytes) -> Leads:
    """Read section 3.

    Args:
        body: The section without its header.

    Raises:
        RecordFormatError: If there is no lead, or leads were not recorded at the same time.
    """
    count, flags = struct.unpack_from("<BB", body)
    if not count:
        raise RecordFormatError("section 3 names no lead")
    details = [struct.unpack_from("<IIB", body, 2 + _LEAD_BYTES * lead) for lead in range(count)]
    names = tuple(LEAD_NAMES.get(number, f"SCP lead {number}") for _, _, number in details)
    ranges = {(first, last) for first, last, _ in details}
    # Writers that say nothing of it leave both the bit and the number at 0.
    is_simultaneous, together = bool(flags & 4), flags >> 3
    if len(ranges) > 1 or (not is_simultaneous and 0 < together < count):
        parts = ", ".join(
            f"{name} {first:,}-{last:,}"
            for name, (first, last, _) in zip(names, details, strict=True)
        )
        raise RecordFormatError(
            f"its leads were not recorded at the same time (samples {parts}; {together} of "
            f"{count} leads together)",
            reason="leads_apart",
        )
    first, last = ranges.pop()
    if last < first:
        raise RecordFormatError(f"section 3 gives the samples {first} to {last} of each lead")
    return Leads(names, first, last, bool(flags & 1))
