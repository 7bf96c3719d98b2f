"""What others report, to be printed beside: macro AUROC on PTB-XL's fold 10.

Weimann & Conrad (https://arxiv.org/abs/2410.13867) and the README of kweimann/ECG-JEPA: means of 10
runs; their frozen column is an attentive probe. Other records, other sizes: a yardstick, no test of
what is measured here.
"""

from typing import NamedTuple


class Published(NamedTuple):
    """One row; None where nothing is reported."""

    model: str
    pretraining: str
    frozen: float | None
    finetuned: float | None


SOURCE = "Weimann & Conrad, arXiv 2410.13867 and README of kweimann/ECG-JEPA; fold 10, 10 runs"
_SPLIT = "; ST-MEM's authors split otherwise, with a linear head"
_BEST = "; only the best of each kind is known"
_ALL = "JEPA, ten databases"
_MIMIC = "JEPA, MIMIC-IV-ECG"
_OWN = "JEPA, PTB-XL only"

# By task: what to know of the numbers, and the rows.
TABLES: dict[str, tuple[str, tuple[Published, ...]]] = {
    "all": (
        "",
        (
            Published("inception1d", "none", None, 0.925),
            Published("xresnet1d50", "none", 0.721, 0.924),
            Published("4FC+2LSTM+2FC", "none", 0.711, 0.932),
            Published("ViT-B", "none", 0.867, 0.837),
            Published("ViT-S", "none", 0.833, 0.883),
            Published("ViT-XS", "none", 0.815, 0.911),
            Published("xresnet1d50", "SimCLR", 0.883, 0.927),
            Published("xresnet1d50", "BYOL", 0.878, 0.929),
            Published("4FC+2LSTM+2FC", "CPC", 0.927, 0.942),
            Published("4FC+2LSTM+2FC", "CPC without PTB-XL", 0.919, 0.940),
            Published("4FC+S4", "CPC", None, 0.945),
            Published("ViT-B", _ALL, 0.935, 0.940),
            Published("ViT-S", _ALL, 0.938, 0.945),
            Published("ViT-S", _MIMIC, 0.940, 0.944),
            Published("ViT-S", _OWN, 0.926, 0.930),
            Published("ViT-XS", _ALL, 0.933, 0.939),
            Published("ViT-XS", _MIMIC, 0.933, 0.943),
            Published("ViT-XS", _OWN, 0.931, 0.940),
        ),
    ),
    "st-mem": (
        _SPLIT,
        (
            Published("ViT-B", "MoCo v3", 0.739, 0.913),
            Published("ViT-B", "CMSC", 0.797, 0.877),
            Published("ViT-B", "MTAE", 0.807, 0.910),
            Published("ViT-B", "MTAE+RLM", 0.806, 0.911),
            Published("ViT-B", "MLAE", 0.779, 0.915),
            Published("ViT-B", "ST-MEM", 0.838, 0.933),
            Published("4FC+2LSTM+2FC", "CPC, all of PTB-XL", None, 0.934),
            Published("ViT-B", _ALL, 0.920, 0.928),
            Published("ViT-S", _ALL, 0.928, 0.935),
            Published("ViT-S", _MIMIC, 0.921, 0.932),
            Published("ViT-S", _OWN, 0.917, 0.929),
            Published("ViT-XS", _ALL, 0.924, 0.930),
            Published("ViT-XS", _MIMIC, 0.920, 0.928),
            Published("ViT-XS", _OWN, 0.919, 0.928),
        ),
    ),
    **{
        task: (
            _BEST,
            (
                Published("residual network or Inception", "none", None, rival),
                Published("ViT", "JEPA", None, jepa),
            ),
        )
        for task, jepa, rival in (
            ("diagnostic", 0.951, 0.937),
            ("subdiagnostic", 0.941, 0.930),
            ("superdiagnostic", 0.928, 0.930),
            ("form", 0.911, 0.899),
            ("rhythm", 0.968, 0.957),
        )
    },
}
