"""The rules for bad input, row by row, and the proof that each has a test in this folder.

The tests of row 7 are those named ``test_row_07_…``.
"""

import ast
import importlib
from pathlib import Path

import pytest

# Row: (bad input, our rule, where the rule lives).
RULES = {
    1: (
        "gaps (NaN, -32768)",
        "bridged up to 40 ms, invalid beyond; a lead of which a fifth is invalid is so as a whole",
        "signals.gaps.fill_short_gaps",
    ),
    2: (
        "empty lead",
        "masked; the record stays with eight usable leads",
        "signals.acceptance.MIN_USABLE_LEADS",
    ),
    3: (
        "flat lead",
        "flagged, never divided by; a wholly flat record is dropped",
        "signals.quality.quality_issues",
    ),
    4: (
        "saturation, huge values",
        "flagged; cut at 5 deviations for the encoder",
        "signals.quality.saturated_leads",
    ),
    5: (
        "wrong gain",
        "old headers of the Challenge refused; implausible amplitudes noted",
        "databases.challenge_2021.read_with_current_gain",
    ),
    6: (
        "unit",
        "V, mV, µV, nV in any case; others refused; CODE-15's scale is a constant",
        "signals.units.millivolt_per_unit",
    ),
    7: (
        "lead order",
        "by name; a swap contradicts Einthoven and Goldberger",
        "signals.lead_order.limb_lead_issues",
    ),
    8: (
        "lead names",
        "aliases and signs; unknown channels noted, duplicates refused",
        "signals.leads.parse_lead",
    ),
    9: (
        "missing leads",
        "limb leads derived from I and II, others masked; predictions refused",
        "signals.record.standardise_leads",
    ),
    10: (
        "short records",
        "kept in their length and counted; padded for a prediction only",
        "store.ingest.USUAL_SECONDS",
    ),
    11: (
        "zero padding of CODE-15",
        "stripped; the true length is stored",
        "databases.code_15.read_exam",
    ),
    12: (
        "phantom rows of CODE-15",
        "dropped; rows and table compared both ways",
        "databases.code_15.list_records",
    ),
    13: (
        "sampling rate",
        "exact ratio, anti-aliased once; missing or not positive is refused",
        "signals.preprocessing.resample",
    ),
    14: (
        "drift, offset",
        "one stated filter; what exceeds 16 bits is invalid",
        "signals.microvolt.to_microvolt",
    ),
    15: (
        "damaged or missing signal file",
        "quarantined; the run goes on and exits with 1 beyond --max-bad",
        "store.shards.write_shard",
    ),
    16: (
        "checksum or first sample wrong",
        "always verified",
        "io.wfdb.read_described",
    ),
    17: (
        "header lies",
        "bounded by the files' sizes before anything is allocated",
        "io.wfdb.header.read_header",
    ),
    18: (
        "not the database",
        "an error that names the expected layout",
        "databases.list_records",
    ),
    19: (
        "version of PTB-XL",
        "told by its count, and said",
        "databases.ptb_xl.RECORDS_BY_VERSION",
    ),
    20: (
        "leakage of patients and copies",
        "held-out folds and all copies of them are refused",
        "store.held_out.Guard",
    ),
    21: (
        "duplicates across databases",
        "found by hash and signature, and reported",
        "checking.duplicates.near_pairs",
    ),
    22: (
        "untidy labels",
        "read tolerantly and reported; a likelihood of 0 is kept",
        "databases.challenge_2021.list_part",
    ),
    23: (
        "ages above 89, unknown age or sex",
        "kept apart: 300 as PTB-XL writes it, nothing as nothing",
        "databases.listing.Entry",
    ),
    24: (
        "malicious file",
        "no path out of the folder, sizes bounded, no links, objects or entities; uploads to come",
        "databases.tables.refuse_outside_paths",
    ),
    25: (
        "median beats, calibration pulses",
        "the rhythm is chosen, other waveforms are noted, the known pulse is cut off and noted",
        "io.read_record",
    ),
}


def names_of_tests() -> list[str]:
    names = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        names += [node.name for node in body if isinstance(node, ast.FunctionDef)]
    return names


def test_the_table_has_all_25_rows():
    assert list(RULES) == list(range(1, 26))


@pytest.mark.parametrize("row", RULES)
def test_the_row_has_a_test(row):
    assert [name for name in names_of_tests() if name.startswith(f"test_row_{row:02d}_")]


@pytest.mark.parametrize("row", RULES)
def test_the_rule_lives_where_the_table_says(row):
    module, _, name = RULES[row][2].rpartition(".")
    assert hasattr(importlib.import_module(f"ecgjepa.{module}"), name)
