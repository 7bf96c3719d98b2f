"""What people see in a terminal of 80 columns: progress, tables, findings."""

import dataclasses
import json
import logging
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:  # the terminal must not import torch just to print
    from ecgjepa.databases.catalogue import Description
    from ecgjepa.evaluation.results import Evaluation
    from ecgjepa.fetching.fetch import FetchResult
    from ecgjepa.inference.predict import Prediction
    from ecgjepa.metrics.bootstrap import Interval
    from ecgjepa.metrics.paired import Comparison
    from ecgjepa.planning.plan import Plan
    from ecgjepa.store.manifest import Manifest
    from ecgjepa.store.verify import Verification


class Progress:
    """A bar on a terminal, a line every quarter otherwise."""

    def __init__(self, text: str) -> None:
        """Show ``text`` before the numbers."""
        self._text = text
        self._bar: Any = None
        self._quarters = 0

    def __enter__(self) -> "Progress":
        """Show nothing until the first call."""
        return self

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done."""
        if sys.stderr.isatty():
            self._draw(done, total)
            return
        quarters = done * 4 // total
        if quarters > self._quarters:
            logging.getLogger("ecgjepa").info("%s %d of %d", self._text, done, total)
        self._quarters = quarters % 4

    def _draw(self, done: int, total: int) -> None:
        if self._bar is None or self._bar.total != total or done < self._bar.n:
            self._close()
            self._bar = tqdm(total=total, desc=self._text, ncols=78, leave=False)
        self._bar.update(done - self._bar.n)
        if done == total:
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._close()


def database_as_json(database: "Description") -> dict[str, Any]:
    """Return a database's description as JSON content."""
    origin = database.origin
    places = {**origin._asdict(), "page": origin.page, "bucket": origin.bucket}
    return {**dataclasses.asdict(database), "origin": places}


def print_databases(databases: "list[Description]") -> None:
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


def print_database(database: "Description") -> None:
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
    print(f"folder: {result.folder}")


# What an issue's code does not say by itself.
_ISSUES = {
    "invalid_lead": "more than a fifth of a lead invalid",
    "limb_lead_residual": "limb leads that contradict each other",
    "short_record": "less than 10 s of signal",
}


def print_comparison(comparison: "Comparison") -> None:
    """Print two models' macro scores, their difference and its p-value."""
    print(
        f"macro {comparison.metric} on {comparison.records:,} records of "
        f"{comparison.patients:,} patients, 95 % intervals over patients"
    )
    for name, model in (("first", comparison.first), ("second", comparison.second)):
        spread = f", std {model.std_over_runs:.4f}" if len(model.runs) > 1 else ""
        runs = f"{len(model.runs)} run{'s' if len(model.runs) > 1 else ''}{spread}"
        print(f"  {name:<12}{_interval(model.score)}  {runs}")
    print(f"  {'difference':<12}{_interval(comparison.difference)}  p = {comparison.p_value:.3g}")
    if comparison.less_is_better:
        print("  less is better: below 0, the difference speaks for the first")
    if comparison.undefined_labels:
        print_wrapped("  not scored", ", ".join(comparison.undefined_labels))


def _interval(interval: "Interval") -> str:
    return f"{interval.value:.4f} ({interval.low:.4f} to {interval.high:.4f})"


def print_manifest(manifest: "Manifest", store: Path) -> None:
    """Print what a store holds, and what it does not and why."""
    for name, summary in manifest.databases.items():
        stored, listed = f"{summary.stored:,}", _records(summary.listed)
        print_wrapped(name, f"{stored} of {listed}, {_hours(summary.seconds)}")
        for notice in summary.notices:
            print_wrapped("  copy", notice)
        if summary.highpass_hz is not None:
            print(f"  baseline wander removed below {summary.highpass_hz:g} Hz")
        for reason, count in summary.skipped.items():
            first = next(skip for skip in summary.quarantine if skip.reason == reason)
            words = reason.replace("_", " ")
            print_wrapped(f"  skipped: {count:,} {words}, such as {first.record_id}", first.detail)
        for issue, count in summary.issues.items():
            words = _ISSUES.get(issue, issue.replace("_", " "))
            print(f"  noted: {words} in {_records(count)}")
        if summary.absent:
            print(f"  absent from this copy: {_records(summary.absent)}")
        if summary.left_out:
            print(
                f"  left out, with all copies of them: {_records(summary.left_out)} of other folds"
            )
    summaries = manifest.databases.values()
    if skipped := sum(len(summary.quarantine) for summary in summaries):
        print(f"{_records(skipped)} skipped, each with its reason in manifest.json")
    length = _hours(sum(summary.seconds for summary in summaries))
    print_wrapped("store", f"{store}, {_records(manifest.num_records)}, {length}")


def _records(count: int) -> str:
    return "1 record" if count == 1 else f"{count:,} records"


def _hours(seconds: float) -> str:
    """Return hours, or minutes where hours would be 0.0."""
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def print_verification(found: "Verification", store: Path) -> None:
    """Print what `verify` found."""
    for fault in found.faults:
        print_wrapped("fault", fault)
    for note in found.notes:
        print_wrapped("note", note)
    if not found.faults:
        print(f"{store}: every byte is as it was written; no copy of a left-out record")


def print_error(text: str) -> None:
    """Print one readable block to stderr."""
    print(f"ecgjepa: {text}", file=sys.stderr)


def print_json(content: Any) -> None:  # noqa: ANN401
    """Print indented JSON to stdout."""
    print(json.dumps(content, indent=2, ensure_ascii=False))


def print_evaluations(evaluations: "list[Evaluation]") -> None:
    """Print one line per protocol and encoder: score, interval, and what pre-training gained."""
    from ecgjepa.metrics.scoring import MEASURES

    first = evaluations[0].results
    measure = first["measure"]
    folds = ", ".join(map(str, first["split"]["test"]))
    print(
        f"\ntask {first['task']['name']}: {MEASURES[measure]} on {first['counts']['test']:,} test "
        f"records (fold {folds})\n"
    )
    short = MEASURES[measure].split()[1]
    print(f"{'protocol':<21}{'encoder':<13}{short:<7}{'95 % interval':<15}gained by pre-training")
    for item in evaluations:
        for name, model in item.results["models"].items():
            value, low, high = model[measure]
            gain = item.results["differences"].get(f"pre-trained - {name}")
            words = "" if gain is None else f"{gain[0]:+.3f} ({gain[1]:+.3f}, {gain[2]:+.3f})"
            bounds = f"{low:.3f}, {high:.3f}"
            row = f"{item.results['protocol']:<21}{name:<13}{value:<7.3f}{bounds:<15}"
            print((row + words).rstrip())
    undefined = first["models"]["pre-trained"]["undefined_labels"]
    if undefined:
        print_wrapped("not scored, without positive or negative test records", ", ".join(undefined))


def print_repeats(summary: dict[str, Any]) -> None:
    """Print mean and standard deviation over the runs of each kind."""
    from ecgjepa.metrics.scoring import MEASURES

    print(f"\ntask {summary['task']}, {summary['protocol']}: {MEASURES[summary['measure']]}\n")
    print(f"{'tested on':<18}{'labels':>7}  {'encoder':<14}{'runs':>4}  mean     std")
    for row in summary["means"]:
        std = "" if row["std"] is None else f"{row['std']:.4f}"
        print(
            f"{row['test_on'] or '(the same)':<18}{100 * row['label_fraction']:>5g} %  "
            f"{row['model']:<14}{row['runs']:>4}  {row['mean']:<7.4f}  {std}".rstrip()
        )
    print("std is over runs, not over patients; intervals are in each run's results.json")


def prediction_as_json(prediction: "Prediction") -> dict[str, Any]:
    """Return a prediction as JSON content."""
    return {**vars(prediction), "findings": [issue._asdict() for issue in prediction.findings]}


def print_prediction(prediction: "Prediction", descriptions: dict[str, str], top: int) -> None:
    """Print the likeliest labels of one file and what was noticed about it."""
    print(prediction.file)
    if prediction.error:
        print_wrapped("  error", prediction.error)
        return
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    for label, probability in ranked[:top]:
        print(f"  {label:<10} {probability:6.3f}  {descriptions[label][:56]}")
    if len(ranked) > top:
        print(f"  ({len(ranked) - top} less likely labels not shown; --top {len(ranked)})")
    unlike = f", distance {prediction.distance:.3g}" if prediction.distance is not None else ""
    print(f"  input: {prediction.duration:g} s at {prediction.sampling_rate:g} Hz{unlike}")
    for issue in prediction.findings:
        where = f"lead {issue.lead}: " if issue.lead else ""
        print_wrapped("  input", f"{where}{issue.message}")


def print_plan(plan: "Plan") -> None:
    """Print what a run costs and what limits it, one paragraph per kind of cost."""
    train, parameters, flops = plan.config.train, plan.parameters, plan.flops
    memory, disk, measured = plan.memory, plan.disk, plan.measured
    facts = {
        plan.preset: f"{train.steps:,} steps of {train.batch_size:,} records in "
        f"{train.gradient_accumulation_steps} part(s), products in {plan.precision}",
        "parameters": f"encoder {parameters.encoder:,}, predictor {parameters.predictor:,}, "
        f"trained {parameters.trained:,}, in memory {parameters.in_memory:,} with moving "
        "averages",
        "operations": f"{flops.total / 1e9:.3g} GFLOP a record: context encoder "
        f"{flops.context_encoder / 1e9:.3g}, target encoder {flops.target_encoder / 1e9:.3g}, "
        f"predictor {flops.predictor / 1e9:.3g}",
        "bytes a record": f"{plan.record_bytes.store:,.0f} from the store, "
        f"{plan.record_bytes.device:,} to the device",
        "memory": f"{_size(memory.total)} on the device: activations "
        f"{_size(memory.activations)}, weights {_size(memory.weights)}, gradients "
        f"{_size(memory.gradients)}, optimizer {_size(memory.optimizer)}",
        "disk": f"{_size(disk.checkpoints)} of checkpoints, {_size(disk.checkpoint)} each"
        + ("" if disk.store is None else f"; the store has {_size(disk.store)}"),
    }
    if plan.draws_per_record is not None:
        facts["each record"] = f"drawn {plan.draws_per_record:,.1f} times on average"
    if measured is not None:
        rates = ", ".join(f"{rate:.2f} {name}" for name, rate in measured.matmul_tflops.items())
        facts["measured"] = (
            f"on {measured.device}, {measured.records_at_once} records at once: matrix products "
            f"{rates} TFLOP/s; training {flops.total / measured.seconds_per_record / 1e12:.3f}"
        )
    if plan.speed is not None:
        facts["time"] = (
            f"{_clock(plan.speed.seconds)}: {plan.speed.seconds_per_step:.3g} s a step, "
            f"{plan.speed.records_per_second:,.0f} records/s"
        )
    for key, text in {**facts, "limit": plan.limit}.items():
        print_wrapped(key, text)


def _clock(seconds: float) -> str:
    """Return seconds in minutes, hours or days, whichever reads best."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{seconds / 86400:.1f} days"
    return f"{hours}:{minutes:02d}:{rest:02d} h" if hours else f"{minutes}:{rest:02d} min"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def print_facts(facts: dict[str, Any]) -> None:
    """Print one paragraph per fact."""
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {item}" for name, item in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value)) or "none"
        print_wrapped(key.replace("_", " "), str(value))


def print_wrapped(key: str, text: str) -> None:
    """Print ``key: text`` within 79 columns, broken at blanks only: paths have hyphens."""
    indent = len(key) + 2 if len(key) < 24 else 6
    lines = textwrap.wrap(
        f"{key}: {text}", width=79, subsequent_indent=" " * indent, break_on_hyphens=False
    )
    print("\n".join(lines))
