"""The paper's normalisation constants: per database and lead, in mV.

Source: the official code, kweimann/ECG-JEPA at 504b4e5, ``data/datasets/`` and, for CODE-15,
INCART and PTB-XL, ``pretrain.py`` lines 53 to 64. Those of CODE-15 and INCART hold after the
removal of baseline wander, PTB-XL's are over folds 1 to 8. The official code scales CPSC-Extra by
the constants of CPSC 2018 by mistake; here are its own.

Pre-training with this package takes the constants of its store instead. These serve where only
weights are at hand: a checkpoint of the official code does not hold them.
"""

from typing import NamedTuple

from ecgjepa.errors import DatabaseError

_ZERO = (0.0,) * 12


class PaperStatistics(NamedTuple):
    """Mean and standard deviation of I, II, III, aVR, aVL, aVF, V1 to V6, in mV."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


# fmt: off
PAPER_STATISTICS = {
    "mimic-iv-ecg": PaperStatistics(
        (0.023, 0.015, -0.007, -0.019, 0.014, 0.004, -0.018, -0.004, 0.002, 0.017, 0.022, 0.022),
        (0.155, 0.158, 0.166, 0.133, 0.141, 0.143, 0.207, 0.282, 0.284, 0.253, 0.222, 0.197),
    ),
    "code-15": PaperStatistics(
        _ZERO,
        (0.488, 0.450, 0.437, 0.416, 0.405, 0.370, 0.548, 0.639, 0.719, 0.695, 0.676, 0.639),
    ),
    "ptb-xl": PaperStatistics(
        (-0.002, -0.002, 0.0, 0.002, -0.001, -0.001, 0.0, -0.001, -0.002, -0.001, -0.001, -0.001),
        (0.191, 0.166, 0.173, 0.142, 0.149, 0.147, 0.235, 0.338, 0.335, 0.299, 0.294, 0.242),
    ),
    "chapman-shaoxing": PaperStatistics(
        (0.002, 0.005, 0.003, -0.002, -0.002, 0.003, 0.0, 0.003, 0.004, 0.004, 0.003, -0.001),
        (0.140, 0.171, 0.145, 0.138, 0.114, 0.143, 0.218, 0.355, 0.366, 0.365, 0.332, 0.299),
    ),
    "cpsc": PaperStatistics(
        _ZERO,
        (0.214, 0.236, 0.221, 0.209, 0.196, 0.214, 0.336, 0.417, 0.449, 0.483, 0.523, 0.561),
    ),
    "cpsc-extra": PaperStatistics(
        _ZERO,
        (0.182, 0.183, 0.184, 0.163, 0.164, 0.165, 0.288, 0.370, 0.371, 0.380, 0.375, 0.392),
    ),
    "georgia": PaperStatistics(
        (-0.003, -0.002, 0.001, 0.003, -0.002, -0.001,
         -0.004, -0.004, -0.003, -0.003, -0.003, -0.003),
        (0.157, 0.178, 0.164, 0.147, 0.134, 0.153, 0.213, 0.285, 0.272, 0.245, 0.224, 0.209),
    ),
    "ningbo": PaperStatistics(
        (0.002, 0.004, 0.002, -0.001, -0.001, 0.002, 0.0, 0.003, 0.003, 0.004, 0.003, 0.0),
        (0.145, 0.179, 0.159, 0.142, 0.123, 0.153, 0.228, 0.368, 0.377, 0.394, 0.405, 0.444),
    ),
    "ptb": PaperStatistics(
        _ZERO,
        (0.642, 0.975, 0.953, 0.674, 0.651, 0.909, 0.643, 0.658, 0.668, 0.688, 0.648, 0.622),
    ),
    "st-petersburg": PaperStatistics(
        _ZERO,
        (0.132, 0.370, 0.353, 0.215, 0.191, 0.356, 0.234, 0.320, 0.328, 0.290, 0.317, 0.337),
    ),
}
# fmt: on


def paper_statistics(database: str) -> PaperStatistics:
    """Return the constants by which the paper scales a database.

    Raises:
        DatabaseError: If the paper has no such database.
    """
    if database not in PAPER_STATISTICS:
        raise DatabaseError(
            f"the paper gives no normalisation constants for {database!r}; expected one of "
            f"{', '.join(PAPER_STATISTICS)}"
        )
    return PAPER_STATISTICS[database]
