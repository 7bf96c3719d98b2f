"""Tasks that a store's index answers by itself: no table of the database is needed.

``challenge-2021``: the diagnoses that the PhysioNet/CinC Challenge 2021 scores, thirty SNOMED CT
codes of which four pairs count as one diagnosis each: 26 labels
(https://physionet.org/content/challenge-2021/1.0.3/, file ``dx_mapping_scored.csv``).
``code-15``: the six abnormalities of CODE-15% (https://doi.org/10.5281/zenodo.4916206).
``codes``: every code that occurs, whatever it means; for archives of your own.
``age``: a regression, in years.
"""

import numpy as np
import pandas as pd

from ecgjepa.errors import TaskError
from ecgjepa.tasks.column_tasks import (
    Columns,
    in_short,
    known_and_doubtful,
    multi_label,
    only_labels,
    task_of_codes,
    without_doubtful,
)
from ecgjepa.tasks.task import Task

# Code, abbreviation, meaning. A pair that counts as one diagnosis shares the abbreviation; it is
# the one of the pair's first code in the Challenge's own scoring.
SCORED = (
    ("164889003", "AF", "atrial fibrillation"),
    ("164890007", "AFL", "atrial flutter"),
    ("6374002", "BBB", "bundle branch block"),
    ("426627000", "Brady", "bradycardia"),
    ("733534002", "CLBBB", "left bundle branch block, complete or not further named"),
    ("164909002", "CLBBB", ""),
    ("713427006", "CRBBB", "right bundle branch block, complete or not further named"),
    ("59118001", "CRBBB", ""),
    ("270492004", "IAVB", "first-degree atrioventricular block"),
    ("713426002", "IRBBB", "incomplete right bundle branch block"),
    ("39732003", "LAD", "left axis deviation"),
    ("445118002", "LAnFB", "left anterior fascicular block"),
    ("251146004", "LQRSV", "low QRS voltages"),
    ("698252002", "NSIVCB", "nonspecific intraventricular conduction disorder"),
    ("426783006", "NSR", "sinus rhythm"),
    ("284470004", "PAC", "premature atrial contraction or supraventricular premature beats"),
    ("63593006", "PAC", ""),
    ("10370003", "PR", "pacing rhythm"),
    ("365413008", "PRWP", "poor R wave progression"),
    ("427172004", "PVC", "premature ventricular contractions or ventricular premature beats"),
    ("17338001", "PVC", ""),
    ("164947007", "LPR", "prolonged PR interval"),
    ("111975006", "LQT", "prolonged QT interval"),
    ("164917005", "QAb", "abnormal Q wave"),
    ("47665007", "RAD", "right axis deviation"),
    ("427393009", "SA", "sinus arrhythmia"),
    ("426177001", "SB", "sinus bradycardia"),
    ("427084000", "STach", "sinus tachycardia"),
    ("164934002", "TAb", "abnormal T wave"),
    ("59931005", "TInv", "T wave inversion"),
)
CODE_15 = {
    "1dAVb": "first-degree atrioventricular block",
    "AF": "atrial fibrillation",
    "LBBB": "left bundle branch block",
    "RBBB": "right bundle branch block",
    "SB": "sinus bradycardia",
    "ST": "sinus tachycardia",
}
_CODES_OF_LABELS = {code for code, _, _ in SCORED}
_OTHER_CODES = ("ptb-xl", "code-15", "mimic-iv-ecg")
# PTB-XL writes 300 for everyone above 89; nobody is known to have lived longer than this.
_OLDEST = 122


def build_index_task(name: str, table: pd.DataFrame, columns: Columns | None = None) -> Task:
    """Build one of `ecgjepa.tasks.task.INDEX_TASKS` from a store's index.

    Args:
        name: The task.
        table: The store's index: database, patient, age and labels of every record.
        columns: Columns of labels of each database's table; what else stands among the labels of
            such a database is none.

    Raises:
        TaskError: If the databases have other labels, or no record has any.
    """
    if name == "age":
        return _age(table)
    columns = columns or {}
    told = only_labels(table, {database: own for database, own in columns.items() if own})
    if name == "codes":
        return in_short(task_of_codes(name, told, columns), columns)
    codes, doubtful = known_and_doubtful(told)
    return without_doubtful(_task_of_codes(name, table, codes), doubtful, _CODES_OF_LABELS)


def _task_of_codes(name: str, table: pd.DataFrame, codes: list[frozenset[str]]) -> Task:
    databases = set(table["database"])
    if name == "code-15":
        if databases != {"code-15"}:
            raise TaskError(f"task 'code-15' is defined on code-15; found {_named(databases)}")
        # Every exam in exams.csv has all six answers; those that are not in it have no patient.
        known = table["patient_id"].notna().to_numpy() | np.array(list(map(bool, codes)))
        return multi_label(name, CODE_15, {code: code for code in CODE_15}, codes, known)
    if wrong := databases & set(_OTHER_CODES):
        raise TaskError(
            f"task 'challenge-2021' is defined on SNOMED CT codes, which {_named(wrong)} does not "
            "have; PTB-XL's are in its copy of the Challenge, challenge-ptb-xl=DIR"
        )
    labels = {label: text for _, label, text in SCORED if text}
    # A record with other diagnoses has none of these; one without any diagnosis is unknown.
    known = np.array([bool(found) for found in codes])
    return multi_label(name, labels, {code: label for code, label, _ in SCORED}, codes, known)


def _age(table: pd.DataFrame) -> Task:
    ages = table["age"].to_numpy(np.float64)
    rows = np.flatnonzero((ages >= 0) & (ages <= _OLDEST))
    if not rows.size:
        raise TaskError(f"task 'age': none of the {len(table)} records has an age")
    hidden = int((ages > _OLDEST).sum())
    return Task(
        name="age",
        kind="regression",
        labels=("age",),
        descriptions=("age in years",),
        rows=rows,
        targets=ages[rows, None],
        num_unlabelled=len(table) - len(rows),
        notices=(f"{hidden:,} ages above {_OLDEST} stand for others and are left out",)
        if hidden
        else (),
    )


def _named(databases: set[str]) -> str:
    return ", ".join(sorted(databases)) or "nothing"
