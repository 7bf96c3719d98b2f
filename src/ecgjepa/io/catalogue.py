"""What is read, and what is only recognised: one table for messages, `ecgjepa formats`, the docs.

Each line of a format says where a record's facts come from, so that a reader of the table knows
what a file of the format can and cannot say. ``docs/formats.md`` repeats it; a test compares them.
"""

import re
from typing import NamedTuple

from ecgjepa.errors import ConfigError


class Format(NamedTuple):
    """A format that is read.

    Attributes:
        name: Its usual name.
        endings: Of its files; other endings are read as well where the content is recognised.
        known_by: What it is recognised by.
        package: What has to be installed to read it, or None; all are in ``ecgjepa[formats]``.
        units: Where the unit of the amplitudes comes from.
        leads: Where the leads' names come from.
        rate: Where the sampling rate comes from.
        patient: What is taken over about the patient.
        gaps: What marks missing samples, and what happens to files that are cut short.
    """

    name: str
    endings: tuple[str, ...]
    known_by: str
    package: str | None
    units: str
    leads: str
    rate: str
    patient: str
    gaps: str


class NotRead(NamedTuple):
    """A format that is recognised, and refused with advice.

    Attributes:
        name: What the file is.
        begins: Pattern of its first bytes.
        advice: What to do instead.
    """

    name: str
    begins: str
    advice: str


_NOTHING = "nothing; give a table with --table"
_TOLD = "the description beside it"
_XML = "defusedxml"
# Most files of these endings are not ECGs, unless a description says so.
DESCRIBED_ONLY = {".csv", ".tsv", ".txt", ".parquet", ".mat", ".h5", ".hdf5"}
# What a description can explain.
DESCRIBABLE = {*DESCRIBED_ONLY, ".npy", ".npz", ".edf", ".bdf"}

FORMATS = (
    Format(
        "WFDB", (".hea",), "a header beside the signal file", None,
        "gain and unit of each signal in the header; a gain of 0 is taken as 200 per mV and noted",
        "descriptions in the header",
        "the header, fractions included",
        "age and sex from the comments of some databases, else " + _NOTHING,
        "-32768 (16-bit formats) is invalid; checksums and lengths are verified",
    ),
    Format(
        "DICOM", (".dcm", ".dicom"), "DICM at byte 128, or first tags", "pydicom",
        "sensitivity, correction and baseline of each channel; a channel without is refused",
        "codes of MDC or SCP-ECG, else the code's meaning",
        "SamplingFrequency of the multiplex group",
        _NOTHING,
        "the padding value is invalid; files that are cut short are refused",
    ),
    Format(
        "HL7 aECG", (".xml",), "XML with root AnnotatedECG", _XML,
        "origin and scale of each lead",
        "MDC names",
        "increment of the time sequence",
        _NOTHING,
        "leads of different lengths are refused",
    ),
    Format(
        "Philips Sierra", (".xml",), "XML with root restingecgdata", "sierraecg",
        "resolution in µV",
        "lead labels, or the standard order of twelve",
        "samplingrate",
        _NOTHING,
        "a lead that is cut short is refused; a calibration pulse at the end is left out",
    ),
    Format(
        "GE MUSE", (".xml",), "XML with root RestingECG", _XML,
        "units per bit of each lead",
        "LeadID; eight leads are stored, the others follow from I and II",
        "SampleBase and SampleExponent",
        _NOTHING,
        "-32768 and leads that were off are invalid; a lead that is cut short is refused",
    ),
    Format(
        "GE CardioSoft", (".xml",), "XML with root CardiologyXML", _XML,
        "Resolution in uVperLsb; any other unit is refused",
        "attribute lead",
        "SampleRate in Hz",
        _NOTHING,
        "a lead that is cut short is refused",
    ),
    Format(
        "Mortara ELI", (".xml",), "XML with root ECG", _XML,
        "UNITS_PER_MV of each channel; an OFFSET other than 0 is refused",
        "attribute NAME",
        "SAMPLE_FREQ",
        _NOTHING,
        "a lead that is cut short is refused",
    ),
    Format(
        "Schiller", (".xml",), "XML with eventdata/event/wavedata", _XML,
        "unitperbit and units",
        "name of each channel",
        "samplerate, if its exponent is 1",
        _NOTHING,
        "leads of different lengths are refused",
    ),
    Format(
        "EDF", (".edf", ".bdf"), "a 0 and seven spaces, or BIOSEMI", None,
        "physical dimension, minimum and maximum of each signal",
        "labels of which the twelve leads are taken; a description may say more",
        "samples and duration of a data record",
        _NOTHING,
        "gaps of EDF+D are invalid; files that are cut short are refused",
    ),
    Format(
        "SCP-ECG", (".scp",), "section 0 at its beginning", None,
        "resolution in nV of section 6",
        "lead numbers of section 3",
        "sampling interval of section 6, in whole microseconds",
        _NOTHING,
        "nothing marks them; checksums are verified, leads that are cut short are refused",
    ),
    Format(
        "ISHNE", (".ecg",), "ISHNE1.0", None,
        "resolution in nV of each lead; a lead of the twelve without is refused",
        "lead codes of the header",
        "the header, in whole Hz",
        _NOTHING,
        "-32768 is invalid; the header's checksum is verified, files cut short are refused",
    ),
    Format(
        "MFER", (".mwf", ".mfr", ".mfer"), "its preamble MFR, or its ending", None,
        "resolution of each channel; 1 µV is taken and noted where none is given",
        "lead codes",
        "sampling interval; 1 kHz is taken and noted where none is given",
        _NOTHING,
        "the file's own null is invalid; gaps between frames and cut frames are refused",
    ),
    Format(
        "FHIR Observation", (".json",), "JSON with a resourceType", None,
        "unit, origin and factor of SampledData; an origin without a unit is refused",
        "MDC codes (131329 is I), or words that name a lead",
        "period in ms (R4), or interval and its unit (R5, R6)",
        _NOTHING,
        "E, U and L are invalid; leads of different lengths are refused",
    ),
    Format(
        "NumPy array", (".npy", ".npz"), "the magic bytes of NumPy or ZIP", None,
        _TOLD, _TOLD, _TOLD, _NOTHING, "what is not finite is invalid",
    ),
    Format(
        "MATLAB", (".mat",), "MATLAB 5.0, or its ending", None,
        _TOLD, _TOLD, _TOLD, _NOTHING, "what is not finite is invalid",
    ),
    Format(
        "HDF5", (".h5", ".hdf5"), "its magic bytes", "h5py",
        _TOLD, _TOLD, _TOLD, _NOTHING, "what is not finite is invalid",
    ),
    Format(
        "Table of text", (".csv", ".tsv", ".txt"),
        "a description, or its columns", None,
        "names of its columns, as in I [mV], else the description",
        "names of its columns, else the description",
        "the description, else a column of time with a unit",
        _NOTHING,
        "empty cells, and leads without values, are invalid",
    ),
    Format(
        "Parquet", (".parquet",), "PAR1", None,
        "names of its columns, as in I [mV], else the description",
        "names of its columns",
        "the description, else a column of time with a unit",
        _NOTHING,
        "empty cells, and leads without values, are invalid",
    ),
)  # fmt: skip

_EXPORT = "export the ECG as DICOM, HL7 aECG, SCP-ECG or the vendor's XML"
_PICTURE = f"holds a picture, not samples; {_EXPORT}"
_CONVERT = "convert it to EDF or WFDB"

NOT_READ = (
    NotRead("PDF", r"%PDF", f"holds a print, not samples; {_EXPORT}"),
    NotRead("JPEG", r"\xff\xd8\xff", _PICTURE),
    NotRead("PNG", r"\x89PNG\r\n", _PICTURE),
    NotRead("TIFF", r"II\*\0|MM\0\*", _PICTURE),
    NotRead("GIF", r"GIF8[79]a", _PICTURE),
    NotRead("HL7 version 2", r"[\v\s]*MSH\|", f"is a message; {_EXPORT}"),
    NotRead("Contec ECG", r"\d{7}\0\0\0\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "export it as SCP-ECG"),
    NotRead("AliveCor ATC", r"ALIVE\0\0\0", _CONVERT),
    NotRead("GDF", r"GDF ", f"{_CONVERT}, for example with save2gdf of biosig-tools"),
    NotRead("a web page", r"\s*<(!DOCTYPE html|html)", "the download failed, or asked to log in"),
    NotRead("an Office document", r"\xd0\xcf\x11\xe0", "save its table as CSV"),
)

_PATTERNS = [(each, re.compile(each.begins.encode("latin-1"), re.IGNORECASE)) for each in NOT_READ]


def packages() -> dict[str, str | None]:
    """Map the endings of single-file formats to the package that reading them needs."""
    endings = {ending: each.package for each in reversed(FORMATS) for ending in each.endings}
    # Which XML it is, and whether sierraecg is needed, shows when it is read.
    return {ending: package for ending, package in endings.items() if ending != ".hea"}


def expected() -> str:
    """Return the formats that are read, for messages."""
    names = [f"{each.name} ({', '.join(each.endings)})" for each in FORMATS]
    return f"{', '.join(names[:-1])} or {names[-1]}; ecgjepa formats says more"


def not_read(head: bytes) -> NotRead | None:
    """Return which format that is not read a file begins as, or None."""
    return next((each for each, pattern in _PATTERNS if pattern.match(head)), None)


def formats() -> tuple[Format, ...]:
    """Return the formats that are read, and what a file of each can and cannot say.

    Example:
        >>> import ecgjepa
        >>> len(ecgjepa.formats()) > 10
        True
    """
    return FORMATS


def find_format(name: str) -> Format:
    """Return a format by its name or one of its endings, in any case.

    Raises:
        ConfigError: If there is none, or several have the ending.
    """
    key = name.strip().casefold()
    found = [each for each in FORMATS if each.name.casefold() == key]
    found = found or [each for each in FORMATS if f".{key.removeprefix('.')}" in each.endings]
    if len(found) != 1:
        names = ", ".join(each.name for each in found or FORMATS)
        raise ConfigError(f"{name!r} is {'no format' if not found else 'several'}; name {names}")
    return found[0]
