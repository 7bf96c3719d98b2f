"""A frozen teacher: what its model folder says, and whether it suits a run; without torch."""

from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from ecgjepa.config import EncoderConfig, PretrainConfig, describe_validation_error
from ecgjepa.errors import ConfigError, ModelFolderError
from ecgjepa.files import read_versioned, sha256_of_file
from ecgjepa.model.facts import READABLE_VERSIONS, PretrainingFacts
from ecgjepa.signals.preprocessing import PreprocessingConfig

_CONFIG_FILE, _MODEL_FOLDER, _SEEN_FILE = "config.json", "model", "seen.parquet"
_KEY = "salt.teacher"


class Teacher(NamedTuple):
    """What a run has to know of its teacher.

    Attributes:
        folder: Model folder.
        encoder: Architecture.
        preprocessing: Preparation of the records that the teacher was trained on.
        pretraining: Origin of the teacher's weights.
        sha256: Hash of the weights.
    """

    folder: Path
    encoder: EncoderConfig
    preprocessing: PreprocessingConfig
    pretraining: PretrainingFacts
    sha256: str


def read_teacher(place: str) -> Teacher:
    """Return what the model folder at a place, or that of the run there, says of itself.

    Raises:
        ConfigError: If no place is given, or it does not tell what the teacher has seen.
        ModelFolderError: If there is no model folder, or it is damaged.
    """
    if not place:
        raise ConfigError(
            f"{_KEY}: objective salt predicts the features of a frozen teacher; name its model "
            f"folder or finished run, --set {_KEY}=FOLDER"
        )
    folder = Path(place)
    if not (folder / _CONFIG_FILE).is_file():
        folder = folder / _MODEL_FOLDER
    if not (folder / _CONFIG_FILE).is_file():
        raise ModelFolderError(
            f"{_KEY}: no model folder at {place}, and none in it: expected a folder with "
            f"{_CONFIG_FILE}, or a finished run"
        )
    content, _ = read_versioned(folder / _CONFIG_FILE, READABLE_VERSIONS, ModelFolderError)
    try:
        found = Teacher(
            folder,
            EncoderConfig.model_validate(content.get("encoder")),
            PreprocessingConfig.model_validate(content.get("preprocessing")),
            PretrainingFacts.model_validate(content.get("pretraining")),
            str(content.get("weights_sha256")),
        )
    except ValidationError as error:
        raise ModelFolderError(
            describe_validation_error(error, str(folder / _CONFIG_FILE))
        ) from None
    _check_seen(found)
    return found


def _check_seen(teacher: Teacher) -> None:
    """Refuse a teacher of which it is not known what it has seen: nobody could tell a leak."""
    facts, path = teacher.pretraining, teacher.folder / _SEEN_FILE
    if not facts.seen:
        if facts.steps == 0 and not facts.folds:  # it has seen nothing
            return
        raise ConfigError(
            f"{_KEY} {teacher.folder}: does not tell what its training records hold (it was "
            "written by an older ecgjepa, or converted), so copies of test records could not be "
            "found in what the student learns; pre-train the teacher with this version"
        )
    if not path.is_file() or sha256_of_file(path) != facts.seen:
        raise ModelFolderError(
            f"{path}: is missing or has changed, so which records the teacher has seen is not "
            "known; restore it from the teacher's pre-training run"
        )


def check_teacher(teacher: Teacher, config: PretrainConfig) -> None:
    """Refuse a teacher whose tokens are not the student's, or that was replaced.

    Raises:
        ConfigError: If it is.
    """
    for name, found, expected in (
        ("patch_size", teacher.encoder.patch_size, config.encoder.patch_size),
        ("lead_patches", teacher.encoder.lead_patches, config.encoder.lead_patches),
        ("num_leads", teacher.encoder.num_leads, config.encoder.num_leads),
    ):
        if found != expected:
            raise ConfigError(
                f"{_KEY} {teacher.folder}: its {name} is {found}, the student's encoder.{name} is "
                f"{expected}; they must be equal, for each token of one is predicted from the other"
            )
    known = config.salt.teacher_sha256
    if known and known != teacher.sha256:
        raise ConfigError(
            f"{_KEY} {teacher.folder}: holds other weights (SHA-256 {teacher.sha256[:12]}…) than "
            f"salt.teacher_sha256 {known[:12]}…; name the folder of the same teacher"
        )


def check_same_preparation(teacher: Teacher, preprocessing: PreprocessingConfig) -> None:
    """Refuse records that were prepared in another way than the teacher's.

    Raises:
        ConfigError: If they were.
    """
    theirs = teacher.preprocessing
    for name in PreprocessingConfig.model_fields:
        found, expected = getattr(preprocessing, name), getattr(theirs, name)
        if found != expected:
            raise ConfigError(
                f"{_KEY} {teacher.folder}: was trained on records with {name} {expected}, but the "
                f"store has {name} {found}; prepare the store as the teacher's was"
            )


def taken_over(
    student: PretrainingFacts, teacher: PretrainingFacts, sha256: str
) -> PretrainingFacts:
    """Return what is known of a student, with all that its teacher has seen.

    Args:
        student: What the student's own store tells.
        teacher: What the teacher's folder tells.
        sha256: Hash of the teacher's weights.
    """
    names = list(dict.fromkeys((*student.folds, *teacher.folds)))
    folds = {name: _folds_of(name, student, teacher) for name in names}
    hashed = {**teacher.hashed_folds, **student.hashed_folds}
    return student.model_copy(
        update={
            "folds": folds,
            "records": {**teacher.records, **_seen_records(student)},
            "teacher": {"objective": teacher.objective, "sha256": sha256},
            "hashed_folds": {name: value for name, value in hashed.items() if folds.get(name)},
        }
    )


def _seen_records(facts: PretrainingFacts) -> dict[str, int]:
    return {name: count for name, count in facts.records.items() if count}


def _folds_of(
    name: str, student: PretrainingFacts, teacher: PretrainingFacts
) -> tuple[int, ...] | None:
    """Return the folds of a database that either has seen; None if they are not known."""
    seen = [facts for facts in (student, teacher) if _has_seen(facts, name)]
    kinds = {facts.hashed_folds.get(name, "") for facts in seen}
    known: Any = [facts.folds[name] for facts in seen]
    # Folds of two kinds, published ones and those of a hash, cannot be told together.
    if None in known or len(kinds) > 1 or not known:
        return None
    return tuple(sorted({fold for folds in known for fold in folds}))


def _has_seen(facts: PretrainingFacts, name: str) -> bool:
    """Return whether an encoder saw records of a database; one that gave none counts as unseen."""
    return name in facts.folds and not (facts.folds[name] is None and facts.records.get(name) == 0)
