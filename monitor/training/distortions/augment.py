"""Batch augmentations: what happens to a recording on its way to a listener. Pure: numpy and a random generator.

Sounds are float32 (batch, samples) at 16 kHz. `chosen`, bool (batch,), marks the rows to change. A call takes a few
milliseconds for 200 rows, mostly for FFTs: less time than the network's own training step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.detect.spectrum import RATE_HZ
from monitor.training.distortions.transforms import irfft, rfft

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

QUIET = 1e-6
FOLLOWER_SAMPLES = RATE_HZ // 50  # 20 ms: the time resolution of the compressor's level


def at_level(sound: Floats, over: slice, level: float = 0.1) -> Floats:
    """Scales each row to an RMS of `level`, measured over the slice `over`. Silence stays silence."""
    gains = np.float32(level) / np.maximum(rms(sound[:, over]), np.float32(QUIET))
    scaled: Floats = (sound * gains).astype(np.float32, copy=False)
    return scaled


def rms(sound: Floats) -> Floats:
    """The root mean square of each row, float32 (batch, 1)."""
    level: Floats = np.sqrt(np.einsum("bs,bs->b", sound, sound) / sound.shape[1])[:, np.newaxis].astype(np.float32)
    return level


def at_speed(sound: Floats, factors: Floats, center: int) -> Floats:
    """Resamples each row to play `factors`, (batch,), times as fast, by Catmull-Rom interpolation.

    Sample `center` stays in place. Reads beyond the ends repeat the last samples.
    """
    n = sound.shape[1]
    places = np.clip(center + (np.arange(n) - center) * factors[:, np.newaxis], 1, n - 3)
    before = places.astype(np.int32)
    t = (places - before).astype(np.float32)
    flat, rows = sound.ravel(), np.arange(len(sound), dtype=np.int32)[:, np.newaxis] * n
    index = rows + before
    p0, p1, p2, p3 = (flat[index + k] for k in (-1, 0, 1, 2))
    out: Floats = p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))
    return out


def mixed(sound: Floats, other: Floats, snr_db: Floats, over: slice) -> Floats:
    """Adds `other`, `snr_db` (batch,) decibels below `sound`; both levels are measured over the slice `over`.

    Rows whose ratio is NaN stay unchanged.
    """
    gains = rms(sound[:, over]) / np.maximum(rms(other[:, over]), QUIET)
    gains *= 10 ** (-np.nan_to_num(snr_db)[:, np.newaxis] / 20) * ~np.isnan(snr_db)[:, np.newaxis]
    out: Floats = sound + other * gains.astype(np.float32)
    return out


def compressed(sound: Floats, chosen: Flags, rng: np.random.Generator) -> Floats:
    """Compresses the dynamics of rows by a factor of 0.2 to 0.9 in decibels, at random speeds up to a limiter's."""
    rows = sound[chosen]
    if not len(rows):
        return sound
    blocks = rows[:, : rows.shape[1] // FOLLOWER_SAMPLES * FOLLOWER_SAMPLES].reshape(len(rows), -1, FOLLOWER_SAMPLES)
    level = np.sqrt(np.square(blocks).mean(axis=2)) + QUIET  # (rows, blocks)
    slowness = rng.uniform(0, 0.9, (len(rows), 1)).astype(np.float32)
    for i in range(1, level.shape[1]):  # instant attack, slow release
        level[:, i] = np.maximum(level[:, i], level[:, i - 1] * slowness[:, 0])
    level = np.maximum(level, level.max(axis=1, keepdims=True) * 10 ** (-rng.uniform(20, 40) / 20))
    gains = level ** -rng.uniform(0.2, 0.9, (len(rows), 1)).astype(np.float32)
    out = sound.copy()
    out[chosen] = rows * _interpolated(gains, rows.shape[1])
    return out


def _interpolated(gains: Floats, samples: int) -> Floats:
    """Interpolates gains per block to gains per sample, linearly between the centers of blocks."""
    n = gains.shape[1]
    places = np.clip((np.arange(samples) + 0.5) / FOLLOWER_SAMPLES - 0.5, 0, n - 1)
    before = np.minimum(places.astype(np.int64), n - 2)
    part = (places - before).astype(np.float32)
    out: Floats = gains[:, before] * (1 - part) + gains[:, before + 1] * part
    return out


def clipped(sound: Floats, chosen: Flags, rng: np.random.Generator) -> Floats:
    """Drives rows 0 to 18 dB into soft or hard clipping."""
    rows = sound[chosen]
    if not len(rows):
        return sound
    drive = 10 ** (rng.uniform(0, 18, (len(rows), 1)) / 20) / np.maximum(np.abs(rows).max(axis=1, keepdims=True), QUIET)
    driven = rows * drive.astype(np.float32)
    hard = rng.random((len(rows), 1)) < 0.4
    out = sound.copy()
    out[chosen] = np.where(hard, np.clip(driven, -1, 1), np.tanh(driven))
    return out


def rounded(sound: Floats, chosen: Flags, rng: np.random.Generator) -> Floats:
    """Quantizes rows as coarsely as a quiet recording: to 6 to 10 bits at their peak."""
    rows = sound[chosen]
    if not len(rows):
        return sound
    steps = 2.0 ** rng.uniform(5, 9, (len(rows), 1)) / np.maximum(np.abs(rows).max(axis=1, keepdims=True), QUIET)
    out = sound.copy()
    out[chosen] = np.round(rows * steps) / steps
    return out


TREBLE_HZ = 2500.0  # a bright voice is louder above this
BRIGHT_DB = 18.0


def brightened(sound: Floats, chosen: Flags, rng: np.random.Generator) -> Floats:
    """Raises the treble of rows by up to BRIGHT_DB; in half of them, also adds treble copied from 2 to 4 kHz.

    Recordings of voices often end at 4 kHz, but announcers have treble. The band just below replaces the missing one:
    spectral band replication (Dietz et al., AES 112, 2002) without its envelope.
    """
    rows = sound[chosen]
    if not len(rows):
        return sound
    spectra = rfft(rows, axis=1)
    octaves = np.log2(np.maximum(np.arange(spectra.shape[1]) * (RATE_HZ / 2 / (spectra.shape[1] - 1)), 1) / TREBLE_HZ)
    gain_db = rng.uniform(0, BRIGHT_DB, (len(rows), 1)) * np.clip(octaves, 0, 1)
    quarter = spectra.shape[1] // 4
    part = 10 ** (rng.uniform(-20, -3, (len(rows), 1)) / 20) * (rng.random((len(rows), 1)) < 0.5)
    below = spectra[:, quarter : 2 * quarter] * part.astype(np.float32)
    spectra[:, 2 * quarter : 3 * quarter] += below
    spectra[:, 3 * quarter : 4 * quarter] += below / 2
    spectra *= (10 ** (gain_db / 20)).astype(np.float32)
    out = sound.copy()
    out[chosen] = irfft(spectra, sound.shape[1], axis=1)
    return out


def cut_out(images: Floats, chosen: Flags, rng: np.random.Generator) -> Floats:
    """Masks a random band or a random time span of images, float32 (batch, bands, spectra), with their mean, 0."""
    out = images.copy()
    _, bands, spectra = images.shape
    for i in np.flatnonzero(chosen):
        height, width = int(rng.integers(1, bands // 3)), int(rng.integers(1, spectra // 3))
        top, left = int(rng.integers(0, bands - height)), int(rng.integers(0, spectra - width))
        if rng.random() < 0.5:
            out[i, top : top + height] = 0
        else:
            out[i, :, left : left + width] = 0
    return out


def pink(rows: int, samples: int, rng: np.random.Generator) -> Floats:
    """Pink noise, which falls by 3 dB per octave, like traffic, wind and crowds: float32 (rows, samples), RMS 1."""
    shape = 1 / np.sqrt(np.maximum(np.fft.rfftfreq(samples, 1 / RATE_HZ), 30))
    noise = irfft(rfft(rng.standard_normal((rows, samples), np.float32), axis=1) * shape, samples, axis=1)
    out: Floats = (noise / np.maximum(rms(noise), QUIET)).astype(np.float32)
    return out
