"""Cuts a growing run of PCM into blocks of whole segments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.core.segments import HOP_SAMPLES, count_segments


class Segmenter:
    """Takes the PCM of one session in pieces of any size. Segments start at multiples of HOP_SAMPLES of the session."""

    def __init__(self, first_sample: int = 0) -> None:
        """Starts at a sample of the session; no segment contains audio before the next multiple of HOP_SAMPLES."""
        self._rest = np.empty(0, np.int16)
        self._rest_start = first_sample
        self._skip = -first_sample % HOP_SAMPLES

    @property
    def next_sample(self) -> int:
        """The sample of the session that must come next."""
        return self._rest_start + len(self._rest)

    def feed(self, pcm: NDArray[np.int16]) -> tuple[int, NDArray[np.int16]]:
        """Adds PCM, int16 (n,), and removes the whole segments.

        Returns:
            The sample of the session where the first segment starts, and the segments' PCM, int16 (m,), which is empty
            as long as no segment is complete.
        """
        run = np.concatenate([self._rest, pcm])
        skipped = min(self._skip, len(run))
        self._skip -= skipped
        run, start = run[skipped:], self._rest_start + skipped
        hops = count_segments(len(run))
        taken = run[: (hops + 1) * HOP_SAMPLES] if hops else run[:0]
        self._rest, self._rest_start = run[hops * HOP_SAMPLES :], start + hops * HOP_SAMPLES
        return start, taken
