"""The baseline detector: a deterministic log-mel embedding without training, to which the benchmark compares others.

A one-second segment becomes its mean log-mel spectrum and the first DCT coefficient of its change over time. Both are
liftered: low quefrencies, which loudspeakers, equalizers and speech change most, are dropped, and high ones, which
tell the notes, are raised. That distinguishes recordings and tolerates an offset of a quarter second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.core.likelihood import LlrCurve
from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ, SEGMENT_SAMPLES, count_segments
from monitor.core.thresholds import Thresholds
from monitor.detect import spectrum
from monitor.detect.detector import DetectorInfo, Embeddings

Floats = NDArray[np.float32]

WINDOW_SAMPLES = 4096  # 128 ms, to separate neighboring low notes
STEP_SAMPLES = 1000  # divides HOP_SAMPLES: overlapping segments share their spectra
SPECTRA = (SEGMENT_SAMPLES - WINDOW_SAMPLES) // STEP_SAMPLES + 1  # per segment
BANDS = 64
LOW_HZ, HIGH_HZ = 200.0, 4000.0  # the range that telephone lines and small loudspeakers carry
FLOOR = 1e-4  # of the segment's loudest band: more than 40 dB below it, noise and codec artifacts prevail
QUEFRENCIES = range(4, BANDS)  # lower ones carry spectral tilt and formants
COSINES = 2  # over time; a shift of 0.25 s already destroys a third one
# Fine structure is fainter, so it is raised. Of powers from 0 to 2 and gains from 0.6 to 2, this lifter and a gain of
# 1.3 for the change over time were the best on `tune`. The task was to distinguish unknown music from music 4 dB over
# speech.
LIFTER = 1 + np.arange(QUEFRENCIES.start, BANDS, dtype=np.float32) / 32
COURSE_GAIN = 1.3
BLOCK_SPECTRA = 2000  # per transform call: whole hops, 32 MB


class LogMelDetector:
    """The log-mel embedding. It has no state but its constant matrices."""

    thresholds = Thresholds(
        LlrCurve((0.2, 0.5, 0.75, 0.9, 1.0), (-1.0, 0.0, 0.9, 2.0, 3.0)),
        LlrCurve((0.2, 0.6, 0.75, 0.85, 0.95), (-1.0, 0.0, 0.4, 1.5, 3.0)),
        open_llr=20.0,
    )

    def __init__(self) -> None:
        self._taper = np.hanning(WINDOW_SAMPLES).astype(np.float32)
        self._mel = _mel_bank()
        self._over_time = _cosines(SPECTRA)[:COSINES]
        self._over_bands = _cosines(BANDS)[QUEFRENCIES.start :]
        self._weights = np.stack([LIFTER, COURSE_GAIN * LIFTER])
        self.info = DetectorInfo("fingerprint", "logmel-1", self._checksum(), self._weights.size)

    def embed(self, pcm: NDArray[np.int16]) -> Embeddings:
        """Embeds every whole segment of 32 kHz mono PCM, int16 (n_samples,)."""
        n_segments = count_segments(len(pcm))
        if n_segments == 0:
            return Embeddings(np.empty((0, self.info.dimensions), np.float32), np.empty(0, np.bool_))
        audible = spectrum.audible(pcm)
        images = _per_segment(self._log_mel_power(pcm))[:n_segments]  # (k, BANDS, SPECTRA)
        floors = images.max(axis=(1, 2), keepdims=True) * FLOOR
        logs = np.log10(np.maximum(images, floors + np.finfo(np.float32).tiny))
        cepstra = self._over_time @ logs.transpose(0, 2, 1) @ self._over_bands.T  # (k, COSINES, quefrencies)
        vectors = (cepstra * self._weights).reshape(len(images), -1)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        audible &= norms[:, 0] > 0
        unit = np.where(audible[:, np.newaxis], vectors / np.where(norms > 0, norms, 1), 0)
        return Embeddings(unit.astype(np.float32), audible)

    def embed_many(self, pcms: Sequence[NDArray[np.int16]]) -> list[Embeddings]:
        """See `Detector`."""
        return [self.embed(pcm) for pcm in pcms]

    def _log_mel_power(self, pcm: NDArray[np.int16]) -> Floats:
        """The mel power of every spectrum, float32 (spectra, BANDS)."""
        sound = pcm.astype(np.float32) / 32768
        bins = self._mel.shape[1]
        windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW_SAMPLES)[::STEP_SAMPLES]
        parts = []
        for first in range(0, len(windows), BLOCK_SPECTRA):
            spectra = np.fft.rfft(windows[first : first + BLOCK_SPECTRA] * self._taper, axis=1)[:, :bins]
            power: Floats = (spectra.real**2 + spectra.imag**2).astype(np.float32, copy=False)
            parts.append(spectrum.matmul_by_hop(power, self._mel.T, HOP_SAMPLES // STEP_SAMPLES))
        return np.concatenate(parts)

    def _checksum(self) -> str:
        digest = hashlib.sha256(f"{WINDOW_SAMPLES} {STEP_SAMPLES} {FLOOR} {spectrum.SILENCE_RMS}".encode())
        for part in (self._mel, self._over_time, self._over_bands, self._weights):
            digest.update(np.round(part, 4).astype("<f4").tobytes())  # rounded: libraries differ in the last bits
        return digest.hexdigest()[:12]


def _per_segment(spectra: Floats) -> Floats:
    """Groups spectra by segment: a view of shape (k, BANDS, SPECTRA)."""
    steps = HOP_SAMPLES // STEP_SAMPLES
    images: Floats = np.lib.stride_tricks.sliding_window_view(spectra, SPECTRA, axis=0)[::steps]
    return images


def _cosines(n: int) -> Floats:
    """The orthonormal DCT-II, float32 (n, n), one basis function per row."""
    rows, columns = np.arange(n)[:, np.newaxis], np.arange(n)
    basis = np.cos(np.pi * rows * (columns + 0.5) / n) * np.sqrt(2 / n)
    basis[0] /= np.sqrt(2)
    cosines: Floats = basis.astype(np.float32)
    return cosines


def _mel_bank() -> Floats:
    """Triangular mel filters of unit area, float32 (BANDS, bins up to HIGH_HZ)."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (LOW_HZ, HIGH_HZ))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    bins_hz = np.arange(round(HIGH_HZ * WINDOW_SAMPLES / SAMPLE_RATE_HZ) + 1) * SAMPLE_RATE_HZ / WINDOW_SAMPLES
    left, center, right = (edges[i : len(edges) - 2 + i, np.newaxis] for i in range(3))
    bank = np.clip(np.minimum((bins_hz - left) / (center - left), (right - bins_hz) / (right - center)), 0, None)
    unit_area: Floats = (bank / bank.sum(axis=1, keepdims=True)).astype(np.float32)
    return unit_area
