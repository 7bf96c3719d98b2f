"""Mutated ECG files of every format that is read: what becomes of reading and preparing them.

    nice python benchmarks/mutants.py --count 100000 [--seed 0] [--only NAME …] [--result FILE]

Small sound files of each format of `ecgjepa.formats`, and the descriptions beside arrays, are cut,
flipped, spliced, or get other numbers; half of the mutants of formats with checksums get new ones.
They are read one by one in a process of its own, whose memory is limited. Counted are errors that
are not of `ecgjepa.errors`, inputs that take longer than 5 s of the processor or more than 200 MB,
and crashes. The same seed gives the same mutants; exit code 1 if there is any finding.
"""

import argparse
import logging
import multiprocessing
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from mutant_files import build

SLOW_SECONDS, ENDLESS_SECONDS, GROWTH_MB, LIMIT_GB = 5.0, 60, 200.0, 6
NUMBER = re.compile(rb"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
WORDS = (
    b"", b"0", b"-1", b"1", b"0.04", b"1e-308", b"1e308", b"1e400", b"nan", b"-inf", b"65536",
    b"2147483648", b"9223372036854775807", b"9" * 40, b"9" * 6000, b"..", b"/", b"~", b"nV", b"V",
    b"mV", b"212", b"508", b"16x999", b"16:999", b"16+24", b'"', b"'", b"<", b"&", b"{",
    b"[" * 2000, b",", b";", b"\t", b"\n", b"\0", b"\xff", b"\x80", b"\xff\xff",
    b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\0\0", b"\xb5V",
    b"\xfe\xff", b"\x1f\x8b\x08",
)  # fmt: skip
EDITS = (
    *("flip",) * 5, *("fill",) * 2, *("replace",) * 4, *("swap",) * 3, *("number",) * 3,
    "end", "cut", "repeat", "splice", "insert",
)  # fmt: skip


class TooLong(BaseException):
    """An input took longer than is waited for; no ``except Exception`` hides it."""


def mutate(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return changed content: one to four edits, half of them where headers are."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        end = len(changed) if rng.random() < 0.5 else min(len(changed), 2048)
        at, size = rng.randint(0, end), rng.randint(1, 60)
        edit = rng.choice(EDITS)
        if edit == "end":
            del changed[at:]
        elif edit == "cut":
            del changed[at : at + size]
        elif edit == "flip" and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif edit == "fill":
            changed[at : at + size] = rng.choice((b"\0", b"\xff", b" ")) * size
        elif edit == "repeat":
            changed[at:at] = bytes(changed[at : at + 8 * size]) * rng.choice((1, 2, 30))
        elif edit == "splice":
            start = rng.randint(0, len(other))
            changed[at : at + rng.choice((0, size))] = other[start : start + 20 * size]
        elif edit in ("insert", "replace"):
            word = rng.choice(WORDS)
            changed[at : at + (edit == "replace") * len(word)] = word
        elif found := list(NUMBER.finditer(changed, max(0, at - 200), at + 200)):
            hit = rng.choice(found)
            number = rng.choice(found).group() if edit == "swap" else rng.choice(WORDS)
            changed[hit.start() : hit.end()] = number
    return bytes(changed)


def work(pipe: Connection, root: Path, options: argparse.Namespace, start: int) -> None:
    """Read the mutants from ``start`` on, and tell of each when it begins and when it ends."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    kinds = build(root)
    if options.only:
        kinds = [each for each in kinds if each.format in options.only]
    whole = {path: path.read_bytes() for kind in kinds for path in kind.files}
    for kind in kinds:
        read(kind.read, "mask")  # and load what it needs
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_GB << 30, LIMIT_GB << 30))
    signal.signal(signal.SIGALRM, _stop)
    for number in range(start, options.count):
        rng = random.Random(f"{options.seed} {number}")
        # Formats have equal shares, however many ways they are written in.
        name = rng.choice(sorted({each.format for each in kinds}))
        kind = rng.choice([each for each in kinds if each.format == name])
        path = rng.choice(kind.files)
        mutant = mutate(whole[path], whole[rng.choice(sorted(whole))], rng)
        path.write_bytes(kind.repair(mutant) if number % 2 else mutant)
        pipe.send((number, kind.format, kind.way))
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, began = _memory("VmRSS"), time.process_time()
        outcome = try_reading(kind.read, rng.choice(("raise", "flag", "mask")))
        path.write_bytes(whole[path])
        grown = _memory("VmHWM") - before
        pipe.send((*outcome, time.process_time() - began, grown))
    pipe.send(None)


def try_reading(path: Path, damaged: str) -> tuple[str, str]:
    """Return what became of a file (``sound``, ``refused`` or a finding), and details."""
    from ecgjepa.errors import EcgjepaError

    signal.alarm(ENDLESS_SECONDS)
    try:
        read(path, damaged)
    except EcgjepaError as error:
        if len(str(error)) > 5_000 + len(str(path)):
            return "message of a page or more", f"{type(error).__name__}: {str(error)[:200]}"
        return "refused", type(error).__name__
    except TooLong:
        return "endless", path.name
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = [each for each in frames if "/ecgjepa/" in each.filename][-1:] or frames[-1:]
        where = f"{Path(place[0].filename).name}:{place[0].lineno}"
        return "unnamed error", f"{type(error).__name__} at {where}"
    finally:
        signal.alarm(0)
    return "sound", ""


def read(path: Path, damaged: str) -> None:
    """Read and prepare; what comes out must be sound."""
    from ecgjepa.io import read_record
    from ecgjepa.signals.preprocessing import PreprocessingConfig, prepare_record

    record = read_record(path, damaged=damaged)  # type: ignore[arg-type]
    assert np.isfinite(record.signal).all(), "a value that is not finite"
    assert not record.signal[~record.valid].any(), "an invalid sample that is not 0"
    assert len(set(record.leads)) <= len(record.leads) == record.signal.shape[1]
    prepare_record(record, PreprocessingConfig())


def _stop(*_: object) -> None:
    raise TooLong


def _memory(field: str) -> float:
    """Return a size of this process in MB."""
    with open("/proc/self/status", encoding="ascii") as lines:  # noqa: PTH123
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def watch(options: argparse.Namespace) -> dict[str, Any]:
    """Run the campaign, in a new process after each that died; return the counts."""
    context, begun, first = multiprocessing.get_context("spawn"), time.monotonic(), 0
    counts: dict[str, Counter[str]] = {}
    findings: list[dict[str, Any]] = []
    while first < options.count:
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = context.Pipe(duplex=False)
            arguments = (theirs, Path(folder), options, first)
            process = context.Process(target=work, args=arguments)
            process.start()
            theirs.close()
            now: tuple[int, str, str] | None = None
            while (message := _next(ours)) is not None:
                if len(message) == 3:
                    now = message
                    continue
                assert now is not None
                first = now[0] + 1
                outcome, details, seconds, grown = message
                counts.setdefault(now[1], Counter())[outcome] += 1
                found = [] if outcome in ("sound", "refused") else [outcome]
                found += ["slow"] * (seconds > SLOW_SECONDS) + ["grown"] * (grown > GROWTH_MB)
                facts = {"details": details, "seconds": round(seconds, 1), "mb": round(grown)}
                for each in found:
                    findings.append(_finding(now, each, **facts))
                    print(findings[-1], flush=True)
                if first % 2000 == 0:
                    seconds = time.monotonic() - begun
                    print(f"{first:,}: {len(findings)} findings, {seconds:.0f} s", flush=True)
            process.join(5)
            if first < options.count:
                process.kill()
                if now is None or now[0] < first:
                    sys.exit(f"the process ended between two inputs, with {process.exitcode}")
                counts.setdefault(now[1], Counter())["crash"] += 1
                findings.append(_finding(now, "crash", exit=process.exitcode))
                first += 1
    return {
        "benchmark": "mutants", "seed": options.seed, "inputs": options.count,
        "seconds": round(time.monotonic() - begun),
        "limits": {"seconds": SLOW_SECONDS, "megabytes": GROWTH_MB},
        "totals": dict(sum(counts.values(), Counter())),
        "formats": {name: dict(sorted(found.items())) for name, found in sorted(counts.items())},
        "findings": findings,
    }  # fmt: skip


def _next(pipe: Connection) -> tuple[Any, ...] | None:
    """Return what the process tells next; None if it is done, dead or stuck."""
    try:
        return pipe.recv() if pipe.poll(ENDLESS_SECONDS + 120) else None
    except EOFError:
        return None


def _finding(now: tuple[int, str, str], what: str, **facts: object) -> dict[str, Any]:
    return {"number": now[0], "format": now[1], "way": now[2], "finding": what, **facts}


def main() -> None:
    """Run the campaign, print its counts and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="names of formats")
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    # Not in the process that reads: looking for its peak takes longer, the more it has loaded.
    from machine import report

    os.environ["OMP_NUM_THREADS"] = "1"
    found = watch(options)
    report(options.result, found)
    sys.exit(bool(found["findings"]))


if __name__ == "__main__":
    main()
