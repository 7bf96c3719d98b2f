"""How unlike the training records a record is: Mahalanobis distance of its mean features.

Lee et al. 2018 (https://arxiv.org/abs/1807.03888), with one mean for all records, since one record
may have several labels. It lies in a model folder beside the weights, as plain numbers in double
precision; `ecgjepa.evaluation.out_of_distribution` fits it.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ecgjepa.config import Section
from ecgjepa.errors import ModelFolderError, ScoreError
from ecgjepa.files import write_bytes

DISTRIBUTION_FILE = "distribution.safetensors"
# Share of in-distribution records that are passed when a threshold must be named.
PASSED = 0.95
_ARRAYS = ("mean", "scale", "factor")

Features = Float[np.ndarray, "records dim"]
Distances = Float[np.ndarray, " records"]


class DistributionConfig(Section):
    """What ``config.json`` says of the training records' features.

    Attributes:
        records: Training records it was fitted on.
        shrinkage: Shrinkage of the covariance, towards a multiple of the identity.
        threshold: Distance up to which a share ``passed`` of the validation records lies.
        passed: That share.
        sha256: Of ``distribution.safetensors``.
    """

    records: int = Field(ge=2)
    shrinkage: float = Field(ge=0, le=1)
    threshold: NonNegativeFloat
    passed: float = Field(PASSED, gt=0, le=1)
    sha256: str = ""


class FeatureDistribution(NamedTuple):
    """Mean and shrunk covariance of standardised training features.

    Attributes:
        mean: Mean of the features.
        scale: Standard deviation of the features; 1 where a feature is constant.
        factor: Lower Cholesky factor of the standardised features' covariance.
        shrinkage: Shrinkage of that covariance, towards a multiple of the identity.
    """

    mean: Float[np.ndarray, " dim"]
    scale: Float[np.ndarray, " dim"]
    factor: Float[np.ndarray, "dim dim"]
    shrinkage: float

    def distances(self, features: Features) -> Distances:
        """Return the Mahalanobis distance of each record, divided by the root of the dimension.

        The mean square is about 1 for records like the training ones.

        Raises:
            ScoreError: If a feature is not finite.
        """
        check_finite(features, "new")
        standardised = (features - self.mean) / self.scale
        # With the covariance L·Lᵀ, the squared distance is the squared length of L⁻¹·x. PyTorch is
        # there already, while SciPy takes longer to import than a prediction.
        factor, columns = torch.from_numpy(self.factor), torch.from_numpy(standardised.T)
        solved = torch.linalg.solve_triangular(factor, columns, upper=False).numpy()
        return np.sqrt((solved * solved).sum(axis=0) / features.shape[1])


def write_distribution(path: Path, distribution: FeatureDistribution) -> None:
    """Write a distribution's arrays as safetensors."""
    arrays = {name: np.ascontiguousarray(getattr(distribution, name)) for name in _ARRAYS}
    write_bytes(path, save(arrays))


def read_distribution(path: Path, config: DistributionConfig, dim: int) -> FeatureDistribution:
    """Read what `write_distribution` wrote.

    Args:
        path: File.
        config: Description.
        dim: Features of the encoder.

    Raises:
        ModelFolderError: If it is damaged or of another encoder.
    """
    try:
        arrays = load_file(path)
    except SafetensorError as error:
        raise ModelFolderError(f"{path}: is damaged: {error}") from None
    shapes = {"mean": (dim,), "scale": (dim,), "factor": (dim, dim)}
    found = {name: array.shape for name, array in arrays.items()}
    if found != shapes:
        raise ModelFolderError(
            f"{path}: does not fit the encoder: has {str(found)[:200]}, expected {shapes}"
        )
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ModelFolderError(f"{path}: holds numbers that are NaN or infinite; fit it again")
    return FeatureDistribution(**arrays, shrinkage=config.shrinkage)


def check_finite(features: Features, which: str) -> None:
    """Raise `ScoreError` if features are not finite.

    Args:
        features: Features of some records.
        which: What these records are, for the message.
    """
    wrong = ~np.isfinite(features)
    if wrong.any():
        raise ScoreError(
            f"{int(wrong.any(axis=1).sum())} of {len(features)} {which} records have features that "
            "are not finite; leave them out, and say how many"
        )
