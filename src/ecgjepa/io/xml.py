"""ECGs in XML: the root element tells whose it is. Reading needs defusedxml."""

from pathlib import Path
from typing import TYPE_CHECKING

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.aecg import read_aecg
from ecgjepa.io.content import read_bytes, require
from ecgjepa.io.devices.vendor_xml import (
    is_schiller,
    read_cardiosoft,
    read_mortara,
    read_schiller,
)
from ecgjepa.io.muse import read_muse
from ecgjepa.io.sierra import read_sierra
from ecgjepa.signals.record import Record

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# An ECG of 10 s takes 0.05 to 0.6 MB and some thousand elements. A parsed element takes some 200
# bytes, however short it is.
MAX_XML_BYTES = 20_000_000
_MOST_TAGS = 500_000

_READERS = {
    "AnnotatedECG": read_aecg,
    "restingecgdata": read_sierra,
    "RestingECG": read_muse,
    "CardiologyXML": read_cardiosoft,
    "ECG": read_mortara,
}
_FHIR = "{http://hl7.org/fhir}"


def read_xml(path: Path) -> Record:
    """Read an HL7 annotated ECG, or a file of Philips, GE, Mortara or Schiller.

    Raises:
        RecordFormatError: If defusedxml is missing; if the file is not well-formed XML, defines
            entities (which could unpack to any size, or name other files), or is none of these.
    """
    root = _parse(path)
    name = root.tag.rpartition("}")[2]
    if name in _READERS:
        return _READERS[name](path, root)
    if is_schiller(root):
        return read_schiller(path, root)
    if root.tag.startswith(_FHIR):
        raise RecordFormatError(
            f"{path}: is FHIR {name} as XML, which is not read; export it as JSON",
            reason="unsupported_format",
        )
    raise RecordFormatError(
        f"{path}: is XML, but not an ECG that is read: its root element is {name!r}; expected "
        f"{', '.join(_READERS)}. Export the ECG as DICOM, HL7 aECG or SCP-ECG"
    )


def _parse(path: Path) -> "Element":
    parser = require(path, "defusedxml.ElementTree")
    content = read_bytes(path, MAX_XML_BYTES)
    if max(content.count(b"<"), content.count(b"=")) > _MOST_TAGS:
        raise RecordFormatError(
            f"{path}: more than {_MOST_TAGS:,} tags or attributes; an ECG in XML has some thousand"
        )
    try:
        return parser.fromstring(content)
    except require(path, "defusedxml").DefusedXmlException as error:
        raise RecordFormatError(
            f"{path}: defines entities, which no ECG needs and an attack could use ({error})"
        ) from None
