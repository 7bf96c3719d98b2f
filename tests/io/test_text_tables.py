"""Tables of text as spreadsheets, programs for statistics and devices write them."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import toy_ecg
from ecg_files import describe

from ecgjepa import read_record
from ecgjepa.errors import LeadError, RecordFormatError, UnitError
from ecgjepa.io.folders import find_files
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.record import standardise_leads


@pytest.fixture
def mv(rng):
    return toy_ecg(rng, num_samples=300) / 1000


def table(path, names, rows, sep=",", *, before="", decimal=".", encoding="utf-8", **told):
    lines = [sep.join(names)] if names else []
    lines += [sep.join(row).replace(".", decimal) for row in rows]
    path.write_bytes((before + "\n".join(lines) + "\n").encode(encoding))
    describe(path, **{"leads": None, "unit": "mV", **told})
    return path


def cells(mv):
    return [[f"{value:.3f}" for value in row] for row in mv]


def same(record, mv):
    standard = standardise_leads(record)
    np.testing.assert_allclose(standard.signal, mv, atol=6e-4)
    return record


@pytest.mark.parametrize("sep", [",", ";", "\t", " ", "   "])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("has_names", [True, False])
def test_delimiters_and_decimal_signs(tmp_path, mv, sep, decimal, has_names):
    if sep == decimal:
        pytest.skip("no program writes both alike")
    names, leads = (LEADS, None) if has_names else (None, LEADS)
    path = table(tmp_path / "x.csv", names, cells(mv), sep, decimal=decimal, leads=leads)
    assert same(read_record(path), mv).valid.all()


@pytest.mark.parametrize(
    "before",
    [
        "# exported\n",
        "Patient record\n\n",
        "Name;X\nRate;500\n",
        "% a\n% b\n",
        "\ufeff",
        '"Title"\n',
    ],
)
def test_titles_and_comments(tmp_path, mv, before):
    same(read_record(table(tmp_path / "x.csv", LEADS, cells(mv), before=before)), mv)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "utf-8-sig"])
def test_encodings(tmp_path, mv, encoding):
    names = [f"{lead} [µV]" for lead in LEADS]
    path = table(tmp_path / "x.csv", names, cells(mv * 1000), encoding=encoding, unit=None)
    same(read_record(path), mv)


@pytest.mark.parametrize("form", ["{} [mV]", "{} (mV)", "{}_mV", "{}/mV", '"{}"', " {}"])
def test_names_with_units(tmp_path, mv, form):
    path = table(tmp_path / "x.csv", [form.format(lead) for lead in LEADS], cells(mv))
    same(read_record(path), mv)


def test_a_line_of_units(tmp_path, mv):
    rows = [["ms", *["uV"] * 12]] + [[str(2 * i), *row] for i, row in enumerate(cells(mv * 1000))]
    path = table(tmp_path / "x.txt", ["time", *LEADS], rows, "\t")
    (tmp_path / "x.txt.json").write_text("{}")
    record = same(read_record(path), mv)
    assert record.sampling_rate == 500


def test_units_that_contradict_are_refused(tmp_path, mv):
    names = [f"{lead} [mV]" for lead in LEADS]
    with pytest.raises(UnitError, match="columns tell the units mV and the description uV"):
        read_record(table(tmp_path / "x.csv", names, cells(mv), unit="uV"))
    odd = table(tmp_path / "y.csv", ["I [uV]", *names[1:]], cells(mv), unit=None)
    with pytest.raises(UnitError, match="columns tell the units mV, uV; expected one"):
        read_record(odd)


@pytest.mark.parametrize(
    ("name", "step", "rate"),
    [("time", 0.002, 500), ("", 1, 500), ("sample", 1, 500), ("time [s]", 0.002, 500),
     ("t (ms)", 2, 500), ("Time(s)", 0.004, 250)],
)  # fmt: skip
def test_columns_of_time_and_counts_are_not_used(tmp_path, mv, name, step, rate):
    rows = [[f"{index * step:.3f}", *row] for index, row in enumerate(cells(mv))]
    path = table(tmp_path / "x.csv", [name, *LEADS], rows, rate=rate)
    record = same(read_record(path), mv)
    assert [issue.message for issue in record.issues] == [f"column {name!r} is not used"]


def test_a_time_that_contradicts_the_rate_is_refused(tmp_path, mv):
    rows = [[f"{index * 0.004:.3f}", *row] for index, row in enumerate(cells(mv))]
    path = table(tmp_path / "x.csv", ["time [s]", *LEADS], rows)
    with pytest.raises(RecordFormatError, match=r"'time .s.' tells 250 Hz, its description 500 Hz"):
        read_record(path)


def test_empty_cells_and_leads(tmp_path, mv):
    for number, word in enumerate(("", "NaN", "n/a", "-")):
        rows = cells(mv)
        for index, row in enumerate(rows):
            row[8] = word
            if index == 5:
                row[1] = word
        record = read_record(table(tmp_path / f"{number}.csv", LEADS, rows))
        assert not record.valid[:, 8].any()
        assert record.valid.sum() == 300 * 11 - 1


def test_names_are_compared_as_leads_are(tmp_path, mv):
    names = ["Lead I", "lead ii", "III", "AVR", "aVL", "avf", "C1", "v2", "V3", "V4", "V5", "V6"]
    same(read_record(table(tmp_path / "x.csv", names, cells(mv), leads=LEADS)), mv)
    same(read_record(table(tmp_path / "y.csv", names, cells(mv))), mv)


def test_other_names_are_mapped(tmp_path, mv):
    names = [f"ch{number}" for number in range(12)]
    path = table(tmp_path / "x.csv", names, cells(mv))
    with pytest.raises(LeadError, match=r"columns are ch0, ch1, .* expected names of leads"):
        read_record(path)
    describe(path, leads=None, unit="mV", channels=dict(zip(names, LEADS, strict=True)))
    same(read_record(path), mv)


def test_an_index_without_a_name(tmp_path, mv):
    frame = pd.DataFrame(mv, columns=list(LEADS))
    frame.to_csv(tmp_path / "x.csv", quoting=2)
    describe(tmp_path / "x.csv", leads=None, unit="mV")
    same(read_record(tmp_path / "x.csv"), mv)
    rows = [[f'"{index}"', *row] for index, row in enumerate(cells(mv))]
    same(read_record(table(tmp_path / "r.csv", LEADS, rows)), mv)


def test_tables_without_names_need_as_many_leads(tmp_path, mv):
    timed = [[f"{index * 0.002:.3f}", *row] for index, row in enumerate(cells(mv))]
    record = read_record(table(tmp_path / "t.csv", None, timed, leads=LEADS))
    assert "column 1, a time or count" in record.issues[0].message
    for leads in (None, LEADS[:8]):
        with pytest.raises(LeadError, match="has 12 columns and no line of names"):
            read_record(table(tmp_path / "x.csv", None, cells(mv), leads=leads))
    more = [[row[3], *row] for row in cells(mv)]
    with pytest.raises(LeadError, match="the first is neither time nor a count"):
        read_record(table(tmp_path / "y.csv", None, more, leads=LEADS))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "x.csv: is empty"),
        ("hello\nworld\n", "no row of numbers"),
        ("I,II\n1,2\n3\n", "Expected 2 columns, got 1"),
        ("I,II\n1,2\n3,x\n4,5\n", "after line 1: .*'x'"),
        (",".join(["1"] * 2000) + "\n", "2,000 columns; expected a column for each lead"),
        ("I\n" + "1" * 200_000, "line 2 has 200,000 characters"),
        ("\0\0\0", "is no table of text"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text, match):
    (tmp_path / "x.csv").write_text(text)
    describe(tmp_path / "x.csv", leads=None)
    with pytest.raises(RecordFormatError, match=match):
        read_record(tmp_path / "x.csv")


def test_parquet_reads_the_leads_only(tmp_path, mv):
    frame = pd.DataFrame(mv, columns=list(LEADS))
    frame["text"] = "x" * 100
    frame["V3"] = None
    frame.to_parquet(tmp_path / "x.parquet")
    describe(tmp_path / "x.parquet", leads=None, unit="mV")
    record = read_record(tmp_path / "x.parquet")
    assert not record.valid[:, 8].any()
    np.testing.assert_allclose(record.signal[:, 11], mv[:, 11], rtol=1e-6)
    frame["V3"] = "x"
    frame.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(RecordFormatError, match=r"column V3 holds .*string values"):
        read_record(tmp_path / "x.parquet")


def test_a_table_without_rate_or_unit_is_refused(tmp_path, mv):
    path = table(tmp_path / "x.csv", LEADS, cells(mv))
    for told, missing in (({"unit": "mV"}, "sampling rate"), ({"sampling_rate": 500}, "unit")):
        (tmp_path / "x.csv.json").write_text(json.dumps(told))
        with pytest.raises(RecordFormatError, match=f"tells no {missing}"):
            read_record(path)


@pytest.mark.parametrize("sep", [",", ";", "\t"])
@pytest.mark.parametrize("form", ['"{lead}{sep} mV"', '"{lead}{sep}[mV]"', '"ECG{lead}{sep}"'])
def test_quoted_names_that_hold_the_delimiter(tmp_path, mv, sep, form):
    names = [form.format(lead=lead, sep=sep) for lead in LEADS]
    channels = {f"ECG{lead}{sep}": lead for lead in LEADS}
    path = table(tmp_path / "x.csv", names, cells(mv), sep, channels=channels)
    same(read_record(path), mv)


@pytest.mark.parametrize("sep", [",", ";", "\t"])
def test_commas_between_thousands_are_no_decimal_signs(tmp_path, mv, sep):
    """1,234 µV must not be read as 1.234."""
    rows = [[f'"{5000 + 1000 * value:,.0f}"' for value in row] for row in mv]
    path = table(tmp_path / "x.csv", LEADS, rows, sep, unit="uV")
    with pytest.raises(RecordFormatError):
        read_record(path)


def test_quoted_cells_with_decimal_commas(tmp_path, mv):
    """As a spreadsheet writes a decimal comma into a file of commas."""
    rows = [[f'"{value}"' for value in row] for row in cells(mv)]
    path = table(tmp_path / "x.csv", LEADS, rows, decimal=",")
    same(read_record(path), mv)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_that_tells_everything_needs_no_description(tmp_path, mv, ending):
    """As a spreadsheet of another country writes it: decimal commas and a column `Zeit`."""
    frame = pd.DataFrame(mv, columns=[f"{lead} [mV]" for lead in LEADS])
    frame.insert(0, "Zeit [s]", np.arange(len(mv)) / 500)
    path = tmp_path / f"x.{ending}"
    if ending == "csv":
        frame.to_csv(path, sep=";", decimal=",", index=False, encoding="cp1252")
        assert find_files(tmp_path)[0] == ["x.csv"]
    else:
        frame.to_parquet(path)
    assert same(read_record(path), mv).sampling_rate == 500


@pytest.mark.parametrize(
    ("first", "lacking"),
    [
        ("Zeit [s];I;II;V1", "its unit is not told"),
        ("n;I [mV];II [mV];V1 [mV]", "its sampling rate is not told"),
        ("Zeit;I;II;V1", "its sampling rate and unit are not told"),
        ("a;b;c;d", "its sampling rate, unit and leads are not told"),
    ],
)
def test_what_a_table_does_not_tell_is_named(tmp_path, first, lacking):
    path = tmp_path / "x.csv"
    path.write_text(f"{first}\n0,000;1;2;3\n0,002;2;3;4\n0,004;3;4;5\n")
    assert find_files(tmp_path) == ([], ["x.csv"])
    with pytest.raises(RecordFormatError, match=lacking) as refused:
        read_record(path)
    assert refused.value.reason == "not_described"


def test_a_time_with_a_gap_tells_no_rate(tmp_path, mv):
    times = np.arange(len(mv)) / 500
    times[100:] += 3
    rows = [[f"{time:.3f}", *row] for time, row in zip(times, cells(mv), strict=True)]
    path = table(tmp_path / "x.csv", ["time [s]", *LEADS], rows, rate=None)
    with pytest.raises(RecordFormatError, match=r"'time .s.' does not grow evenly"):
        read_record(path)
