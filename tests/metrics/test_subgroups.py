import numpy as np
import pandas as pd
import pytest
from resampling import macro_aurocs

from ecgjepa.metrics.bootstrap import PatientBootstrap, interval
from ecgjepa.metrics.classification import macro_auroc
from ecgjepa.metrics.subgroups import score_subgroups, subgroups


def test_groups_by_hand():
    groups = subgroups(
        pd.DataFrame(
            {
                "age": [0, 17.5, 18, 59, 60, 89, 300, None],
                "sex": ["female", "male", None, "male", "male", "male", "male", "female"],
                "site": [0.0, 1.0, None, 2, 2, 2, 2, 2],
                "device": ["CS-12   ", "CS-12", "", None, "AT-6", "AT-6", "AT-6", "AT-6"],
                "quality": [0.84, 0.85, 1, None, 1, 1, 1, 1],
                "height": range(8),
            },
            index=range(10, 18),
        )
    )
    assert list(groups) == ["age", "sex", "site", "device", "quality"]
    assert groups["age"].tolist() == [
        "0-17", "0-17", "18-39", "40-59", "60-79", "80+", "80+", "unknown",
    ]  # fmt: skip
    assert groups["sex"].tolist()[:3] == ["female", "male", "unknown"]
    assert groups["site"].tolist()[:3] == ["0", "1", "unknown"]
    assert groups["device"].tolist()[:5] == ["CS-12", "CS-12", "unknown", "unknown", "AT-6"]
    expected = ["below 0.85", "0.85 and above", "0.85 and above", "unknown"]
    assert groups["quality"].tolist()[:4] == expected


def test_each_group_is_scored_as_if_it_were_the_test_set(rng):
    targets = rng.random((200, 2)) < 0.4
    targets[:120, 1] = False
    scores = rng.random((200, 2)) + 0.3 * targets
    patients = rng.integers(0, 150, 200)
    sex = np.repeat(["female", "male", "unknown"], [120, 70, 10])
    found = score_subgroups(targets, scores, patients, pd.DataFrame({"sex": sex}))["sex"]
    assert [group["group"] for group in found] == ["female", "male", "unknown"]
    for group, labels in zip(found[:2], (1, 2), strict=True):
        chosen = sex == group["group"]
        value = macro_auroc(targets[chosen], scores[chosen])
        resampled = macro_aurocs(
            PatientBootstrap(patients[chosen]), targets[chosen], scores[chosen]
        )
        assert group["macro_auroc"] == pytest.approx(interval(value, resampled))
        assert group["labels_scored"] == labels
        assert group["records"] == chosen.sum()
        assert group["patients"] == len(set(patients[chosen]))
    small = found[2]
    assert small == {
        "group": "unknown",
        "records": 10,
        "patients": len(set(patients[190:])),
        "labels_scored": 0,
        "macro_auroc": None,
    }


def test_metadata_that_know_nothing(rng):
    groups = subgroups(pd.DataFrame({"record_id": ["1", "2"]}))
    assert score_subgroups(np.ones((2, 1), bool), rng.random((2, 1)), np.arange(2), groups) == {}
