"""Augmentations keep a batch's shape, and do what they say by as much as they say."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.training import augment, responses
from monitor.training.augment import Floats

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


def test_a_mix_has_the_ratio_that_was_asked_for(sound: Floats, rng: np.random.Generator) -> None:
    other = rng.standard_normal(sound.shape).astype(np.float32)
    snr_db = np.array([-12, -6, 0, 6, 12, np.nan], np.float32)
    added = augment.mixed(sound, other, snr_db, WHOLE) - sound
    assert _level_db(sound)[:5] - _level_db(added[:5]) == pytest.approx(snr_db[:5], abs=0.01)
    assert not added[5].any()


def test_silence_stays_silence_at_any_level() -> None:
    assert not augment.at_level(np.zeros((2, 100), np.float32), WHOLE).any()


def test_levels_are_equal_afterwards(sound: Floats) -> None:
    uneven = sound * np.logspace(-3, 0, ROWS, dtype=np.float32)[:, np.newaxis]
    assert augment.rms(augment.at_level(uneven, WHOLE, 0.2)) == pytest.approx(0.2, rel=1e-4)


@pytest.mark.parametrize("factor", [0.94, 1.0, 1.06])
def test_speed_moves_the_pitch_and_holds_the_middle(factor: float) -> None:
    times = np.arange(SAMPLES) / RATE_HZ
    tone = np.sin(2 * np.pi * 500 * times).astype(np.float32)
    tone[: SAMPLES // 2] *= 0.1  # louder from the middle on
    heard = augment.at_speed(tone[np.newaxis], np.array([factor], np.float32), SAMPLES // 2)[0]
    second = heard[SAMPLES // 2 : SAMPLES // 2 + 8000]
    assert np.abs(np.fft.rfft(second * np.hanning(8000))).argmax() * 2 == pytest.approx(500 * factor, abs=2)
    assert np.abs(heard[SAMPLES // 2 + 8 : SAMPLES // 2 + 200]).max() > 0.9
    assert np.abs(heard[SAMPLES // 2 - 200 : SAMPLES // 2 - 8]).max() < 0.2


def test_a_compressor_brings_loud_and_quiet_together(sound: Floats, rng: np.random.Generator) -> None:
    sound[:, : SAMPLES // 2] *= 0.1
    heard = augment.compressed(sound, _flags(0, 1, 2), rng)

    def difference_db(batch: Floats) -> Floats:
        return _level_db(batch[:, SAMPLES * 3 // 4 :]) - _level_db(batch[:, SAMPLES // 8 : SAMPLES * 3 // 8])

    assert (difference_db(heard)[:3] < difference_db(sound)[:3] - 2).all()
    assert np.array_equal(heard[3:], sound[3:])


def test_a_clipped_row_stays_within_one_and_others_as_they_are(sound: Floats, rng: np.random.Generator) -> None:
    heard = augment.clipped(sound, _flags(1, 4), rng)
    assert np.abs(heard[[1, 4]]).max() <= 1
    assert np.array_equal(heard[[0, 2, 3, 5]], sound[[0, 2, 3, 5]])
    assert not np.array_equal(heard[1], sound[1])


def test_rounding_leaves_few_values(sound: Floats, rng: np.random.Generator) -> None:
    heard = augment.rounded(sound, _flags(0), rng)
    assert len(np.unique(heard[0])) <= 2**10 + 1
    assert np.array_equal(heard[1:], sound[1:])


def test_nothing_is_changed_where_nothing_is_chosen(sound: Floats, rng: np.random.Generator) -> None:
    for change in (augment.compressed, augment.clipped, augment.rounded):
        assert np.array_equal(change(sound, _flags(), rng), sound)


def test_bright_rows_have_more_treble_and_others_as_much_as_before(rng: np.random.Generator) -> None:
    low = np.fft.irfft(np.fft.rfft(rng.standard_normal((ROWS, SAMPLES)))[:, : SAMPLES // 4], SAMPLES).astype(np.float32)
    heard = augment.brightened(low, _flags(*range(ROWS - 1)), rng)

    def treble(batch: Floats) -> Floats:
        return np.square(np.abs(np.fft.rfft(batch)[:, SAMPLES // 4 + 10 :])).sum(axis=1)

    assert (treble(heard)[:-1] > 10 * treble(low)[:-1]).any()
    assert np.array_equal(heard[-1], low[-1])


def test_a_cut_out_is_smaller_than_the_image(rng: np.random.Generator) -> None:
    images = np.ones((ROWS, 160, 28), np.float32)
    cut = augment.cut_out(images, _flags(0, 1, 2), rng)
    missing = (cut == 0).mean(axis=(1, 2))
    assert ((missing[:3] > 0) & (missing[:3] < 0.4)).all()
    assert not missing[3:].any()
    assert images.all()


def test_pink_noise_falls_with_pitch(rng: np.random.Generator) -> None:
    power = (np.abs(np.fft.rfft(augment.pink(4, 16_000, rng), axis=1)) ** 2).mean(axis=0)
    assert 10 * np.log10(power[200:400].mean() / power[1600:3200].mean()) == pytest.approx(9, abs=1)


def test_a_response_is_causal_and_has_power_one(rng: np.random.Generator) -> None:
    bank = responses.bank(12, SAMPLES, rng)
    assert bank.dtype == np.complex64
    assert np.mean(np.abs(bank) ** 2, axis=1) == pytest.approx(1, rel=1e-4)
    impulses = np.fft.irfft(bank, SAMPLES, axis=1)
    energy = np.square(impulses)
    before = energy[:, SAMPLES // 2 :].sum(axis=1)  # in a transform, time before zero is at the end
    assert (before < 1e-3 * energy.sum(axis=1)).all()


def test_banks_of_one_seed_are_alike() -> None:
    first, second = (responses.bank(3, 4000, np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(first, second)
