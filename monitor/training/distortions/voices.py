"""Voices for training: concatenated speech, and speech bent along melodies as a stand-in for singing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.detect.spectrum import RATE_HZ
from monitor.training.cache import Cache, Clip

Pcm = NDArray[np.int16]

LEVEL = 2000.0  # RMS of every clip in 16-bit steps; leaves room for peaks 16 times as high
FADE_S = 0.005  # avoids clicks at the ends of clips
NOTE_S = (0.15, 0.7)
SCALE = np.array([-12, -10, -8, -7, -5, -3, -1, 0, 2, 4, 5, 7, 9])  # semitones of a major scale
VIBRATO_HZ, VIBRATO_SEMITONES = 5.5, 0.4


def concatenated(cache: Cache, clips: Sequence[Clip], max_s: float, rng: np.random.Generator) -> Pcm:
    """Concatenates clips in random order, each at LEVEL with faded ends, up to a total of `max_s`: int16 (n,)."""
    parts: list[Pcm] = []
    left = int(max_s * RATE_HZ)
    for i in rng.permutation(len(clips)):
        clip = clips[i]
        # Use at most 120 s of a clip, so that one long recording does not fill the whole length.
        part = at_level(cache.pcm[clip.start : clip.start + min(clip.samples, 120 * RATE_HZ, left)])
        parts.append(part)
        left -= len(part)
        if left <= 0:
            break
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)


def at_level(pcm: Pcm, rate_hz: int = RATE_HZ) -> Pcm:
    """Scales a clip, int16 (n,), to LEVEL and fades its ends. A silent clip becomes empty."""
    sound = pcm.astype(np.float32)
    loudness = float(np.sqrt(np.mean(sound**2))) if len(sound) else 0.0
    if loudness <= 1:
        return pcm[:0]
    sound *= LEVEL / loudness
    _fade(sound, int(FADE_S * rate_hz))
    return np.clip(sound, -32767, 32767).astype(np.int16)


def sung(speech: Pcm, seconds: float, rng: np.random.Generator, rate_hz: int = RATE_HZ) -> Pcm:
    """Bends speech along a melody of random notes with vibrato, by resampling, which also shifts its formants."""
    n = int(min(seconds * rate_hz, len(speech) / 2))
    semitones = np.empty(n, np.float32)
    at = 0
    while at < n:
        length = int(rng.uniform(*NOTE_S) * rate_hz)
        semitones[at : at + length] = rng.choice(SCALE)
        at += length
    phase = 2 * np.pi * VIBRATO_HZ * np.arange(n) / rate_hz
    semitones += VIBRATO_SEMITONES * np.sin(phase) * (rng.random() < 0.8)
    places = np.cumsum(2 ** (semitones / 12))
    used = places[places < len(speech) - 1]
    return np.interp(used, np.arange(len(speech)), speech).astype(np.int16)


def _fade(sound: NDArray[np.float32], samples: int) -> None:
    n = min(samples, len(sound) // 2)
    ramp = np.linspace(0, 1, n, dtype=np.float32)
    sound[:n] *= ramp
    sound[len(sound) - n :] *= ramp[::-1]
