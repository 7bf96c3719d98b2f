"""What a card says of a classifier's training records, beside its labels and scores."""

import pytest
from small_encoders import describe

from ecgjepa.evaluation.card_facts import by_age_and_sex, training_data
from ecgjepa.model.folder import PretrainingFacts
from ecgjepa.results.layout import PRE_TRAINED
from ecgjepa.sharing.cards import licence_in, split_card

SCORED = {"group": "female", "records": 1200, "patients": 60, "macro_auroc": [0.9, 0.85, 0.95]}
FEW = {"group": "80+", "records": 4, "patients": 4, "macro_auroc": None}
DEVICES = [{"group": f"D   {number}", "records": number} for number in range(1, 7)]
RESULTS = {
    "counts": {"train": 1979, "validation": 309},
    "models": {PRE_TRAINED: {"subgroups": {"age": [FEW], "sex": [SCORED], "device": DEVICES}}},
}
STAGE = {"database": "ptb-xl", "train": [1], "validation": [8]}


def config(databases, *, steps=0, seen=(STAGE,), records=()):
    counts = dict.fromkeys(records, 1)
    facts = PretrainingFacts(steps=steps, seed=0, store="", folds={}, records=counts)
    training = {"databases": list(databases), "seen": list(seen)}
    return describe().model_copy(update={"pretraining": facts, "training": training})


def test_scores_by_age_and_sex():
    text = "\n".join(by_age_and_sex(RESULTS))
    assert "| age | 80+ | 4 | 4 | - |" in text
    assert "| sex | female | 1,200 | 60 | 0.900 (0.850 to 0.950) |" in text
    assert list(by_age_and_sex({"models": {PRE_TRAINED: {}}})) == []


def test_training_records_with_licence_citation_and_devices():
    text = "\n".join(training_data(config(["ptb-xl"]), RESULTS))
    assert "1,979 records with a label of the task; 309 to select and calibrate by." in text
    assert "licence CC BY 4.0. Please cite:\n\n- Wagner P et al." in text
    assert "Test records by device: D 6: 6; D 5: 5; D 4: 4; D 3: 3; 2 others." in text


@pytest.mark.parametrize(
    ("described", "expected", "unexpected"),
    [
        (config(["ptb-xl"]), "began with random weights", "trained with labels before"),
        (config(["ptb-xl"], steps=None), "without labels (jepa) on records that are not", "random"),
        (
            config(["ptb-xl"], steps=5, records=["georgia"]),
            "pre-trained without labels (jepa) on georgia.",
            "random weights",
        ),
        (
            config(["clinic"], seen=[STAGE, {**STAGE, "database": "clinic"}]),
            "It had been trained with labels before, of ptb-xl.",
            "random weights",
        ),
    ],
)
def test_what_a_network_saw_before_is_told(described, expected, unexpected):
    text = "\n".join(training_data(described, RESULTS))
    assert expected in text
    assert unexpected not in text


def test_everything_seen_is_cited():
    seen = [STAGE, {**STAGE, "database": "clinic"}]
    text = "\n".join(training_data(config(["clinic"], seen=seen, records=["georgia"]), RESULTS))
    assert "clinic: data of its owner" in text
    assert "PTB-XL, a large publicly available" in text
    assert "Georgia" in text


@pytest.mark.parametrize(
    ("card", "head", "body"),
    [
        ("---\nlicense: mit\n---\n# A\n", "---\nlicense: mit\n---\n", "# A\n"),
        ("---\n---\nx", "---\n---\n", "x"),
        ("# A\n---\nb\n---\n", "", "# A\n---\nb\n---\n"),
        ("---\nnever closed", "", "---\nnever closed"),
        ("", "", ""),
    ],
)
def test_the_head_of_a_card(card, head, body):
    assert split_card(card) == (head, body)
    assert licence_in(card) == ("mit" if "mit" in head else None)
