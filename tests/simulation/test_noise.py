"""Noise arises at electrodes, is mostly mild, and is written down when it is not."""

import numpy as np
import pytest

from ecgjepa.simulation.heart.noise import ELECTRODES, LEAD_OF_ELECTRODES, draw_noise
from ecgjepa.simulation.heart.patients import generator


@pytest.fixture(scope="module")
def noises():
    return [draw_noise(generator(7, number), 5000, 500.0, 0.25) for number in range(250)]


def test_leads_subtract_electrodes():
    assert LEAD_OF_ELECTRODES.shape == (8, len(ELECTRODES))
    # The same potential everywhere is seen by no lead.
    assert np.allclose(LEAD_OF_ELECTRODES.sum(axis=1), 0)


def test_noise_is_mostly_mild_and_sometimes_bad(noises):
    size = np.array([noise.leads.std(axis=0).max() for noise in noises])
    assert 0.01 < np.median(size) < 0.12
    assert np.percentile(size, 99) > 0.2


def test_strong_noise_is_noted(noises):
    noted = {column: np.mean([column in noise.notes for noise in noises])
             for column in ("baseline_drift", "static_noise", "burst_noise",
                            "electrodes_problems")}  # fmt: skip
    assert all(0.01 < value < 0.25 for value in noted.values()), noted
    drift = [np.abs(noise.leads).max() for noise in noises if "baseline_drift" in noise.notes]
    other = [np.abs(noise.leads).max() for noise in noises if not noise.notes]
    assert np.median(drift) > 3 * np.median(other)


def test_spectrum_has_drift_muscle_and_little_between(noises):
    power = np.mean(
        [np.abs(np.fft.rfft(noise.leads, axis=0)) ** 2 for noise in noises], axis=(0, 2)
    )
    hertz = np.fft.rfftfreq(5000, 1 / 500)

    def mean_power(low, high):
        return power[(hertz >= low) & (hertz < high)].mean()

    assert mean_power(0.05, 0.5) > 100 * mean_power(5, 15)
    assert mean_power(60, 140) > mean_power(160, 240)
    assert mean_power(49.5, 50.5) > 3 * mean_power(40, 47)


def test_short_and_slow_records_work():
    for num_samples, rate in [(100, 100.0), (257, 257.5), (20_000, 2000.0)]:
        noise = draw_noise(generator(1), num_samples, rate, 0.3)
        assert noise.leads.shape == (num_samples, 8)
        assert np.isfinite(noise.leads).all()


def test_electrodes_are_lost_now_and_then_and_never_contradict_einthoven():
    lost = [draw_noise(generator(3, n), 100, 100.0, 0.3).lost for n in range(800)]
    lost = [item for item in lost if item is not None]
    assert 3 <= len(lost) <= 25
    assert {item.flat for item in lost} == {True, False}
    for item in lost:
        assert 0 <= item.start < item.stop <= 100
        assert not (item.flat and item.electrode < 3)
