"""The fingerprint's front end: turns 32 kHz PCM into one normalized log-mel image per segment. Training uses it, too.

An image depends only on its own segment's samples. Overlapping segments share spectra, because the step between
spectra divides the hop. The bands start at 250 Hz, inside a telephone's band, so DC has no effect.
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
SEGMENT_SAMPLES_16K = SEGMENT_SAMPLES // DECIMATION
HOP_SAMPLES_16K = HOP_SAMPLES // DECIMATION

# Kaiser's formula: 62 dB of attenuation with a transition band of a tenth of the new rate on either side of its Nyquist
# frequency. Aliases stay above 7,200 Hz at 16 kHz, and above 3,700 Hz at 8 kHz.
KAISER_BETA = 5.7
FIR_BLOCK_SAMPLES = 32  # outputs per matrix product: three times as fast as a convolution

STEP_SAMPLES = 500  # between spectra: 31 ms, which divides the hop
LOW_DECIMATION = 2  # low bands use half the rate: finer spectra from shorter transforms
WINDOW_LOW_SAMPLES = 1024  # 128 ms at 8 kHz, to separate neighboring low notes
WINDOW_HIGH_SAMPLES = 1024  # 64 ms at 16 kHz
SPECTRA = (SEGMENT_SAMPLES_16K - LOW_DECIMATION * WINDOW_LOW_SAMPLES) // STEP_SAMPLES + 1
# The spectra are centered in the segment; the margins at its ends exceed half the length of the filters.
FIRST_SAMPLE = (SEGMENT_SAMPLES_16K - LOW_DECIMATION * WINDOW_LOW_SAMPLES - (SPECTRA - 1) * STEP_SAMPLES) // 2
LOW_BANDS, HIGH_BANDS = 128, 32
BANDS = LOW_BANDS + HIGH_BANDS
# A telephone's band; above it the range in which voices have little energy, up to where many voice recordings end.
LOW_HZ, SPLIT_HZ, HIGH_HZ = 250.0, 3700.0, 7200.0
FLOOR = 1e-4  # of the loudest band's power: more than 40 dB below it, noise and codec artifacts prevail
FLOOR_HIGH = 1e-7  # of the loudest low band's power, for the high bands: 16-bit audio has little below
TINY = 1e-20
SILENCE_RMS = 10 ** (-66 / 20) * 32768  # 16 quantization steps: below, rounding is a fifth of the signal
BLOCK_SPECTRA = 512  # per transform call: whole hops, and 4 MB, which fits a core's cache


def decimate(pcm: NDArray[np.int16]) -> Floats:
    """Converts 32 kHz PCM, int16 (n_samples,), to 16 kHz sound, float32 (n_samples // DECIMATION,), full scale 1.0.

    Output sample i is at input sample 2 i.
    """
    sound = _decimate_by_2(pcm, 77, 7950 / SAMPLE_RATE_HZ, HOP_SAMPLES_16K // FIR_BLOCK_SAMPLES)
    sound /= 32768
    return sound


def images(pcm: NDArray[np.int16]) -> Floats:
    """The images of all whole segments of 32 kHz PCM, int16 (n_samples,).

    Returns:
        float32 (k, BANDS, SPECTRA); mean 0 and variance 1 per image and band group, or all zero.
    """
    n_segments = count_segments(len(pcm))
    if n_segments == 0:
        return np.empty((0, BANDS, SPECTRA), np.float32)
    return normalize(segment_view(mel_power(decimate(pcm)))[:n_segments])


def audible(pcm: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Whether each whole segment of 32 kHz PCM, int16 (n_samples,), is louder than silence: bool (k,)."""
    halves = pcm[: len(pcm) // HOP_SAMPLES * HOP_SAMPLES].reshape(-1, HOP_SAMPLES).astype(np.float32)
    halves -= halves.mean(axis=1, keepdims=True)  # DC is not sound
    power = np.square(halves).mean(axis=1)
    is_audible: NDArray[np.bool_] = (power[:-1] + power[1:]) / 2 > SILENCE_RMS**2
    return is_audible


def mel_power(sound: Floats, rfft: Transform = np.fft.rfft) -> Floats:
    """The mel power of 16 kHz sound: float32 (..., n_samples) to (..., spectra, BANDS).

    The first spectrum starts at FIRST_SAMPLE. `rfft` is the transform to use.
    """
    if sound.ndim > 1:  # a batch: row by row, so that a row's spectra stay in the processor's cache
        return np.stack([mel_power(row, rfft) for row in sound])
    half = _decimate_by_2(sound, 97, 3975 / RATE_HZ, HOP_SAMPLES_16K // LOW_DECIMATION // FIR_BLOCK_SAMPLES)
    low = _spectra(half[FIRST_SAMPLE // LOW_DECIMATION :], WINDOW_LOW_SAMPLES, STEP_SAMPLES // LOW_DECIMATION)
    high = _spectra(
        sound[FIRST_SAMPLE + (LOW_DECIMATION * WINDOW_LOW_SAMPLES - WINDOW_HIGH_SAMPLES) // 2 :],
        WINDOW_HIGH_SAMPLES,
        STEP_SAMPLES,
    )[: len(low)]
    power = np.empty((len(low), BANDS), np.float32)
    _write_mel_power(
        power[:, :LOW_BANDS],
        low,
        mel_bank(LOW_BANDS, LOW_HZ, SPLIT_HZ, RATE_HZ // LOW_DECIMATION, WINDOW_LOW_SAMPLES),
        rfft,
    )
    _write_mel_power(
        power[:, LOW_BANDS:], high, mel_bank(HIGH_BANDS, SPLIT_HZ, HIGH_HZ, RATE_HZ, WINDOW_HIGH_SAMPLES), rfft
    )
    return power


def _spectra(sound: Floats, window: int, step: int) -> Floats:
    view: Floats = np.lib.stride_tricks.sliding_window_view(sound, window)[::step]
    return view


def _write_mel_power(power: Floats, windows: Floats, bank_at: tuple[int, Floats], rfft: Transform) -> None:
    taper, (low, bank) = hann(windows.shape[1]), bank_at
    for first in range(0, len(windows), BLOCK_SPECTRA):
        spectra = rfft(windows[first : first + BLOCK_SPECTRA] * taper, axis=1)[:, low : low + bank.shape[1]]
        power[first : first + BLOCK_SPECTRA] = matmul_by_hop(
            spectra.real**2 + spectra.imag**2, bank.T, HOP_SAMPLES_16K // STEP_SAMPLES
        )


def matmul_by_hop(rows: Floats, matrix: Floats, rows_a_hop: int) -> Floats:
    """Computes rows @ matrix hop by hop, so that the result is bit-identical however the sound is cut.

    BLAS sums in an order that depends on a row's place in its input. A difference in the last bit could be rounded
    differently by the 8-bit network.

    rows: float32 (n, inputs). matrix: float32 (inputs, outputs). Returns float32 (n, outputs).
    """
    n, hops = len(rows), -(-len(rows) // rows_a_hop)
    padded = np.zeros((hops * rows_a_hop, rows.shape[1]), np.float32)
    padded[:n] = rows
    product: Floats = (padded.reshape(hops, rows_a_hop, rows.shape[1]) @ matrix).reshape(-1, matrix.shape[1])
    return product[:n]


def segment_view(power: Floats) -> Floats:
    """Groups spectra, float32 (n, BANDS), by segment: a view of shape (k, BANDS, SPECTRA)."""
    view: Floats = np.lib.stride_tricks.sliding_window_view(power, SPECTRA, axis=0)[:: HOP_SAMPLES_16K // STEP_SAMPLES]
    return view


def normalize(power: Floats) -> Floats:
    """Turns mel power, float32 (k, BANDS, SPECTRA), into images of the same shape.

    Takes logarithms above a floor and removes the mean and the variance. Low and high bands are normalized separately,
    because treble has a thousandth of the power of most sounds.
    """
    low, high = power[:, :LOW_BANDS], power[:, LOW_BANDS:]
    loudest = low.max(axis=(1, 2), keepdims=True)
    image = np.empty(power.shape, np.float32)
    deviation = _flatten(low, loudest * FLOOR, 0.0, image[:, :LOW_BANDS])
    floors = np.maximum(high.max(axis=(1, 2), keepdims=True) * FLOOR, loudest * FLOOR_HIGH)
    _flatten(high, floors, deviation * np.float32(0.5), image[:, LOW_BANDS:])
    return image


def _flatten(power: Floats, floors: Floats, minimum: Floats | float, out: Floats) -> Floats:
    logs = np.log10(np.maximum(power, floors + TINY))
    logs -= logs.mean(axis=(1, 2), keepdims=True)
    deviation: Floats = np.sqrt(np.square(logs).mean(axis=(1, 2), keepdims=True))
    np.divide(logs, np.maximum(deviation, np.maximum(minimum, 1e-6)), out=out)
    return deviation


@cache
def hann(window: int) -> Floats:
    """A Hann window, float32 (window,)."""
    return np.hanning(window).astype(np.float32)


@cache
def mel_bank(bands: int, low_hz: float, high_hz: float, rate_hz: int, window: int) -> tuple[int, Floats]:
    """Triangular mel filters of unit area: the first FFT bin they use, and their weights, float32 (bands, bins)."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (low_hz, high_hz))
    edges = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    bins_hz = np.arange(window // 2 + 1) * rate_hz / window
    left, center, right = (edges[i : bands + i, np.newaxis] for i in range(3))
    bank = np.clip(np.minimum((bins_hz - left) / (center - left), (right - bins_hz) / (right - center)), 0, None)
    used = np.flatnonzero(bank.any(axis=0))
    bank = bank[:, used[0] : used[-1] + 1]
    return int(used[0]), (bank / bank.sum(axis=1, keepdims=True)).astype(np.float32)


def _decimate_by_2(sound: NDArray[np.int16] | Floats, taps: int, cutoff: float, rows_a_hop: int) -> Floats:
    """Low-passes sound (n,) and keeps every second sample: (n // 2,).

    cutoff: as a share of the sample rate. rows_a_hop: rows of FIR_BLOCK_SAMPLES outputs per hop.
    """
    n_out = len(sound) // 2
    blocks = -(-n_out // FIR_BLOCK_SAMPLES)
    matrix = _decimation_matrix(taps, cutoff)
    padded = np.zeros((blocks - 1) * 2 * FIR_BLOCK_SAMPLES + len(matrix) if blocks else 0, np.float32)
    if not blocks:
        return padded
    used = sound[: len(padded) - taps // 2]
    padded[taps // 2 : taps // 2 + len(used)] = used
    frames = np.lib.stride_tricks.sliding_window_view(padded, len(matrix))[:: 2 * FIR_BLOCK_SAMPLES]
    halved: Floats = matmul_by_hop(frames, matrix, rows_a_hop).reshape(-1)[:n_out]
    return halved


@cache
def _decimation_matrix(taps: int, cutoff: float) -> Floats:
    """A low-pass filter at FIR_BLOCK_SAMPLES positions, two samples apart: float32 (inputs, FIR_BLOCK_SAMPLES)."""
    times = np.arange(taps) - taps // 2
    response = np.sinc(2 * cutoff * times) * np.kaiser(taps, KAISER_BETA)
    response /= response.sum()
    matrix = np.zeros(((FIR_BLOCK_SAMPLES - 1) * 2 + taps, FIR_BLOCK_SAMPLES), np.float32)
    for i in range(FIR_BLOCK_SAMPLES):
        matrix[i * 2 : i * 2 + taps, i] = response
    return matrix
