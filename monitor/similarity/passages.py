"""Cuts sound into passages, the ten seconds that PANNs listens to at once. Pure."""

from __future__ import annotations

import uuid

import numpy as np
from numpy.typing import NDArray

from ingest.wire import Window
from monitor.core.segments import PASSAGE_SAMPLES, SAMPLE_RATE_HZ

Pcm = NDArray[np.int16]

# What is left at a recording's end is a passage too, if it is long enough to sound like something.
MIN_REST_SAMPLES = SAMPLE_RATE_HZ


def passages_of(pcm: Pcm) -> list[Pcm]:
    """All passages of a whole recording; one that is shorter than a passage is one as it is."""
    pieces = [pcm[first : first + PASSAGE_SAMPLES] for first in range(0, len(pcm), PASSAGE_SAMPLES)]
    if len(pieces) > 1 and len(pieces[-1]) < MIN_REST_SAMPLES:
        pieces.pop()
    return pieces


class PassageCutter:
    """One stream's passages. They begin at multiples of their length of a session, whoever hears it, and are whole."""

    def __init__(self) -> None:
        self._session: uuid.UUID | None = None
        self._pieces: list[Pcm] = []
        self._next = 0  # sample of the session

    def feed(self, window: Window) -> list[tuple[int, Pcm]]:
        """Takes the next window: the passages that it completes, each with the stream clock of its first sample."""
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
