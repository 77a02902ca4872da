"""Segments: the short frames that one embedding describes, and their arithmetic in samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 32_000
SEGMENT_SAMPLES = 32_000  # 1 s: NAFP (Chang et al., ICASSP 2021, section 2) found it short enough for broadcast edits
HOP_SAMPLES = 16_000  # 0.5 s


def count(n_samples: int) -> int:
    """How many whole segments lie in n_samples."""
    return 0 if n_samples < SEGMENT_SAMPLES else 1 + (n_samples - SEGMENT_SAMPLES) // HOP_SAMPLES


def frames(pcm: NDArray[np.int16]) -> NDArray[np.int16]:
    """A read-only view of the whole segments of pcm: shape (k, SEGMENT_SAMPLES)."""
    if count(len(pcm)) == 0:
        return np.empty((0, SEGMENT_SAMPLES), np.int16)
    return np.lib.stride_tricks.sliding_window_view(pcm, SEGMENT_SAMPLES)[::HOP_SAMPLES]
