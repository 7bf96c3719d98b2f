"""Record statistics of the published mask sampler.

    python tests/golden/make_mask_statistics.py PATH_TO_OFFICIAL_CHECKOUT

The checkout is kweimann/ECG-JEPA at 504b4e5; only its ``data/masks.py`` is run.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np

RECORDS, PATCHES, MIN_BLOCK, KEPT = 40_000, 200, 10, (30, 40, 50)


def main() -> None:
    spec = importlib.util.spec_from_file_location("masks", Path(sys.argv[1]) / "data" / "masks.py")
    masks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(masks)
    collator = masks.MaskCollator(25, MIN_BLOCK, 0.15, 0.25)
    np.random.seed(0)  # noqa: NPY002  the official code draws from the global generator
    result = {"records": RECORDS, "patches": PATCHES, "min_block_size": MIN_BLOCK, "kept": {}}
    for kept in KEPT:
        visible = np.stack(
            [collator.sample_mask(kept, PATCHES).numpy() for _ in range(RECORDS)]
        ).astype(bool)
        runs = (np.diff(np.pad(visible, ((0, 0), (1, 1))).astype(int), axis=1) == 1).sum(axis=1)
        result["kept"][str(kept)] = {
            "visible_share_by_position": visible.mean(axis=0).round(5).tolist(),
            "share_by_number_of_visible_runs": (np.bincount(runs) / RECORDS).round(5).tolist(),
        }
    out = Path(__file__).with_name("mask_statistics.json")
    out.write_text(json.dumps(result) + "\n")


main()
