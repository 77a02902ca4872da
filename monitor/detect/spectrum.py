"""The fingerprint's front end: 32 kHz PCM to one normalised log-mel image a segment. Training uses the same functions.

Every image is made of its own segment's samples only. The spectra of overlapping segments are shared, because the
step between them divides the hop. What a telephone line leaves, and DC never, is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ, SEGMENT_SAMPLES, count

Floats = NDArray[np.float32]
Transform = Callable[..., Any]

RATE_HZ = 8000  # speech, small loudspeakers and low bit rates leave little above 4 kHz
DECIMATION = SAMPLE_RATE_HZ // RATE_HZ
SEGMENT = SEGMENT_SAMPLES // DECIMATION
HOP = HOP_SAMPLES // DECIMATION

# Kaiser's formula: 62 dB for a transition of 650 Hz around 3,975, so that what folds back stays above 3,700 Hz.
TAPS = 193
CUTOFF_HZ = 3975.0
KAISER_BETA = 5.7
BLOCK = 32  # outputs of the filter at a time, as one matrix product: a third of the time of a convolution

WINDOW = 1024  # 128 ms, so that neighbouring low notes are apart
STEP = 250
SPECTRA = (SEGMENT - WINDOW) // STEP + 1
# The spectra lie in the middle of the segment; what is left at its ends is more than half of the filter's length.
FIRST = (SEGMENT - WINDOW - (SPECTRA - 1) * STEP) // 2
BANDS = 128
LOW_HZ, HIGH_HZ = 250.0, 3700.0
FLOOR = 1e-4  # of the loudest band's power: beneath 40 dB there is mostly noise and codec
TINY = 1e-20
SILENCE_RMS = 10 ** (-66 / 20) * 32768  # 16 steps of 16 bit: beneath, rounding is a fifth of the sound
BLOCK_SPECTRA = 512  # at a time: 4 MB, which stays in the cache of one core


def decimate(pcm: NDArray[np.int16]) -> Floats:
    """8 kHz sound in +-1 of 32 kHz PCM: shape (len(pcm) // DECIMATION,), sample i lies at sample 4 i of the PCM."""
    n_out = len(pcm) // DECIMATION
    blocks = -(-n_out // BLOCK)
    matrix = _decimation_matrix()
    step = BLOCK * DECIMATION
    padded = np.zeros((blocks - 1) * step + len(matrix) if blocks else 0, np.float32)
    used = pcm[: len(padded) - TAPS // 2]
    padded[TAPS // 2 : TAPS // 2 + len(used)] = used
    if not blocks:
        return padded
    frames = np.lib.stride_tricks.sliding_window_view(padded, len(matrix))[::step]
    sound: Floats = (frames @ matrix).reshape(-1)[:n_out]
    return sound


def images(pcm: NDArray[np.int16]) -> Floats:
    """The image of every whole segment of 32 kHz PCM: float32 (k, BANDS, SPECTRA), mean 0, variance 1, or all zero."""
    n_segments = count(len(pcm))
    if n_segments == 0:
        return np.empty((0, BANDS, SPECTRA), np.float32)
    return normalised(per_segment(mel_power(decimate(pcm)))[:n_segments])


def audible(pcm: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Whether each segment has more than silence in it: bool (k,)."""
    halves = pcm[: len(pcm) // HOP_SAMPLES * HOP_SAMPLES].reshape(-1, HOP_SAMPLES).astype(np.float32)
    halves -= halves.mean(axis=1, keepdims=True)  # a constant voltage is no sound
    power = np.square(halves).mean(axis=1)
    heard: NDArray[np.bool_] = (power[:-1] + power[1:]) / 2 > SILENCE_RMS**2
    return heard


def mel_power(sound: Floats, rfft: Transform = np.fft.rfft) -> Floats:
    """Mel power of every spectrum of 8 kHz sound, from FIRST samples in: (..., samples) to (..., spectra, BANDS)."""
    windows = np.lib.stride_tricks.sliding_window_view(sound[..., FIRST:], WINDOW, axis=-1)[..., ::STEP, :]
    shape = windows.shape[:-1]
    if windows.ndim > 2:  # a batch: one row after the other, whose spectra stay in the processor's cache
        return np.stack([mel_power(row, rfft) for row in sound])
    taper, (low, bank) = hann(), mel_bank()
    power = np.empty((*shape, BANDS), np.float32)
    for first in range(0, len(windows), BLOCK_SPECTRA):
        spectra = rfft(windows[first : first + BLOCK_SPECTRA] * taper, axis=1)[:, low : low + bank.shape[1]]
        power[first : first + BLOCK_SPECTRA] = (spectra.real**2 + spectra.imag**2) @ bank.T
    return power


def per_segment(power: Floats) -> Floats:
    """The spectra of every segment, a view: (k, BANDS, SPECTRA)."""
    view: Floats = np.lib.stride_tricks.sliding_window_view(power, SPECTRA, axis=0)[:: HOP // STEP]
    return view


def normalised(power: Floats) -> Floats:
    """Images of mel power (k, BANDS, SPECTRA): logarithms above a floor, without level and contrast."""
    floors = power.max(axis=(1, 2), keepdims=True) * FLOOR
    logs = np.log10(np.maximum(power, floors + TINY))
    logs -= logs.mean(axis=(1, 2), keepdims=True)
    deviation = np.sqrt(np.square(logs).mean(axis=(1, 2), keepdims=True))
    image: Floats = logs / np.maximum(deviation, 1e-6)
    return image


@cache
def hann() -> Floats:
    """The taper of a spectrum: (WINDOW,)."""
    return np.hanning(WINDOW).astype(np.float32)


@cache
def mel_bank() -> tuple[int, Floats]:
    """The first bin that counts and triangles on the mel scale, each of area one: (BANDS, bins)."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (LOW_HZ, HIGH_HZ))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    bins_hz = np.arange(WINDOW // 2 + 1) * RATE_HZ / WINDOW
    left, centre, right = (edges[i : BANDS + i, np.newaxis] for i in range(3))
    bank = np.clip(np.minimum((bins_hz - left) / (centre - left), (right - bins_hz) / (right - centre)), 0, None)
    used = np.flatnonzero(bank.any(axis=0))
    bank = bank[:, used[0] : used[-1] + 1]
    return int(used[0]), (bank / bank.sum(axis=1, keepdims=True)).astype(np.float32)


@cache
def _decimation_matrix() -> Floats:
    """The low-pass filter at BLOCK places: (inputs, BLOCK)."""
    times = np.arange(TAPS) - TAPS // 2
    taps = np.sinc(2 * CUTOFF_HZ / SAMPLE_RATE_HZ * times) * np.kaiser(TAPS, KAISER_BETA)
    taps /= taps.sum() * 32768
    matrix = np.zeros(((BLOCK - 1) * DECIMATION + TAPS, BLOCK), np.float32)
    for i in range(BLOCK):
        matrix[i * DECIMATION : i * DECIMATION + TAPS, i] = taps
    return matrix
