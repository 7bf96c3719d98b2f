"""The predictions of an evaluation as a table."""

import pandas as pd

from ecgjepa.protocols.outcome import Outcome
from ecgjepa.results.predictions import PROBABILITY, TARGET, VALUE
from ecgjepa.tasks.records import EvaluationData


def predictions_table(data: EvaluationData, outcomes: dict[str, Outcome]) -> pd.DataFrame:
    """Return what each model predicts of each validation and test record, beside the targets."""
    frames = []
    output = VALUE if data.task.kind == "regression" else PROBABILITY
    for name, outcome in outcomes.items():
        for purpose in ("validation", "test"):
            part = getattr(data.parts, purpose)
            rows = data.table.iloc[data.rows(part)]
            frame = rows[["database", "record_id", "patient_id", "fold"]].reset_index(drop=True)
            frame.insert(0, "model", name)
            frame.insert(1, "part", purpose)
            outputs, targets = getattr(outcome, purpose), data.targets(part)
            columns = {}
            for column, label in enumerate(data.task.labels):
                columns[f"{TARGET}:{label}"] = targets[:, column]
                columns[f"{output}:{label}"] = outputs[:, column]
            frames.append(pd.concat((frame, pd.DataFrame(columns)), axis=1))
    return pd.concat(frames, ignore_index=True)
