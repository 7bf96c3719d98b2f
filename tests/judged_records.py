"""Records of four kinds of pulse, and tables of labels for them."""

from pathlib import Path

import numpy as np
import pandas as pd

# Of `conftest.write_ptb_xl`: the shape of the pulses, which is what a label can be learned from.
KINDS = ("NORM", "STTC", "CD", "MI")


def kinds_of(root: Path, *, archive: bool = False) -> pd.DataFrame:
    """Return name and kind of each record, named as PTB-XL's or as an archive's are."""
    files = sorted((root / "records500/00000").glob("*.hea"))
    ids = np.array([int(file.name[:5]) for file in files])
    names = [str(file.relative_to(root).with_suffix("")) for file in files] if archive else ids
    return pd.DataFrame({"record": names, "kind": np.array(KINDS)[ids % 4]})


def write_kinds(root: Path, path: Path, names: dict[str, str] | None = None, **options) -> Path:
    """Write a column of 0 and 1 for each kind; ``names`` are the columns' own, if not the kinds."""
    table = kinds_of(root, **options)
    columns = {(names or {}).get(kind, kind): (table["kind"] == kind).astype(int) for kind in KINDS}
    pd.DataFrame({"record": table["record"], **columns}).to_csv(path, index=False)
    return path
