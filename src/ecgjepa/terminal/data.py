"""Databases, downloads and stores on a terminal."""

import dataclasses
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgjepa.terminal.screen import as_hours, as_records, print_line, print_wrapped

if TYPE_CHECKING:  # the terminal must not import torch just to print
    from ecgjepa.checking.verify import Verification
    from ecgjepa.databases.description import DatabaseDescription
    from ecgjepa.fetching.fetch import FetchResult
    from ecgjepa.io.catalogue import Format, NotRead
    from ecgjepa.store.manifest import Manifest


def database_as_json(database: "DatabaseDescription") -> dict[str, Any]:
    """Return a database's description as JSON content."""
    origin = database.origin
    places = {**origin._asdict(), "page": origin.page, "bucket": origin.bucket}
    return {**dataclasses.asdict(database), "origin": places}


def print_databases(databases: "list[DatabaseDescription]") -> None:
    """Print one line per database."""
    print(
        f"{'database':<18}{'records':>8}{'in paper':>10}{'Hz':>9}{'download':>11}  "
        f"{'licence':<11}access"
    )
    for item in databases:
        used = f"{item.paper_records:,}" if item.paper_records else "-"
        rates = ", ".join(f"{rate:g}" for rate in item.sampling_rates)
        size = f"{item.download_bytes / 1e9:.1f} GB"
        print(
            f"{item.name:<18}{item.num_records:>8,}{used:>10}{rates:>9}{size:>11}  "
            f"{item.licence:<11}{item.access}"
        )
    print("\n`ecgjepa databases NAME` has citations and sources; `ecgjepa fetch` gets one.")


def print_formats(formats: "Sequence[Format]", not_read: "Sequence[NotRead]") -> None:
    """Print one line per format, and what is only recognised."""
    print(f"{'format':<18}{'endings':<17}{'needs':<12}recognised by")
    for each in formats:
        endings = " ".join(each.endings)
        print(f"{each.name:<18}{endings:<17}{each.package or '-':<12}{each.known_by}")
    names = ", ".join(each.name for each in not_read)
    print()
    print(textwrap.fill(f"Recognised, and refused with advice: {names}.", width=79))
    print("`ecgjepa formats NAME` says what a file can tell; ecgjepa[formats] has it all.")


def print_format(each: "Format") -> None:
    """Print what a file of a format can and cannot say."""
    facts = {
        "format": each.name,
        "endings": " ".join(each.endings),
        "recognised by": each.known_by,
        "needs": each.package or "nothing else",
        **{name: getattr(each, name) for name in ("units", "leads", "rate", "patient", "gaps")},
    }
    for key, text in facts.items():
        print_wrapped(key, text)


def print_database(database: "DatabaseDescription") -> None:
    """Print what is known of one database, and where it is known from."""
    print(textwrap.fill(database.title, width=79))
    rates = ", ".join(f"{rate:g}" for rate in database.sampling_rates)
    facts = {
        "name": database.name,
        "records": f"{database.num_records:,}",
        "in the paper": "not used"
        if database.paper_records is None
        else f"{database.paper_records:,} records, {database.paper_seconds:,} s",
        "sampling rate": f"{rates} Hz",
        "licence": database.licence,
        "access": database.access,
        "version": database.origin.version,
        "from": database.origin.page,
        "download": f"about {database.download_bytes / 1e9:.1f} GB",
    }
    for key, text in facts.items():
        print_wrapped(key, text)
    for citation in database.citations:
        print_wrapped("cite", citation)
    print("\nWhere this is known from")
    for key, text in database.sources.items():
        print_wrapped(f"  {key.replace('_', ' ')}", text)


def fetch_as_json(result: "FetchResult") -> dict[str, Any]:
    """Return what a fetch did as JSON content."""
    failures = [failure._asdict() for failure in result.failures]
    return {**dataclasses.asdict(result), "folder": str(result.folder), "failures": failures}


def print_fetch(result: "FetchResult", dry_run: bool) -> None:
    """Print what a fetch did or would do, and every file that could not be had."""
    plan = result.plan
    if dry_run:
        print(f"{result.database}: {plan.num_files:,} files; nothing was fetched or checked")
        print(f"  to fetch: {plan.num_missing:,} files, {plan.num_bytes / 1e6:,.1f} MB")
        print_wrapped("  sizes", plan.basis)
        print(f"  to check: {plan.num_unchecked:,} files that are there")
        print(f"  verified: {plan.num_verified:,} files")
        if plan.examples:
            print_wrapped("  first", ", ".join(plan.examples))
        return
    print(f"{result.database}: {result.num_fetched:,} files fetched, {result.num_present:,} there")
    if result.unpacked:
        print(f"  unpacked: {len(result.unpacked):,} files")
    for failure in result.failures:
        print_wrapped(f"  failed: {failure.path}", failure.reason)
    if result.gave_up:
        print("  gave up after so many failures in a row; the same command tries again")
    print_line(f"folder: {result.folder}")


# What an issue's code does not say by itself.
_ISSUES = {
    "invalid_lead": "more than a fifth of a lead invalid",
    "limb_lead_residual": "limb leads that contradict each other",
    "short_record": "less than 10 s of signal",
}


def print_manifest(manifest: "Manifest", store: Path) -> None:
    """Print what a store holds, and what it does not and why.

    Notices are logged before the first record is prepared, and only counted here.
    """
    for name, summary in manifest.databases.items():
        stored, listed = f"{summary.stored:,}", as_records(summary.listed)
        print_wrapped(name, f"{stored} of {listed}, {as_hours(summary.seconds)}")
        if summary.notices:
            notes = "1 note" if len(summary.notices) == 1 else f"{len(summary.notices):,} notes"
            print(f"  {notes}: above, and in manifest.json")
        if summary.highpass_hz is not None:
            print(f"  baseline wander removed below {summary.highpass_hz:g} Hz")
        for reason, count in summary.skipped.items():
            first = next(skip for skip in summary.quarantine if skip.reason == reason)
            words = reason.replace("_", " ")
            print_wrapped(f"  skipped: {count:,} {words}, such as {first.record_id}", first.detail)
        for issue, count in summary.issues.items():
            words = _ISSUES.get(issue, issue.replace("_", " "))
            print(f"  noted: {words} in {as_records(count)}")
        if summary.absent:
            print(f"  absent from this copy: {as_records(summary.absent)}")
        if summary.left_out:
            print(
                "  left out, with all copies of them: "
                f"{as_records(summary.left_out)} of other folds"
            )
    summaries = manifest.databases.values()
    if skipped := sum(len(summary.quarantine) for summary in summaries):
        print(f"{as_records(skipped)} skipped, each with its reason in manifest.json")
    length = as_hours(sum(summary.seconds for summary in summaries))
    print_wrapped("store", f"{store}, {as_records(manifest.num_records)}, {length}")


def print_verification(found: "Verification", store: Path) -> None:
    """Print what `verify` found."""
    for fault in found.faults:
        print_wrapped("fault", fault)
    for note in found.notes:
        print_wrapped("note", note)
    if not found.faults:
        print(f"{store}: every byte is as it was written; no copy of a left-out record")
