"""How well do the quality score and the flags of leads agree with people?

    python benchmarks/quality.py --data DIR [--result benchmarks/results/NAME.json]

DIR holds `cinc-2011/` (WFDB records with `labels.csv`: record, quality) and `ptb-xl/`. Weights and
thresholds are chosen on one half of the Challenge 2011's records, whose quality people judged, and
reported on the other, which plays no part in any choice. PTB-XL, whose human notes on noise are no
part of any choice either, is a second check. Prints what `signals/quality.py` should hold.
"""

import argparse
import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ecgjepa
from ecgjepa.io import read_record
from ecgjepa.signals.preprocessing import Prepared, PreprocessingConfig, prepare_record
from ecgjepa.signals.quality import (
    PLAUSIBLE_SCALE_MV,
    SCORE_FEATURES,
    score_features,
)

SEED = 0
RESAMPLES = 2000
FLAGS = ("flat_lead", "saturated_lead", "noisy_lead", "implausible_amplitude", "limb_lead_residual")
NOTES = ("static_noise", "burst_noise", "baseline_drift", "electrodes_problems")


def prepare_all(paths: list[Path]) -> list[Prepared]:
    """Read and prepare records as `ecgjepa prepare` does by default, keeping no samples."""
    nothing = np.zeros((0, 12), np.int16)
    config = PreprocessingConfig()
    return [prepare_record(read_record(path), config)._replace(samples=nothing) for path in paths]


def fit(features: np.ndarray, refused: np.ndarray) -> tuple[np.ndarray, float, float, float]:
    """Return weights and intercept for P(accepted), a score threshold, and the AUROC expected.

    The last two come from five-fold cross-validation: the threshold is where sensitivity plus
    specificity is greatest.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression())
    parts = StratifiedKFold(5, shuffle=True, random_state=SEED)
    score = cross_val_predict(model, features, ~refused, cv=parts, method="predict_proba")[:, 1]
    candidates = np.arange(0.05, 1.0, 0.05)
    gain = [(score[refused] < c).mean() - (score[~refused] < c).mean() for c in candidates]
    threshold = float(candidates[int(np.argmax(gain))])
    scaler, regression = (step for _, step in model.fit(features, ~refused).steps)
    weights = np.round(regression.coef_[0] / scaler.scale_, 4)
    intercept = round(float(regression.intercept_[0] - weights @ scaler.mean_), 4)
    return weights, intercept, round(threshold, 2), float(roc_auc_score(~refused, score))


def noise_shares(record: Prepared) -> np.ndarray:
    """Return the noise of each lead as a share of the beats' typical amplitude."""
    return record.measures.noise / max(1e3 * record.measures.beats_mv, 1.0)


def noise_limit(shares: np.ndarray) -> float:
    """Return the least multiple of 0.05 that at most one in 1,000 leads exceeds."""
    return round(0.05 * float(np.ceil(np.quantile(shares, 0.999) / 0.05)), 2)


def auroc_interval(accepted: np.ndarray, score: np.ndarray) -> list[float]:
    """Return AUROC with the ends of its 95 % bootstrap interval over records."""
    rng = np.random.default_rng(SEED)
    values = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(len(score), size=len(score))
        if 0 < accepted[chosen].sum() < len(chosen):
            values.append(roc_auc_score(accepted[chosen], score[chosen]))
    return [float(roc_auc_score(accepted, score)), *np.quantile(values, [0.025, 0.975]).tolist()]


def flag_shares(records: list[Prepared], noise: float) -> dict[str, float]:
    """Return the share of records in which each flag fires, for any lead."""
    shares = {
        flag: float(np.mean([any(i.code == flag for i in record.issues) for record in records]))
        for flag in FLAGS
    }
    # By the limit chosen here, whatever the package holds.
    shares["noisy_lead"] = float(np.mean([noise_shares(r).max() > noise for r in records]))
    return shares


def wrong_gains(records: list[Prepared]) -> dict[str, float]:
    """Return how often amplitudes are called implausible, as they are and with a wrong gain."""
    amplitude = np.array([record.measures.scale_mv for record in records])
    least, most = PLAUSIBLE_SCALE_MV
    return {
        name: float(((amplitude * factor < least) | (amplitude * factor > most)).mean())
        for name, factor in (("as it is", 1.0), ("times 10", 10.0), ("divided by 10", 0.1))
    }


def measure(data: Path) -> dict[str, Any]:
    """Return weights, thresholds and what they achieve."""
    labels = pd.read_csv(data / "cinc-2011/labels.csv")
    refused = (labels.quality == "unacceptable").to_numpy()
    records = prepare_all([data / f"cinc-2011/{name}.hea" for name in labels.record])
    features = np.array([score_features(record.measures) for record in records])
    first, second = train_test_split(
        np.arange(len(labels)), test_size=0.5, random_state=SEED, stratify=refused
    )
    weights, intercept, threshold, expected = fit(features[first], refused[first])
    limit = noise_limit(np.concatenate([noise_shares(records[i]) for i in first if not refused[i]]))

    def score(features: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-np.clip(features @ weights + intercept, -50, 50)))

    held_out, bad = score(features[second]), refused[second]
    accepted_records = [records[i] for i in second if not refused[i]]
    refused_records = [records[i] for i in second if refused[i]]

    table = pd.read_csv(data / "ptb-xl/ptbxl_database.csv")
    others = prepare_all([data / f"ptb-xl/{name}.hea" for name in table.filename_hr])
    noted = table[list(NOTES)].notna()
    scores = score(np.array([score_features(record.measures) for record in others]))
    groups = {note: noted[note].to_numpy() for note in NOTES}
    groups["any of them"] = noted.any(axis=1).to_numpy()
    groups["none"] = ~groups["any of them"]
    noisiest = np.array([noise_shares(record).max() for record in others])
    drift = np.array([record.measures.drift.max() for record in others])
    return {
        "weights": dict(zip(SCORE_FEATURES, weights.tolist(), strict=True)),
        "intercept": intercept,
        "score_threshold": threshold,
        "noise_share": limit,
        "first half": {"records": len(first), "cross-validated AUROC": expected},
        "second half": {
            "accepted": len(accepted_records),
            "refused": len(refused_records),
            "AUROC": auroc_interval(~bad, held_out),
            "refused below threshold": float((held_out[bad] < threshold).mean()),
            "accepted below threshold": float((held_out[~bad] < threshold).mean()),
            "flags in accepted": flag_shares(accepted_records, limit),
            "flags in refused": flag_shares(refused_records, limit),
        },
        "PTB-XL": {
            "records": len(table),
            "gain wrong": wrong_gains(others),
            "flags": flag_shares(others, limit),
            "noise against static_noise, AUROC": float(
                roc_auc_score(groups["static_noise"], noisiest)
            ),
            "drift against baseline_drift, AUROC": float(
                roc_auc_score(groups["baseline_drift"], drift)
            ),
            "score against any note, AUROC": float(roc_auc_score(groups["none"], scores)),
            "by note": {
                note: {
                    "records": int(chosen.sum()),
                    "below threshold": float((scores[chosen] < threshold).mean()),
                    "noisy lead": float((noisiest[chosen] > limit).mean()),
                }
                for note, chosen in groups.items()
            },
        },
    }


def report(found: dict[str, Any]) -> str:
    """Return the main numbers for people, and the lines for `signals/quality.py`."""
    half, other = found["second half"], found["PTB-XL"]
    lines = [
        f"MAX_NOISE_SHARE = {found['noise_share']}",
        f"LOW_SCORE = {found['score_threshold']}",
        f"SCORE_WEIGHTS = np.array({list(found['weights'].values())})",
        f"SCORE_INTERCEPT = {found['intercept']}",
        "",
        "held-out AUROC {:.3f} ({:.3f} to {:.3f}); ".format(*half["AUROC"])
        + f"below the threshold: {half['refused below threshold']:.1%} of the refused, "
        f"{half['accepted below threshold']:.1%} of the accepted",
        "",
        f"{'flag in any lead':<24}{'accepted':>10}{'refused':>10}{'PTB-XL':>10}",
    ]
    lines += [
        f"{flag:<24}{half['flags in accepted'][flag]:>10.1%}"
        f"{half['flags in refused'][flag]:>10.1%}{other['flags'][flag]:>10.1%}"
        for flag in FLAGS
    ]
    lines += ["", f"{'note in PTB-XL':<24}{'records':>10}{'low score':>10}{'noisy':>10}"]
    lines += [
        f"{note:<24}{row['records']:>10}{row['below threshold']:>10.1%}{row['noisy lead']:>10.1%}"
        for note, row in other["by note"].items()
    ]
    return "\n".join(lines)


def rounded(value: Any) -> Any:  # noqa: ANN401
    """Return the same facts with four decimals."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    """Measure, print a table and JSON, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    facts = {
        "date": datetime.date.today().isoformat(),
        "cpu": ecgjepa.doctor()["cpu"],
        "gpu": ecgjepa.doctor()["gpu"],
        "scikit-learn": sklearn.__version__,
        "ecgjepa": ecgjepa.__version__,
        **rounded(measure(options.data)),
    }
    print(report(facts), json.dumps(facts, indent=1), sep="\n\n")
    if options.result:
        options.result.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
