"""What is known of each database before it is fetched: size, licence, citations and origin.

Every fact names its source (`DatabaseDescription.sources`); one that could not be confirmed
says so there. Numbers that a reader needs live in the reader's module and are taken from there.
"""

import difflib

from ecgjepa.databases import challenge_2021, challenge_ptb_xl, code_15, mimic_iv_ecg, ptb_xl
from ecgjepa.databases.challenge_2021 import Member
from ecgjepa.databases.description import DatabaseDescription, Origin
from ecgjepa.errors import DatabaseError

_PAPER = "README of kweimann/ECG-JEPA, commit 504b4e5"
_NUM_LEADS = 12
_FLOAT32, _INT16 = 4, 2
_PHYSIONET = (
    "Goldberger AL et al. PhysioBank, PhysioToolkit, and PhysioNet. Circulation 2000;101:e215-e220"
)
_CHALLENGE = (
    "Reyna MA et al. Will two do? Varying dimensions in electrocardiography: the "
    "PhysioNet/Computing in Cardiology Challenge 2021 (version 1.0.3). PhysioNet 2022. "
    "doi:10.13026/34va-7q14",
    "Reyna MA et al. Will two do? Varying dimensions in electrocardiography: the "
    "PhysioNet/Computing in Cardiology Challenge 2021. Computing in Cardiology 2021;48:1-4. "
    "doi:10.23919/CinC53138.2021.9662687",
)
_CHALLENGE_2020_PAPER = (
    "Perez Alday EA et al. Classification of 12-lead ECGs: the PhysioNet/Computing in Cardiology "
    "Challenge 2020. Physiol Meas 2020;41:124003. doi:10.1088/1361-6579/abc960"
)
_CPSC_PAPER = (
    "Liu F et al. An open access database for evaluating the algorithms of electrocardiogram "
    "rhythm and morphology abnormality detection. J Med Imaging Health Inform 2018;8:1368-1373. "
    "doi:10.1166/jmihi.2018.2442"
)
_PTB_XL_PAPER = (
    "Wagner P et al. PTB-XL, a large publicly available electrocardiography dataset. Sci Data "
    "2020;7:154. doi:10.1038/s41597-020-0495-6"
)
_CHALLENGE_SOURCES = {
    "num_records": "the Challenge's table of training data",
    "paper_records, paper_seconds": _PAPER,
    "sampling_rates": "the Challenge's table of training data; headers of sample records",
    "licence": "public projects that redistribute parts of the Challenge quote CC BY 4.0 for all "
    "of its files; its page was not at hand",
    "citations": "DOIs as quoted by public projects that use the data",
    "access": "public projects fetch it without an account",
    "origin": "addresses in public projects. Whether the S3 bucket holds the Challenge is not "
    "confirmed: its page offered the command, but one project found no such folder in 2026",
    "download_bytes": "computed: seconds x rate x 12 leads x 2 bytes; all parts together agree "
    "with 12.6 GB (GiB) on the Challenge's page, as quoted by a public project",
}


def _of_challenge(
    name: str,
    part: Member,
    title: str,
    paper: str,
    *,
    records: int | None,
    seconds: int,
    rate: float = 500.0,
) -> DatabaseDescription:
    """Describe a part of the Challenge; ``seconds`` are those of the records the paper used."""
    return DatabaseDescription(
        name=name,
        title=f"{title}, in the PhysioNet/CinC Challenge 2021",
        num_records=part.num_records,
        paper_records=records,
        paper_seconds=None if records is None else seconds,
        sampling_rates=(rate,),
        licence="CC BY 4.0",
        citations=(*_CHALLENGE, paper, _PHYSIONET),
        access="open",
        origin=Origin("physionet", "challenge-2021", "1.0.3", f"training/{part.folder}/"),
        download_bytes=int(seconds * rate) * _NUM_LEADS * _INT16,
        unpacked_bytes=None,
        sources=_CHALLENGE_SOURCES,
    )


_ALL = (
    DatabaseDescription(
        name=mimic_iv_ecg.NAME,
        title="MIMIC-IV-ECG: Diagnostic Electrocardiogram Matched Subset",
        num_records=mimic_iv_ecg.NUM_RECORDS,
        paper_records=mimic_iv_ecg.NUM_RECORDS,
        paper_seconds=8_000_350,
        sampling_rates=(500.0,),
        licence="ODbL 1.0",
        citations=(
            "Gow B et al. MIMIC-IV-ECG: Diagnostic Electrocardiogram Matched Subset (version 1.0). "
            "PhysioNet 2023. doi:10.13026/4nqg-sb35",
            _PHYSIONET,
        ),
        access="open",
        origin=Origin("physionet", "mimic-iv-ecg", "1.0"),
        download_bytes=97_000_000_000,
        unpacked_bytes=None,
        sources={
            "title, access, citations, sampling_rates": "its page on PhysioNet (Open Access)",
            "num_records, paper_records, paper_seconds": _PAPER,
            "licence": "public projects that redistribute it under the same licence; the licence "
            "on its page was not at hand",
            "origin": "its page on PhysioNet. One project found its S3 folder empty in 2026, "
            "others use it",
            "download_bytes": "90.4 GB (GiB) on its page, as quoted by public projects, one of "
            "which counted 97,017,195,666 bytes",
        },
    ),
    DatabaseDescription(
        name=code_15.NAME,
        title="CODE-15%: a large scale annotated dataset of 12-lead ECGs",
        num_records=code_15.NUM_EXAMS,
        paper_records=128_033,
        paper_seconds=1_311_060,
        sampling_rates=(code_15.SAMPLING_RATE,),
        licence="CC BY 4.0",
        citations=(
            "Ribeiro AH et al. CODE-15%: a large scale annotated dataset of 12-lead ECGs. Zenodo "
            "2021. doi:10.5281/zenodo.4916206",
            "Ribeiro AH et al. Automatic diagnosis of the 12-lead ECG using a deep neural network. "
            "Nat Commun 2020;11:1760. doi:10.1038/s41467-020-15432-4",
        ),
        access="open",
        origin=Origin("zenodo", "4916206", "1.0.0"),
        download_bytes=46_300_000_000,
        # Each part ends with one phantom row.
        unpacked_bytes=(code_15.NUM_EXAMS + code_15.NUM_PARTS)
        * code_15.NUM_SAMPLES
        * _NUM_LEADS
        * _FLOAT32,
        sources={
            "title, num_records, sampling_rates, citations": "public projects that read it",
            "paper_records, paper_seconds": f"{_PAPER}: exams that fill all of their 10.24 s",
            "licence": "notes that came with sample exams; the record's page was not at hand",
            "access": "public projects fetch it without an account",
            "origin": "record number in public projects. The version is not confirmed, but each "
            "version of a Zenodo record has a number of its own",
            "download_bytes": "46.3 GB in 18 zip files, as measured by one public project; the "
            "record's list of files gives exact sizes",
            "unpacked_bytes": "computed from the shape of the tracings",
        },
    ),
    DatabaseDescription(
        name=ptb_xl.NAME,
        title="PTB-XL, a large publicly available electrocardiography dataset",
        num_records=ptb_xl.RECORDS_BY_VERSION[ptb_xl.EXPECTED_VERSION],
        paper_records=17_439,
        paper_seconds=174_390,
        sampling_rates=(500.0, 100.0),
        licence="CC BY 4.0",
        citations=(
            "Wagner P et al. PTB-XL, a large publicly available electrocardiography dataset "
            "(version 1.0.3). PhysioNet 2022. doi:10.13026/kfzx-aw45",
            _PTB_XL_PAPER,
            _PHYSIONET,
        ),
        access="open",
        origin=Origin("physionet", "ptb-xl", ptb_xl.EXPECTED_VERSION),
        download_bytes=3_200_000_000,
        unpacked_bytes=None,
        sources={
            "title, num_records, sampling_rates, access": "its page on PhysioNet (Open Access)",
            "citations, origin": "its page on PhysioNet",
            "paper_records, paper_seconds": f"{_PAPER}: folds 1-8. The count is that of version "
            "1.0.1; 1.0.3, which the paper's code names, has 17,418",
            "licence": "LICENSE.txt of the database",
            "download_bytes": "3.0 GB (GiB) on its page, as quoted by a public project; agrees "
            "with the records at both rates",
        },
    ),
    _of_challenge(
        "chapman-shaoxing",
        challenge_2021.PARTS["chapman-shaoxing"],
        "Chapman-Shaoxing",
        "Zheng J et al. A 12-lead electrocardiogram database for arrhythmia research covering more "
        "than 10,000 patients. Sci Data 2020;7:48. doi:10.1038/s41597-020-0386-x",
        records=10_247,
        seconds=102_470,
    ),
    _of_challenge(
        "cpsc",
        challenge_2021.PARTS["cpsc"],
        "China Physiological Signal Challenge 2018",
        _CPSC_PAPER,
        records=6_867,
        seconds=109_585,
    ),
    _of_challenge(
        "cpsc-extra",
        challenge_2021.PARTS["cpsc-extra"],
        "China Physiological Signal Challenge 2018, unused part",
        _CPSC_PAPER,
        records=3_441,
        seconds=54_819,
    ),
    _of_challenge(
        "georgia",
        challenge_2021.PARTS["georgia"],
        "Georgia 12-lead ECG Challenge Database",
        _CHALLENGE_2020_PAPER,
        records=10_292,
        seconds=102_920,
    ),
    _of_challenge(
        "ningbo",
        challenge_2021.PARTS["ningbo"],
        "Ningbo First Hospital",
        "Zheng J et al. Optimal multi-stage arrhythmia classification approach. Sci Rep "
        "2020;10:2898. doi:10.1038/s41598-020-59821-7",
        records=34_905,
        seconds=349_050,
    ),
    _of_challenge(
        "ptb",
        challenge_2021.PARTS["ptb"],
        "PTB Diagnostic ECG Database",
        "Bousseljot R, Kreiseler D, Schnabel A. Nutzung der EKG-Signaldatenbank CARDIODAT der PTB "
        "über das Internet. Biomed Tech 1995;40(s1):317. Data: doi:10.13026/C28C71",
        records=516,
        seconds=57_150,
        rate=1000.0,
    ),
    _of_challenge(
        "st-petersburg",
        challenge_2021.PARTS["st-petersburg"],
        "St Petersburg INCART 12-lead Arrhythmia Database",
        "Tihonenko V et al. St Petersburg INCART 12-lead Arrhythmia Database. PhysioNet 2008. "
        "doi:10.13026/C2V88N",
        records=74,
        seconds=133_200,
        rate=257.0,
    ),
    _of_challenge(
        challenge_ptb_xl.NAME,
        challenge_ptb_xl.PART,
        "PTB-XL",
        _PTB_XL_PAPER,
        records=None,
        seconds=10 * challenge_ptb_xl.PART.num_records,
    ),
)
CATALOGUE = {description.name: description for description in _ALL}


def describe(database: str) -> DatabaseDescription:
    """Return what is known of a database: records, licence, citations, origin, and the sources.

    Raises:
        DatabaseError: If the name is none of `CATALOGUE`.

    Example:
        >>> import ecgjepa
        >>> ecgjepa.describe("ptb-xl").num_records
        21799
    """
    if database not in CATALOGUE:
        close = difflib.get_close_matches(database.lower().replace("_", "-"), CATALOGUE, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise DatabaseError(
            f"unknown database {database!r}{hint} Databases are {', '.join(CATALOGUE)}"
        )
    return CATALOGUE[database]
