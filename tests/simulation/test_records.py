"""Physiology: whoever reads ECGs must recognise each label in the simulated signals."""

from dataclasses import replace

import numpy as np
import pytest
from limb_leads import limb_lead_residuals

from ecgjepa.errors import ConfigError
from ecgjepa.signals.leads import LEADS
from ecgjepa.simulation import simulate_record
from ecgjepa.simulation.heart.beats import BASAL, DOWER, NORMAL
from ecgjepa.simulation.heart.noise import ELECTRODES, LostElectrode
from ecgjepa.simulation.heart.patients import generator, patient_with
from ecgjepa.simulation.heart.recorder import INVALID, quantise, resample
from ecgjepa.simulation.heart.records import trace
from ecgjepa.simulation.heart.statements import NEVER_SIMULATED, SIMULATED, check_codes

RATE = 500
SEEDS = range(16)


def clean_beats(codes, *, seeds=SEEDS, severity=0.9):
    """Return per seed the patient, the beat times and the twelve leads in mV, without noise."""
    out = []
    for seed in seeds:
        checked = check_codes(codes)
        patient = patient_with(checked, seed, severity)
        tracing = trace(
            patient,
            checked,
            generator(seed, 0, 1),
            num_samples=5000,
            sampling_rate=float(RATE),
            noise=False,
        )
        inside = (tracing.rhythm.onsets > 0.6) & (tracing.rhythm.onsets < 9.2)
        onsets = tracing.rhythm.onsets[inside & (tracing.rhythm.ectopic == 0)]
        out.append((patient, tracing, onsets, quantise(tracing) / 1000.0))
    return out


def median_beat(signal, onsets, before=0.3, after=0.6):
    starts = np.rint((onsets - before) * RATE).astype(int)
    length = int((before + after) * RATE)
    beats = np.stack([signal[start : start + length] for start in starts])
    beat = np.median(beats, axis=0)
    level = int((before - 0.03) * RATE)
    return beat - beat[level : level + 10].mean(axis=0), int(before * RATE)


def qrs_waves(codes, **options):
    """Return per seed a dict of lead to the median QRS complex in mV."""
    found = []
    for patient, _, onsets, signal in clean_beats(codes, **options):
        beat, zero = median_beat(signal, onsets)
        qrs = beat[zero : zero + round(patient.heart.qrs * RATE) + 2]
        found.append(dict(zip(LEADS, qrs.T, strict=True)))
    return found


def qrs_duration(codes, *, spike=0, **options):
    """Measure QRS durations in s from the slope of all leads together, after a pacing spike."""
    durations = []
    for _, _, onsets, signal in clean_beats(codes, **options):
        beat, zero = median_beat(signal, onsets)
        slope = np.abs(np.diff(beat, axis=0)).sum(axis=1)[zero - 8 : zero + 90]
        slope[: spike and 8 + spike] = 0
        steep = np.flatnonzero(slope > 0.08 * slope.max())
        durations.append((steep[-1] - steep[0]) / RATE)
    return np.array(durations)


def rates(codes, seeds=SEEDS):
    return np.array([60 / np.diff(onsets).mean() for _, _, onsets, _ in clean_beats(
        codes, seeds=seeds)])  # fmt: skip


def share(conditions):
    return np.mean(list(conditions))


@pytest.mark.parametrize(
    ("code", "low", "high"),
    [("SR", 50, 100), ("STACH", 100, 150), ("SBRAD", 38, 57), ("AFIB", 45, 165)],
)
def test_rates_fit_the_rhythm(code, low, high):
    found = rates([code])
    assert found.min() >= low
    assert found.max() <= high
    assert np.ptp(found) > 5


def test_rate_measured_from_the_signal_alone():
    for seed in range(4):
        record = simulate_record(["STACH"], seed=seed, noise=False)
        slope = np.abs(np.diff(record.signal, axis=0)).sum(axis=1)
        energy = np.convolve(slope, np.ones(40), "same")
        peaks = np.flatnonzero(
            (energy > 0.5 * energy.max())
            & (energy >= np.r_[energy[1:], 0])
            & (energy > np.r_[0, energy[:-1]])
        )
        peaks = peaks[np.r_[True, np.diff(peaks) > 100]]
        assert 95 < 60 * RATE / np.median(np.diff(peaks)) < 155


def test_fibrillation_is_irregular_and_sinus_rhythm_is_not():
    def irregularity(code):
        onsets = [item[2] for item in clean_beats([code])]
        return np.array([np.diff(o).std() / np.diff(o).mean() for o in onsets])

    assert np.median(irregularity("SR")) < 0.05
    assert np.median(irregularity("SARRH")) > 0.06
    assert irregularity("AFIB").min() > irregularity("SR").max()
    assert np.median(irregularity("AFIB")) > 0.15


def test_flutter_waves_keep_their_place_before_each_beat():
    for _, tracing, onsets, signal in clean_beats(["AFLT"], seeds=range(5)):
        ratios = np.diff(onsets) / np.diff(onsets).min()
        assert not tracing.rhythm.atrial.any()
        assert np.allclose(ratios, np.rint(ratios), atol=0.02)
        # Inferior sawtooth of 250 to 330 per minute.
        spectrum = np.abs(np.fft.rfft(signal[:, LEADS.index("III")], 40_000))
        hertz = np.fft.rfftfreq(40_000, 1 / RATE)
        flutter = (hertz > 4) & (hertz < 6)
        assert spectrum[flutter].max() > 3 * np.median(spectrum[(hertz > 3) & (hertz < 7)])


@pytest.mark.parametrize(("codes", "low", "high"), [(["SBRAD"], 0.115, 0.20),
                                                    (["SBRAD", "1AVB"], 0.20, 0.35)])  # fmt: skip
def test_pr_interval(codes, low, high):
    # Slow, so that no T wave is near.
    for patient, _, onsets, signal in clean_beats(codes):
        assert low <= patient.heart.pr <= high
        beat, zero = median_beat(signal, onsets, before=0.45)
        wave = beat[: zero - 20, 1]
        half = np.flatnonzero(wave > wave.max() / 2)
        # The P wave rises to half its height some 30 ms after its onset.
        onset = (zero - half[0]) / RATE + 0.030
        assert abs(onset - patient.heart.pr) < 0.02


def test_no_p_wave_in_fibrillation_and_before_extrasystoles():
    for _, tracing, _, _ in clean_beats(["AFIB", "PVC"], seeds=range(4)):
        assert not tracing.rhythm.atrial.any()
    for _, tracing, _, _ in clean_beats(["PVC"], seeds=range(4)):
        assert not tracing.rhythm.atrial[tracing.rhythm.ectopic > 0].any()


def test_bundle_branch_blocks_are_broad():
    normal, incomplete = qrs_duration(["NORM"]), qrs_duration(["IRBBB"])
    left, right = qrs_duration(["CLBBB"]), qrs_duration(["CRBBB"])
    assert np.median(normal) < np.median(incomplete) < 0.115
    assert min(np.median(left), np.median(right)) > 0.115
    assert normal.max() < 0.120
    assert share(left > normal.max()) == 1
    assert np.median(qrs_duration(["PACE"], spike=4)) > 0.12


def test_normal_v1_is_mainly_negative_and_r_grows_to_the_left():
    for qrs in qrs_waves(["NORM"]):
        assert qrs["V1"].max() < -qrs["V1"].min()
        assert qrs["V5"].max() > 1.5 * -qrs["V5"].min()
        ratio = [qrs[f"V{n}"].max() / -min(qrs[f"V{n}"].min(), -0.01) for n in (1, 2, 3, 4, 5)]
        assert ratio == sorted(ratio)
        assert qrs["aVR"].max() < -qrs["aVR"].min()
        assert qrs["I"].max() > -qrs["I"].min()


def test_left_bundle_branch_block():
    found = qrs_waves(["CLBBB"])
    assert share(q["V1"].max() < 0.35 * -q["V1"].min() for q in found) == 1
    assert share(q["V6"].min() > -0.4 * q["V6"].max() for q in found) >= 0.85
    # No septal q wave in V6.
    assert share(q["V6"][:20].min() > -0.06 for q in found) >= 0.9


def test_right_bundle_branch_block():
    for qrs in qrs_waves(["CRBBB"]):
        late = slice(len(qrs["V1"]) // 2, None)
        assert qrs["V1"][late].max() > 0.2
        assert qrs["V6"][late].min() < -0.08
    incomplete = qrs_waves(["IRBBB"])
    assert share(q["V1"][len(q["V1"]) // 2 :].max() > 0.04 for q in incomplete) > 0.8


def test_left_anterior_fascicular_block_turns_the_axis():
    for qrs in qrs_waves(["LAFB"]):
        assert -qrs["aVF"].min() > qrs["aVF"].max()
        assert qrs["aVL"].max() > -qrs["aVL"].min()


def test_inferior_infarction_has_q_waves():
    found, normal = qrs_waves(["IMI"]), qrs_waves(["NORM"])

    def q_depth(qrs, lead):
        return -qrs[lead][: round(0.030 * RATE)].min()

    assert share(q_depth(q, "III") > 0.1 and q_depth(q, "aVF") > 0.08 for q in found) > 0.85
    assert np.median([q_depth(q, "aVF") for q in found]) > 0.25
    assert np.median([q_depth(q, "aVF") for q in normal]) < 0.05
    assert share(q_depth(q, "aVL") < 0.08 for q in found) > 0.85


def test_anterior_infarction_loses_r_progression():
    def growth(codes):
        return np.array([q["V3"].max() for q in qrs_waves(codes)])

    normal = growth(["NORM"])
    assert np.median(growth(["ASMI"])) < 0.3 * np.median(normal)
    assert np.median(growth(["AMI"])) < 0.6 * np.median(normal)
    septal = [q["V2"].max() for q in qrs_waves(["ASMI"])]
    assert np.median(septal) < 0.1


def test_hypertrophy_meets_the_sokolow_lyon_criterion():
    def sokolow(codes):
        return np.array(
            [-q["V1"].min() + max(q["V5"].max(), q["V6"].max()) for q in qrs_waves(codes)]
        )

    assert np.median(sokolow(["LVH"])) > 3.5
    assert np.median(sokolow(["NORM"])) < 3.2


@pytest.mark.parametrize(
    ("codes", "lead", "sign"),
    [
        (["NORM"], "V5", 1),
        (["NORM"], "aVR", -1),
        (["CLBBB"], "V2", 1),
        (["CRBBB"], "V1", -1),
        (["ISC_"], "V5", -1),
        (["INVT"], "V5", -1),
        (["LVH", "ISC_"], "V6", -1),
    ],
)
def test_direction_of_t_waves(codes, lead, sign):
    signs = []
    for patient, _, onsets, signal in clean_beats(codes):
        beat, zero = median_beat(signal, onsets)
        start = zero + round((patient.heart.qrs + 0.09) * RATE)
        wave = beat[start : start + 100, LEADS.index(lead)]
        signs.append(np.sign(wave[np.abs(wave).argmax()]))
    assert share(s == sign for s in signs) >= 0.85


def test_st_segments():
    def level(codes, lead):
        found = []
        for patient, _, onsets, signal in clean_beats(codes):
            beat, zero = median_beat(signal, onsets)
            found.append(beat[zero + round((patient.heart.qrs + 0.06) * RATE), LEADS.index(lead)])
        return np.median(found)

    assert level(["STD_"], "V5") < -0.05
    assert level(["ISC_"], "V5") < -0.05
    assert level(["NST_"], "V5") < level(["NORM"], "V5") - 0.03
    assert level(["CLBBB"], "V2") > 0.2


def test_extrasystoles_are_early_broad_and_followed_by_a_pause():
    for _, tracing, _, _ in clean_beats(["PVC"]):
        rhythm = tracing.rhythm
        inside = (rhythm.onsets > 0) & (rhythm.onsets < 10)
        extra = np.flatnonzero(rhythm.ectopic > 0)
        assert 1 <= (rhythm.ectopic[inside] > 0).sum() <= 4
        usual = np.median(rhythm.intervals)
        assert (rhythm.intervals[extra] < 0.9 * usual).all()
        after = extra[extra + 1 < len(rhythm.intervals)] + 1
        assert (rhythm.intervals[after] > 1.1 * usual).all()
        pair = rhythm.intervals[extra[: len(after)]] + rhythm.intervals[after]
        assert np.allclose(pair, 2 * usual, rtol=0.2)


def test_bigeminy_alternates():
    for _, tracing, _, _ in clean_beats(["BIGU"], seeds=range(4)):
        inside = (tracing.rhythm.onsets > 1.5) & (tracing.rhythm.onsets < 9)
        ectopic = tracing.rhythm.ectopic[inside] > 0
        assert (ectopic[1:] != ectopic[:-1]).all()


def test_pacing_spikes_are_narrow_and_before_each_qrs():
    for _, _, onsets, signal in clean_beats(["PACE"], seeds=range(6)):
        beat, zero = median_beat(signal, onsets)
        second = np.abs(np.diff(beat, 2, axis=0)).sum(axis=1)
        assert abs(int(second[zero - 25 : zero + 60].argmax()) - 25) <= 4


def test_qt_follows_the_rate():
    def t_peak(code, seed):
        ((patient, _, onsets, signal),) = clean_beats([code], seeds=[seed])
        beat, zero = median_beat(signal, onsets, after=0.5 if code == "STACH" else 0.6)
        start = zero + round((patient.heart.qrs + 0.08) * RATE)
        wave = beat[start : start + 110, LEADS.index("V4")]
        return 0.08 + wave.argmax() / RATE

    pairs = [(t_peak("STACH", seed), t_peak("SBRAD", seed)) for seed in range(6)]
    assert share(fast < slow - 0.03 for fast, slow in pairs) == 1


def test_severity_is_continuous():
    def q_wave(severity):
        (qrs,) = qrs_waves(["IMI"], seeds=[3], severity=severity)
        return qrs["aVF"].min()

    depths = [q_wave(severity) for severity in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert depths == sorted(depths, reverse=True)
    assert depths[0] - depths[-1] > 0.2


def test_dipole_projection_is_dowers():
    dipole = NORMAL.ventricles.dipole[BASAL]
    lead_ii, v2 = (DOWER @ dipole)[[1, 3]]
    assert lead_ii == pytest.approx(0.235 * dipole[0] + 1.066 * dipole[1] - 0.132 * dipole[2])
    assert v2 == pytest.approx(0.044 * dipole[0] + 0.164 * dipole[1] - 1.387 * dipole[2])


@pytest.mark.parametrize("code", sorted(SIMULATED))
def test_every_code_gives_a_plausible_record(code):
    record = simulate_record([code], seed=11)
    assert record.signal.shape == (5000, 12)
    assert record.signal.dtype == np.float32
    assert record.leads == LEADS
    assert np.abs(record.signal).max() < 8
    assert (record.signal.std(axis=0) > 0.01).sum() >= 6
    assert all(
        value <= 0.001 for value in limb_lead_residuals(record.signal, record.valid).values()
    )


def test_records_are_deterministic_and_seeds_differ():
    first, again = (simulate_record(["AFIB", "PVC"], seed=5) for _ in range(2))
    assert np.array_equal(first.signal, again.signal)
    other = simulate_record(["AFIB", "PVC"], seed=6)
    assert not np.array_equal(first.signal, other.signal)


def test_noise_leaves_the_heart_as_it_is():
    alike = []
    for seed in range(8):
        clean, noisy = (
            simulate_record(["SR"], seed=seed, noise=noise).signal[:, LEADS.index("V5")]
            for noise in (False, True)
        )
        assert not np.array_equal(clean, noisy)
        alike.append(np.corrcoef(clean, noisy)[0, 1])
    assert np.median(alike) > 0.9


@pytest.mark.parametrize(("duration", "rate", "samples"), [(3.0, 500.0, 1500), (10.0, 100.0, 1000),
                                                           (20.0, 257.5, 5150)])  # fmt: skip
def test_length_and_rate_can_be_chosen(duration, rate, samples):
    record = simulate_record(["PVC"], seed=1, duration=duration, sampling_rate=rate)
    assert record.num_samples == samples
    assert record.sampling_rate == rate


@pytest.mark.parametrize(
    "codes",
    [["AFIB", "PVC"], ["LVH", "ISC_"], ["IMI", "1AVB"], ["STACH", "CRBBB"], ["CRBBB", "LAFB"],
     ["IMI", "ASMI"], ["PACE", "AFIB"], ["NORM", "SBRAD"]],
)  # fmt: skip
def test_compatible_findings_combine(codes):
    assert simulate_record(codes, seed=0).num_samples == 5000


@pytest.mark.parametrize(
    ("codes", "word"),
    [
        (["AFIB", "SR"], "rhythm"),
        (["CLBBB", "CRBBB"], "activated"),
        (["AFIB", "1AVB"], "PR interval"),
        (["NORM", "IMI"], "normal ECG"),
        (["PACE", "STACH"], "pacemaker"),
        (["CLBBB", "IMI"], "hides"),
        (["XYZ"], "XYZ"),
        ([next(iter(NEVER_SIMULATED))], "cannot simulate"),
        ([], "no statement"),
    ],
)
def test_contradictions_and_unknown_codes_are_refused(codes, word):
    with pytest.raises(ConfigError, match=word):
        simulate_record(codes, seed=0)


@pytest.mark.parametrize(
    "options",
    [{"duration": 0.1}, {"sampling_rate": 20.0}, {"severity": 1.5}, {"seed": -1},
     {"duration": float("nan")}],
)  # fmt: skip
def test_values_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        simulate_record(["SR"], **({"seed": 0} | options))


@pytest.mark.parametrize(
    ("electrode", "leads"),
    [
        ("RA", {"I", "II", "aVR", "aVL", "aVF"}),
        ("LA", {"I", "III", "aVR", "aVL", "aVF"}),
        ("LL", {"II", "III", "aVR", "aVL", "aVF"}),
        ("C3", {"V3"}),
    ],
)
def test_lost_electrodes_are_marked_invalid_or_flat(electrode, leads):
    ((_, tracing, _, _),) = clean_beats(["SR"], seeds=[0])
    lost = LostElectrode(ELECTRODES.index(electrode), 1000, 3000, flat=False)
    digital = quantise(replace(tracing, lost=lost))
    columns = [LEADS.index(lead) for lead in leads]
    assert (digital[1000:3000, columns] == INVALID).all()
    assert (digital == INVALID).sum() == 2000 * len(leads)
    if len(leads) == 1:
        flat = quantise(replace(tracing, lost=replace(lost, flat=True)))
        assert np.ptp(flat[1000:3000, columns]) == 0
        assert np.ptp(flat[3000:, columns]) > 100
        slow = resample(replace(tracing, lost=lost), 100)
        assert (quantise(slow)[200:600, columns] == INVALID).all()
