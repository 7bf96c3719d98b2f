"""What others report, to be printed beside: macro AUROC on PTB-XL's fold 10, 71 statements.

From the README of kweimann/ECG-JEPA and its paper (https://arxiv.org/abs/2410.13867): means of 10
runs. Other records, other sizes: a yardstick, no test of what is measured here.
"""

from typing import NamedTuple


class Published(NamedTuple):
    """One row; None where nothing is reported."""

    model: str
    pretraining: str
    frozen: float | None
    finetuned: float | None


TASK = "all"
SOURCE = "Weimann & Conrad, arXiv 2410.13867 and README of kweimann/ECG-JEPA; fold 10, 10 runs"
ROWS = (
    Published("xresnet1d50", "none", 0.721, 0.924),
    Published("ViT-S", "none", 0.833, 0.883),
    Published("ViT-XS", "none", 0.815, 0.911),
    Published("xresnet1d50", "SimCLR", 0.883, 0.927),
    Published("xresnet1d50", "BYOL", 0.878, 0.929),
    Published("4FC+2LSTM+2FC", "CPC", 0.927, 0.942),
    Published("ViT-S", "JEPA, PTB-XL only", 0.926, 0.930),
    Published("ViT-XS", "JEPA, PTB-XL only", 0.931, 0.940),
    Published("ViT-S", "JEPA, ten databases", 0.938, 0.945),
    Published("ViT-XS", "JEPA, ten databases", 0.933, 0.939),
)
