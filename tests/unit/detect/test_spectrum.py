"""The front end: no aliases, images independent of level, and each made only of its own segment's samples."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from monitor.detect import spectrum


def _tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    return np.round(20_000 * np.sin(2 * np.pi * hz * np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ)).astype(
        np.int16
    )


def test_decimation_keeps_time_and_level() -> None:
    sound = spectrum.decimate(_tone(1000))
    expected = 20_000 / 32_768 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
    assert len(sound) == 16_000
    assert np.abs(sound - expected)[50:-50].max() < 0.002


@pytest.mark.parametrize("hz", [9000, 12_000, 15_000])
def test_sound_above_the_band_does_not_alias_into_it(hz: float) -> None:
    assert np.abs(spectrum.decimate(_tone(hz)))[50:-50].max() < 20_000 / 32_768 * 10 ** (-55 / 20)


@pytest.mark.parametrize("n", [0, 1, 3, 4, 127, 128, 129, 32_001])
def test_any_length_can_be_decimated(n: int) -> None:
    assert len(spectrum.decimate(_tone(500, 2)[:n])) == n // 2


def test_images_have_zero_mean_and_unit_variance() -> None:
    pcm = (np.random.default_rng(1).standard_normal(3 * SEGMENT_SAMPLES) * 2000).astype(np.int16)
    images = spectrum.images(pcm)
    assert images.shape == (5, spectrum.BANDS, spectrum.SPECTRA)
    for bands in (images[:, : spectrum.LOW_BANDS], images[:, spectrum.LOW_BANDS :]):
        assert bands.mean(axis=(1, 2)) == pytest.approx(0, abs=1e-4)
        assert bands.std(axis=(1, 2)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("hz", "band"), [(1000, 48), (3000, 113), (5000, 141), (7000, 158)])
def test_a_tone_peaks_in_its_band(hz: float, band: int) -> None:
    power = spectrum.mel_power(spectrum.decimate(_tone(hz)))
    assert abs(int(power.mean(axis=0).argmax()) - band) <= 1


def test_sound_without_treble_has_none_in_its_image() -> None:
    noise = np.fft.rfft(np.random.default_rng(4).standard_normal(SEGMENT_SAMPLES))
    noise[3400:] = 0
    pcm = np.round(np.fft.irfft(noise) * 32_767 * 0.2 / np.fft.irfft(noise).std() / 4).astype(np.int16)
    high = spectrum.images(pcm)[:, spectrum.LOW_BANDS :]
    assert np.abs(high).max() < 0.5


def test_an_image_depends_only_on_its_own_segment() -> None:
    rng = np.random.default_rng(2)
    pcm = (rng.standard_normal(3 * SEGMENT_SAMPLES) * 2000).astype(np.int16)
    other = (rng.standard_normal(3 * SEGMENT_SAMPLES) * 9000).astype(np.int16)
    own = slice(2 * HOP_SAMPLES, 2 * HOP_SAMPLES + SEGMENT_SAMPLES)
    other[own] = pcm[own]
    assert np.array_equal(spectrum.images(other)[2], spectrum.images(pcm)[2])


@pytest.mark.parametrize("first", [1, 4, 7])
def test_images_are_bit_identical_however_the_sound_is_cut(first: int) -> None:
    pcm = np.random.default_rng(first).normal(0, 3000, 40 * HOP_SAMPLES).astype(np.int16)
    assert np.array_equal(spectrum.images(pcm)[first:], spectrum.images(pcm[first * HOP_SAMPLES :]))


def test_silence_has_an_empty_image() -> None:
    assert not spectrum.images(np.zeros(SEGMENT_SAMPLES, np.int16)).any()


def test_a_batch_gives_the_same_result_as_its_rows() -> None:
    rows = np.random.default_rng(3).standard_normal((3, spectrum.SEGMENT_SAMPLES_16K)).astype(np.float32)
    assert np.array_equal(spectrum.mel_power(rows)[1], spectrum.mel_power(rows[1]))
