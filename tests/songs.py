"""Real music as PCM, files and records: the input of the service tests."""

from __future__ import annotations

import uuid
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.wire import SAMPLE_RATE_HZ, Gap, GapReason, Record, Window
from monitor.audio import decode
from monitor.demo.music import cache_folder, fetch

Pcm = NDArray[np.int16]

SECOND = SAMPLE_RATE_HZ
ANCHOR = 1_700_000_000 * SECOND  # start of the tests' streams: a day in 2023


@dataclass(frozen=True, slots=True)
class Songs:
    """Excerpts of three recordings, each 40 s of 32 kHz mono PCM (int16), and a minute of silence."""

    one: Pcm
    two: Pcm
    unknown: Pcm
    silence: Pcm


async def songs() -> Songs:
    """Excerpts of the demo's music, which `make music` has downloaded."""
    music = (await fetch(cache_folder(), lambda step: None)).music
    paths = {recording.path.name: recording.path for recording in music}
    one, two, unknown = [
        (await decoded(paths[name]))[: seconds(40)]
        for name in ("highscoremusic.ogg", "training.ogg", "Insane-Gameplay_Looping.ogg")
    ]
    return Songs(one, two, unknown, np.zeros(seconds(60), np.int16))


async def decoded(path: Path) -> Pcm:
    return np.concatenate([block async for block in decode.blocks(path)])


def seconds(seconds: float) -> int:
    """The number of samples in this many seconds."""
    return round(seconds * SAMPLE_RATE_HZ)


def written(path: Path, pcm: Pcm, rate_hz: int = SAMPLE_RATE_HZ) -> Path:
    """A WAV file."""
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, rate_hz, 0, "NONE", ""))
        out.writeframes(pcm.astype("<i2").tobytes())
    return path


@dataclass
class Air:
    """A stream's records, one after the other in time."""

    stream: int
    clock: int = ANCHOR
    sessions: int = 0

    def play(self, pcm: Pcm, window_s: float = 2.0, first_sample: int = 0) -> list[Record]:
        """A session: audio in windows. If its first samples are skipped, `pcm` is the rest."""
        self.sessions += 1
        session = uuid.UUID(int=self.sessions)
        anchor = self.clock - first_sample
        records: list[Record] = []
        for piece in _pieces(pcm, seconds(window_s)):
            records.append(Window(self.stream, session, len(records), anchor, self.clock - anchor, piece.tobytes()))
            self.clock += len(piece)
        return records

    def gap(self, length_s: float, reason: GapReason = GapReason.CONNECTING) -> list[Record]:
        start = self.clock
        self.clock += seconds(length_s)
        return [Gap(self.stream, start, self.clock, reason)]


def _pieces(pcm: Pcm, length: int) -> Iterator[Pcm]:
    for first in range(0, len(pcm), length):
        yield pcm[first : first + length]
