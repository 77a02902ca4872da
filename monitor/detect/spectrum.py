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

from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ, SEGMENT_SAMPLES, count_segments

Floats = NDArray[np.float32]
Transform = Callable[..., Any]

RATE_HZ = 16_000
DECIMATION = SAMPLE_RATE_HZ // RATE_HZ
SEGMENT = SEGMENT_SAMPLES // DECIMATION
HOP = HOP_SAMPLES // DECIMATION

# Kaiser's formula: 62 dB for a transition of a tenth of the new rate below half of it and above, so that what folds
# back stays above 7,200 Hz, and in the lower sound above 3,700 Hz.
KAISER_BETA = 5.7
BLOCK = 32  # outputs of a filter at a time, as one matrix product: a third of the time of a convolution

STEP = 500  # of the spectra: 31 ms, which divides the hop
LOWER = 2  # the lower bands are taken from sound of half the rate: their spectra are finer, transforms shorter
WINDOW_LOW = 1024  # 128 ms, so that neighbouring low notes are apart
WINDOW_HIGH = 1024  # 64 ms
SPECTRA = (SEGMENT - LOWER * WINDOW_LOW) // STEP + 1
# The spectra lie in the middle of the segment; what is left at its ends is more than half of the filters' lengths.
FIRST = (SEGMENT - LOWER * WINDOW_LOW - (SPECTRA - 1) * STEP) // 2
LOW_BANDS, HIGH_BANDS = 128, 32
BANDS = LOW_BANDS + HIGH_BANDS
# What a telephone line leaves; and above it what voices leave free, up to where many recordings of voices end.
LOW_HZ, MIDDLE_HZ, HIGH_HZ = 250.0, 3700.0, 7200.0
FLOOR = 1e-4  # of the loudest band's power: beneath 40 dB there is mostly noise and codec
FLOOR_HIGH = 1e-7  # the high bands' floor is no lower than so much of the loudest low band: 16 bit has little beneath
TINY = 1e-20
SILENCE_RMS = 10 ** (-66 / 20) * 32768  # 16 steps of 16 bit: beneath, rounding is a fifth of the sound
BLOCK_SPECTRA = 512  # at a time: whole hops, and 4 MB, which stays in the cache of one core


def decimate(pcm: NDArray[np.int16]) -> Floats:
    """16 kHz sound in +-1 of 32 kHz PCM: shape (len(pcm) // DECIMATION,), sample i lies at sample 2 i of the PCM."""
    sound = _halved(pcm, 77, 7950 / SAMPLE_RATE_HZ, HOP // BLOCK)
    sound /= 32768
    return sound


def images(pcm: NDArray[np.int16]) -> Floats:
    """The image of every whole segment of 32 kHz PCM: float32 (k, BANDS, SPECTRA), mean 0, variance 1, or all zero."""
    n_segments = count_segments(len(pcm))
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
    """Mel power of every spectrum of 16 kHz sound, from FIRST samples in: (..., samples) to (..., spectra, BANDS)."""
    if sound.ndim > 1:  # a batch: one row after the other, whose spectra stay in the processor's cache
        return np.stack([mel_power(row, rfft) for row in sound])
    half = _halved(sound, 97, 3975 / RATE_HZ, HOP // LOWER // BLOCK)
    low = _spectra(half[FIRST // LOWER :], WINDOW_LOW, STEP // LOWER)
    high = _spectra(sound[FIRST + (LOWER * WINDOW_LOW - WINDOW_HIGH) // 2 :], WINDOW_HIGH, STEP)[: len(low)]
    power = np.empty((len(low), BANDS), np.float32)
    _into(power[:, :LOW_BANDS], low, mel_bank(LOW_BANDS, LOW_HZ, MIDDLE_HZ, RATE_HZ // LOWER, WINDOW_LOW), rfft)
    _into(power[:, LOW_BANDS:], high, mel_bank(HIGH_BANDS, MIDDLE_HZ, HIGH_HZ, RATE_HZ, WINDOW_HIGH), rfft)
    return power


def _spectra(sound: Floats, window: int, step: int) -> Floats:
    view: Floats = np.lib.stride_tricks.sliding_window_view(sound, window)[::step]
    return view


def _into(power: Floats, windows: Floats, bank_at: tuple[int, Floats], rfft: Transform) -> None:
    taper, (low, bank) = hann(windows.shape[1]), bank_at
    for first in range(0, len(windows), BLOCK_SPECTRA):
        spectra = rfft(windows[first : first + BLOCK_SPECTRA] * taper, axis=1)[:, low : low + bank.shape[1]]
        power[first : first + BLOCK_SPECTRA] = by_hop(spectra.real**2 + spectra.imag**2, bank.T, HOP // STEP)


def by_hop(rows: Floats, matrix: Floats, rows_a_hop: int) -> Floats:
    """rows @ matrix, hop by hop, so that cutting the sound elsewhere gives the same numbers to the bit.

    In which order BLAS adds up depends on where a row lies among those that it is given. Where a last bit differs, the
    network's 8 bit may round otherwise.
    """
    n, hops = len(rows), -(-len(rows) // rows_a_hop)
    padded = np.zeros((hops * rows_a_hop, rows.shape[1]), np.float32)
    padded[:n] = rows
    product: Floats = (padded.reshape(hops, rows_a_hop, rows.shape[1]) @ matrix).reshape(-1, matrix.shape[1])
    return product[:n]


def per_segment(power: Floats) -> Floats:
    """The spectra of every segment, a view: (k, BANDS, SPECTRA)."""
    view: Floats = np.lib.stride_tricks.sliding_window_view(power, SPECTRA, axis=0)[:: HOP // STEP]
    return view


def normalised(power: Floats) -> Floats:
    """Images of mel power (k, BANDS, SPECTRA): logarithms above a floor, without level and contrast.

    The low and the high bands are freed of their levels apart: treble is a thousandth of most sounds' power.
    """
    low, high = power[:, :LOW_BANDS], power[:, LOW_BANDS:]
    loudest = low.max(axis=(1, 2), keepdims=True)
    image = np.empty(power.shape, np.float32)
    deviation = _flattened(low, loudest * FLOOR, 0.0, image[:, :LOW_BANDS])
    floors = np.maximum(high.max(axis=(1, 2), keepdims=True) * FLOOR, loudest * FLOOR_HIGH)
    _flattened(high, floors, deviation * np.float32(0.5), image[:, LOW_BANDS:])
    return image


def _flattened(power: Floats, floors: Floats, minimum: Floats | float, out: Floats) -> Floats:
    logs = np.log10(np.maximum(power, floors + TINY))
    logs -= logs.mean(axis=(1, 2), keepdims=True)
    deviation: Floats = np.sqrt(np.square(logs).mean(axis=(1, 2), keepdims=True))
    np.divide(logs, np.maximum(deviation, np.maximum(minimum, 1e-6)), out=out)
    return deviation


@cache
def hann(window: int) -> Floats:
    """The taper of a spectrum: (window,)."""
    return np.hanning(window).astype(np.float32)


@cache
def mel_bank(bands: int, low_hz: float, high_hz: float, rate_hz: int, window: int) -> tuple[int, Floats]:
    """The first bin that counts and triangles on the mel scale, each of area one: (bands, bins)."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (low_hz, high_hz))
    edges = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    bins_hz = np.arange(window // 2 + 1) * rate_hz / window
    left, centre, right = (edges[i : bands + i, np.newaxis] for i in range(3))
    bank = np.clip(np.minimum((bins_hz - left) / (centre - left), (right - bins_hz) / (right - centre)), 0, None)
    used = np.flatnonzero(bank.any(axis=0))
    bank = bank[:, used[0] : used[-1] + 1]
    return int(used[0]), (bank / bank.sum(axis=1, keepdims=True)).astype(np.float32)


def _halved(sound: NDArray[np.int16] | Floats, taps: int, cutoff: float, rows_a_hop: int) -> Floats:
    """Every second sample of low-passed sound: (n // 2,). rows_a_hop: rows of BLOCK outputs."""
    n_out = len(sound) // 2
    blocks = -(-n_out // BLOCK)
    matrix = _halving_matrix(taps, cutoff)
    padded = np.zeros((blocks - 1) * 2 * BLOCK + len(matrix) if blocks else 0, np.float32)
    if not blocks:
        return padded
    used = sound[: len(padded) - taps // 2]
    padded[taps // 2 : taps // 2 + len(used)] = used
    frames = np.lib.stride_tricks.sliding_window_view(padded, len(matrix))[:: 2 * BLOCK]
    halved: Floats = by_hop(frames, matrix, rows_a_hop).reshape(-1)[:n_out]
    return halved


@cache
def _halving_matrix(taps: int, cutoff: float) -> Floats:
    """A low-pass filter at BLOCK places, two samples apart: (inputs, BLOCK). cutoff: of the rate."""
    times = np.arange(taps) - taps // 2
    response = np.sinc(2 * cutoff * times) * np.kaiser(taps, KAISER_BETA)
    response /= response.sum()
    matrix = np.zeros(((BLOCK - 1) * 2 + taps, BLOCK), np.float32)
    for i in range(BLOCK):
        matrix[i * 2 : i * 2 + taps, i] = response
    return matrix
