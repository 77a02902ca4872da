"""Cuts audio into passages: the ten seconds that PANNs analyzes at once. Pure."""

from __future__ import annotations

import uuid

import numpy as np
from numpy.typing import NDArray

from ingest.wire import Window
from monitor.core.segments import PASSAGE_SAMPLES, SAMPLE_RATE_HZ

Pcm = NDArray[np.int16]

# The rest at the end of a recording is a passage if it is at least this long.
MIN_REST_SAMPLES = SAMPLE_RATE_HZ


def passages_of(pcm: Pcm) -> list[Pcm]:
    """Cuts a whole recording, int16 of shape (n_samples,), into passages. A shorter recording is a single one."""
    pieces = [pcm[first : first + PASSAGE_SAMPLES] for first in range(0, len(pcm), PASSAGE_SAMPLES)]
    if len(pieces) > 1 and len(pieces[-1]) < MIN_REST_SAMPLES:
        pieces.pop()
    return pieces


class PassageCutter:
    """Cuts one stream into whole passages, which start at multiples of their length since the start of the session.

    So every process cuts a session in the same way.
    """

    def __init__(self) -> None:
        self._session: uuid.UUID | None = None
        self._pieces: list[Pcm] = []
        self._next = 0  # sample of the session

    def feed(self, window: Window) -> list[tuple[int, Pcm]]:
        """Takes the next window; returns the passages that it completes, with the stream clock of their first samples.

        A passage is int16 PCM of shape (PASSAGE_SAMPLES,), 32 kHz mono.
        """
        if window.session_id != self._session or window.first_sample != self._next:
            self._session, self._pieces = window.session_id, []
        pcm = np.frombuffer(window.pcm, "<i2")
        self._next = window.first_sample + len(pcm)
        if not self._pieces:  # wait for the next multiple
            skipped = min(-window.first_sample % PASSAGE_SAMPLES, len(pcm))
            pcm = pcm[skipped:]
        if len(pcm):
            self._pieces.append(pcm)
        held = sum(len(piece) for piece in self._pieces)
        if held < PASSAGE_SAMPLES:
            return []
        run, first = np.concatenate(self._pieces), window.anchor + self._next - held
        whole = held // PASSAGE_SAMPLES
        rest = run[whole * PASSAGE_SAMPLES :]
        self._pieces = [rest] if len(rest) else []
        return [
            (first + i * PASSAGE_SAMPLES, run[i * PASSAGE_SAMPLES : (i + 1) * PASSAGE_SAMPLES]) for i in range(whole)
        ]
