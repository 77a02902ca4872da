"""Augmentations change the chosen rows of a batch, and by the right amount."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.training.distortions import augment
from monitor.training.distortions.augment import Floats

ROWS, SAMPLES, RATE_HZ = 6, 24_000, 16_000
WHOLE = slice(None)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture
def sound(rng: np.random.Generator) -> Floats:
    return rng.standard_normal((ROWS, SAMPLES)).astype(np.float32) * 0.1


def _flags(*rows: int) -> augment.Flags:
    flags = np.zeros(ROWS, np.bool_)
    flags[list(rows)] = True
    return flags


def _level_db(sound: Floats) -> Floats:
    level: Floats = 20 * np.log10(augment.rms(sound)[:, 0])
    return level


def test_a_mix_has_the_requested_ratio(sound: Floats, rng: np.random.Generator) -> None:
    other = rng.standard_normal(sound.shape).astype(np.float32)
    snr_db = np.array([-12, -6, 0, 6, 12, np.nan], np.float32)
    added = augment.mixed(sound, other, snr_db, WHOLE) - sound
    assert _level_db(sound)[:5] - _level_db(added[:5]) == pytest.approx(snr_db[:5], abs=0.01)
    assert not added[5].any()


def test_silence_stays_silence() -> None:
    assert not augment.at_level(np.zeros((2, 100), np.float32), WHOLE).any()


def test_all_rows_get_the_same_level(sound: Floats) -> None:
    uneven = sound * np.logspace(-3, 0, ROWS, dtype=np.float32)[:, np.newaxis]
    assert augment.rms(augment.at_level(uneven, WHOLE, 0.2)) == pytest.approx(0.2, rel=1e-4)


@pytest.mark.parametrize("factor", [0.94, 1.0, 1.06])
def test_a_speed_change_shifts_the_pitch_and_keeps_the_center(factor: float) -> None:
    times = np.arange(SAMPLES) / RATE_HZ
    tone = np.sin(2 * np.pi * 500 * times).astype(np.float32)
    tone[: SAMPLES // 2] *= 0.1  # louder starting at the middle
    heard = augment.at_speed(tone[np.newaxis], np.array([factor], np.float32), SAMPLES // 2)[0]
    second = heard[SAMPLES // 2 : SAMPLES // 2 + 8000]
    assert np.abs(np.fft.rfft(second * np.hanning(8000))).argmax() * 2 == pytest.approx(500 * factor, abs=2)
    assert np.abs(heard[SAMPLES // 2 + 8 : SAMPLES // 2 + 200]).max() > 0.9
    assert np.abs(heard[SAMPLES // 2 - 200 : SAMPLES // 2 - 8]).max() < 0.2


def test_compression_reduces_level_differences(sound: Floats, rng: np.random.Generator) -> None:
    sound[:, : SAMPLES // 2] *= 0.1
    heard = augment.compressed(sound, _flags(0, 1, 2), rng)

    def difference_db(batch: Floats) -> Floats:
        return _level_db(batch[:, SAMPLES * 3 // 4 :]) - _level_db(batch[:, SAMPLES // 8 : SAMPLES * 3 // 8])

    assert (difference_db(heard)[:3] < difference_db(sound)[:3] - 2).all()
    assert np.array_equal(heard[3:], sound[3:])


def test_only_the_chosen_rows_are_clipped(sound: Floats, rng: np.random.Generator) -> None:
    heard = augment.clipped(sound, _flags(1, 4), rng)
    assert np.abs(heard[[1, 4]]).max() <= 1
    assert np.array_equal(heard[[0, 2, 3, 5]], sound[[0, 2, 3, 5]])
    assert not np.array_equal(heard[1], sound[1])


def test_rounding_leaves_few_distinct_values(sound: Floats, rng: np.random.Generator) -> None:
    heard = augment.rounded(sound, _flags(0), rng)
    assert len(np.unique(heard[0])) <= 2**10 + 1
    assert np.array_equal(heard[1:], sound[1:])


def test_without_chosen_rows_nothing_changes(sound: Floats, rng: np.random.Generator) -> None:
    for change in (augment.compressed, augment.clipped, augment.rounded):
        assert np.array_equal(change(sound, _flags(), rng), sound)


def test_only_the_chosen_rows_get_more_treble(rng: np.random.Generator) -> None:
    low = np.fft.irfft(np.fft.rfft(rng.standard_normal((ROWS, SAMPLES)))[:, : SAMPLES // 4], SAMPLES).astype(np.float32)
    heard = augment.brightened(low, _flags(*range(ROWS - 1)), rng)

    def treble(batch: Floats) -> Floats:
        return np.square(np.abs(np.fft.rfft(batch)[:, SAMPLES // 4 + 10 :])).sum(axis=1)

    assert (treble(heard)[:-1] > 10 * treble(low)[:-1]).any()
    assert np.array_equal(heard[-1], low[-1])


def test_a_mask_covers_a_part_of_the_image(rng: np.random.Generator) -> None:
    images = np.ones((ROWS, 160, 28), np.float32)
    cut = augment.cut_out(images, _flags(0, 1, 2), rng)
    missing = (cut == 0).mean(axis=(1, 2))
    assert ((missing[:3] > 0) & (missing[:3] < 0.4)).all()
    assert not missing[3:].any()
    assert images.all()


def test_pink_noise_falls_by_3_db_per_octave(rng: np.random.Generator) -> None:
    power = (np.abs(np.fft.rfft(augment.pink(4, 16_000, rng), axis=1)) ** 2).mean(axis=0)
    assert 10 * np.log10(power[200:400].mean() / power[1600:3200].mean()) == pytest.approx(9, abs=1)
