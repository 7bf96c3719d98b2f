"""Install the wheel into a new environment and predict samples there without network.

    python benchmarks/fresh_install.py --samples FILE_OR_FOLDER ... [--work FOLDER] [--out FILE]

Builds the wheel, makes an environment, installs the wheel with the extra ``formats`` and the
versions of constraints.txt, and predicts every sample with the default model in a process in which
every connection fails. Prints the wheel's size, times and answers; fails if the wheel has more than
8 MB or a sample has no answer.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import report

ROOT = Path(__file__).parents[1]
MOST_BYTES = 8_000_000
OFFLINE = """
import socket
def refuse(*_, **__):
    raise OSError("no network here")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from ecgjepa.cli import main
main()
"""


def build(work: Path) -> Path:
    """Return the wheel of this working copy."""
    _run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(work), str(ROOT)])
    (wheel,) = work.glob("ecgjepa-*.whl")
    return wheel


def install(work: Path, wheel: Path) -> Path:
    """Return the Python of a new environment that holds the wheel."""
    place = work / "environment"
    _run([sys.executable, "-m", "venv", str(place)])
    python = place / "bin/python"
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    _run([str(python), "-m", "pip", "install", *constraints, f"{wheel}[formats]"])
    return python


def predict(python: Path, work: Path, samples: list[Path]) -> list[dict[str, Any]]:
    """Return the answers for samples, in a process without network."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(python), "-c", OFFLINE, "predict", "--json", *map(str, samples)]
    done = subprocess.run(command, cwd=work, env=clean, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def measure(work: Path, samples: list[Path]) -> dict[str, Any]:
    """Build, install and predict; return what was found."""
    begin = time.monotonic()
    wheel = build(work)
    built = time.monotonic()
    python = install(work, wheel)
    installed = time.monotonic()
    answers = predict(python, work, samples)
    return {
        "wheel_bytes": wheel.stat().st_size,
        "seconds_to_install": round(installed - built, 1),
        "seconds_to_build": round(built - begin, 1),
        "seconds_to_predict": round(time.monotonic() - installed, 1),
        "answers": {
            Path(one["file"]).name: {
                "likeliest": max(one["probabilities"], key=one["probabilities"].get),
                "set": one["set"],
            }
            for one in answers
        },
    }


def main() -> None:
    """Measure, print, and fail if something is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=Path, nargs="+", required=True)
    parser.add_argument("--work", type=Path, help="folder for wheel and environment; kept")
    parser.add_argument("--out", type=Path, help="file for the figures")
    options = parser.parse_args()
    samples = [path.resolve() for path in options.samples]
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        found = measure(work, samples)
    report(options.out, found)
    if found["wheel_bytes"] > MOST_BYTES:
        sys.exit(f"the wheel has {found['wheel_bytes']:,} bytes; at most {MOST_BYTES:,}")


if __name__ == "__main__":
    main()
