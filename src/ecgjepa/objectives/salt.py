"""SALT: predict the features of a frozen teacher (https://arxiv.org/abs/2509.24317)."""

from pathlib import Path
from typing import TYPE_CHECKING

from ecgjepa.config import PretrainConfig
from ecgjepa.objectives.jepa import JepaObjective
from ecgjepa.objectives.teacher import check_same_preparation, check_teacher, read_teacher
from ecgjepa.signals.preprocessing import PreprocessingConfig

if TYPE_CHECKING:
    from ecgjepa.objectives.networks.salt import Salt


class SaltObjective(JepaObjective):
    """JEPA whose target encoder is a trained model that never changes.

    The hash of the teacher's weights is filled into ``salt.teacher_sha256`` of `config`.
    """

    name = "salt"
    title = "SALT"
    source = "Li et al. 2025, arXiv 2509.24317"
    kept_encoder = "context_encoder"
    kept_weights = "the student (the context encoder)"
    moving_average = False
    loss_note = (
        "The targets never change, so losses of runs with the same teacher and settings can be "
        "compared; how good the teacher's features are, the loss does not tell."
    )
    features = "teacher's features"
    advice = (
        "The teacher's features do not differ enough between records to be worth predicting: try "
        "another salt.teacher"
    )

    def __init__(self, config: PretrainConfig) -> None:
        """Take the settings of a run, if they and the teacher suit each other.

        Raises:
            ConfigError: If they do not, with the keys to change.
            ModelFolderError: If the teacher's folder is damaged.
        """
        self._teacher = read_teacher(config.salt.teacher)
        known = config.salt.model_copy(update={"teacher_sha256": self._teacher.sha256})
        check_teacher(self._teacher, config)
        super().__init__(config.model_copy(update={"salt": known}))

    @property
    def teacher(self) -> Path:
        """Model folder of the teacher."""
        return self._teacher.folder

    def check_records(self, preprocessing: PreprocessingConfig) -> None:
        """Refuse records that were prepared in another way than the teacher's."""
        check_same_preparation(self._teacher, preprocessing)

    @property
    def target(self) -> PretrainConfig:
        """The settings, with the teacher as their encoder."""
        return self.config.model_copy(update={"encoder": self._teacher.encoder})

    def networks(self) -> "Salt":
        """Return student and predictor with fresh weights, and the teacher with its own."""
        from ecgjepa.objectives.networks.salt import Salt

        train = self.config.train
        return Salt(
            self.config.encoder,
            self.config.predictor,
            self.config.jepa,
            self.teacher,
            normalise_targets=train.normalise_targets,
            loss=train.loss,
        )
