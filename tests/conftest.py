"""Shared fixtures: small ECG folders written on the spot, and real records where they are."""

import logging
import os
import signal
from pathlib import Path

import hypothesis
import numpy as np
import pandas as pd
import pytest

from ecgjepa.signals.leads import LEADS

# New examples are for those who can look into them: a run that judges a change repeats itself.
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")

# A shell starts background jobs with SIGINT ignored, and their children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Files that take a minute each are begun first: two processes then end at about the same time.
LONG_FILES = ("tests/acceptance/", "tests/pretraining/", "tests/test_examples.py")


def pytest_collection_modifyitems(items):
    """Long files first; what takes very long only if it is asked for, by `make test-slow`."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG_FILES))
    if os.environ.get("ECGJEPA_SLOW") == "1":
        return
    for item in items:
        if item.get_closest_marker("slow") is not None:
            item.add_marker(pytest.mark.skip(reason="takes long: ECGJEPA_SLOW=1, make test-slow"))


@pytest.fixture
def short_timing(monkeypatch):
    """A measured plan times its steps for half a second; the timing itself is the same."""
    monkeypatch.setattr("ecgjepa.planning.measure._LONG_ENOUGH", 0.5)


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """No width of a terminal is known, whatever started the tests: messages are not wrapped."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(autouse=True)
def log_as_before():
    """Undo what a test did to the root logger; the command logs to a stream that is closed then."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture(autouse=True, scope="session")
def no_power_failure():
    """No test cuts the power: `fsync` would wait some 10,000 times for the disk.

    That it is called where it must be, tests of `files` and `store` show with one of their own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Tests leave no trace in the cache of whoever runs them."""
    before = os.environ.get("ECGJEPA_CACHE")
    os.environ["ECGJEPA_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("ECGJEPA_CACHE")
    if before is not None:
        os.environ["ECGJEPA_CACHE"] = before


# Overrides that make a preset small enough to train within a test.
SMALL_MODEL = [
    "data.window_seconds=2",
    "mask.min_block_size=2",
    "encoder.dim=16",
    "encoder.depth=1",
    "predictor.dim=8",
    "predictor.depth=1",
    "train.batch_size=8",
]

STATEMENTS = {
    # code: (diagnostic, form, rhythm, class, subclass, description)
    "NORM": (1, None, None, "NORM", "NORM", "normal ECG"),
    "IMI": (1, None, None, "MI", "IMI", "inferior myocardial infarction"),
    "ASMI": (1, None, None, "MI", "AMI", "anteroseptal myocardial infarction"),
    "LVH": (1, None, None, "HYP", "LVH", "left ventricular hypertrophy"),
    "CLBBB": (1, None, None, "CD", "CLBBB", "complete left bundle branch block"),
    "NDT": (1, 1, None, "STTC", "STTC", "non-diagnostic T abnormalities"),
    "PVC": (None, 1, None, None, None, "ventricular premature complex"),
    "SR": (None, None, 1, None, None, "sinus rhythm"),
    "AFIB": (None, None, 1, None, None, "atrial fibrillation"),
}


def write_wfdb(
    header: Path,
    digital: np.ndarray,
    *,
    leads=LEADS,
    rate: float = 500,
    gain: str = "1000.0(0)/mV",
    storage: str = "16",
    offset: int = 0,
) -> Path:
    """Write interleaved 16-bit samples (samples, leads) as a WFDB record with right checksums."""
    header.parent.mkdir(parents=True, exist_ok=True)
    name = header.stem
    ending = "mat" if offset else "dat"
    content = b"\0" * offset + np.ascontiguousarray(digital, "<i2").tobytes()
    header.with_suffix(f".{ending}").write_bytes(content)
    sums = digital.astype(np.int64).sum(axis=0) & 0xFFFF
    lines = [f"{name} {len(leads)} {rate:g} {len(digital)}"]
    kind = f"{storage}+{offset}" if offset else storage
    lines += [
        f"{name}.{ending} {kind} {gain} 16 0 {digital[0, i]} {sums[i]} 0 {lead}"
        for i, lead in enumerate(leads)
    ]
    header.write_text("\n".join(lines) + "\n")
    return header


def toy_ecg(rng: np.random.Generator, *, num_samples: int = 5000, rate: float = 500, kind: int = 0):
    """Return (samples, 12) int16 µV: pulses in two limb leads and six chest leads, plus noise.

    ``kind`` changes the shape of the pulses, so that a label can be learned.
    """
    time = np.arange(num_samples) / rate
    beat = 0.7 + 0.3 * rng.random()
    phase = (time + rng.random()) % beat
    pulse = np.exp(-0.5 * ((phase - 0.3) / 0.012) ** 2)
    wave = np.exp(-0.5 * ((phase - 0.55) / 0.05) ** 2) * (0.3 if kind % 2 == 0 else -0.3)
    axes = rng.normal(1.0, 0.2, 8) * np.where(np.arange(8) == 2, -1, 1)
    width = 1.0 if kind < 2 else 1.6
    eight = np.outer(pulse * width + wave, axes) + 0.01 * rng.standard_normal((num_samples, 8))
    digital = np.rint(eight * 700)
    first, second = digital[:, 0], digital[:, 1]
    limb = [
        first,
        second,
        second - first,
        -(first + second) / 2,
        first - second / 2,
        second - first / 2,
    ]
    return np.rint(np.column_stack([*limb, digital[:, 2:]])).astype(np.int16)


def write_ptb_xl(root: Path, *, records: int = 40, seconds: float = 10.0, seed: int = 0) -> Path:
    """Write a small folder in PTB-XL's layout; every second patient has two records."""
    rng = np.random.default_rng(seed)
    codes = list(STATEMENTS)
    rows = []
    for number in range(1, records + 1):
        kind = number % 4
        name = f"records500/00000/{number:05d}_hr"
        digital = toy_ecg(rng, num_samples=int(seconds * 500), kind=kind)
        write_wfdb(root / f"{name}.hea", digital)
        patient = 1000 + (number * 2) // 3
        labels = {("NORM", "NDT", "CLBBB", "IMI")[kind]: 100.0, "SR": 0.0}
        if number % 7 == 0:
            labels |= {codes[number % len(codes)]: 50.0}
        rows.append(
            {
                "ecg_id": number,
                "patient_id": float(patient),
                "age": 40.0 + number % 50,
                "sex": number % 2,
                "scp_codes": repr(labels),
                "strat_fold": patient % 10 + 1,
                "filename_lr": name.replace("500", "100").replace("_hr", "_lr"),
                "filename_hr": name,
            }
        )
    pd.DataFrame(rows).to_csv(root / "ptbxl_database.csv", index=False)
    columns = [
        "diagnostic",
        "form",
        "rhythm",
        "diagnostic_class",
        "diagnostic_subclass",
        "description",
    ]
    table = pd.DataFrame.from_dict(STATEMENTS, orient="index", columns=columns)
    table.to_csv(root / "scp_statements.csv")
    return root


def copy_as_challenge(source: Path, ecg_ids: list[int], folder: Path) -> Path:
    """Copy records as the Challenge 2021 has them: HR00001.hea and .mat."""
    for ecg_id in ecg_ids:
        digital = np.fromfile(source / f"records500/00000/{ecg_id:05d}_hr.dat", "<i2").reshape(
            -1, 12
        )
        write_wfdb(folder / f"HR{ecg_id:05d}.hea", digital, gain="1000/mv", offset=24)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def ptb_xl(tmp_path_factory) -> Path:
    """A folder of 120 toy records in PTB-XL's layout; not to be changed."""
    return write_ptb_xl(tmp_path_factory.mktemp("ptb-xl"), records=120)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """Return the model folder of an untrained encoder."""
    from small_encoders import save_encoder  # PyTorch, for those who need it

    return save_encoder(tmp_path_factory.mktemp("encoder") / "model")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """Return an empty cache."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real ECGs, or a skip with the reason."""
    folder = os.environ.get("ECGJEPA_REALDATA")
    if not folder:
        pytest.skip("ECGJEPA_REALDATA is not set")
    if not Path(folder).is_dir():
        pytest.skip(f"ECGJEPA_REALDATA is {folder!r}, which is not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def official():
    """The official implementation, imported from a checkout, or a skip with the reason."""
    import official_code

    folder = os.environ.get("ECGJEPA_OFFICIAL")
    if not folder:
        pytest.skip("ECGJEPA_OFFICIAL names no checkout of kweimann/ECG-JEPA at 504b4e5")
    try:
        return official_code.import_official(folder)
    except official_code.WrongCheckoutError as error:
        pytest.skip(f"ECGJEPA_OFFICIAL: {error}")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
