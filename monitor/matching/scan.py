"""Scans a recording with the same matching as a stream, faster than real time. Stores nothing."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from monitor.audio import decode
from monitor.core.segmenter import Segmenter
from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ
from monitor.core.tracking.play import Play
from monitor.matching.matcher import Matcher, Memory

# Segments matched at a time: enough for an efficient search, few enough to report progress often.
BLOCK_SEGMENTS = 60


@dataclass(frozen=True, slots=True)
class Scanned:
    """Progress of a scan, in samples, and the plays that ended since the last one.

    reported: for each play that opened since then, the sample at which it could first be reported.
    """

    n_samples: int
    plays: tuple[Play, ...]
    reported: Mapping[uuid.UUID, int]


async def scan(matcher: Matcher, path: Path) -> AsyncGenerator[Scanned, None]:
    """Yields the plays of a recording, on a stream clock that starts with the recording.

    Raises:
        AudioError: the file cannot be used.
    """
    memory, segmenter, n_samples = Memory(), Segmenter(), 0
    async with aclosing(decode.blocks(path)) as blocks:
        async for block in blocks:
            n_samples += len(block)
            start, pcm = segmenter.feed(block)
            for first in range(0, max(0, len(pcm) - HOP_SAMPLES), BLOCK_SEGMENTS * HOP_SAMPLES):
                part = pcm[first : first + (BLOCK_SEGMENTS + 1) * HOP_SAMPLES]
                memory, update = await matcher.match(memory, start + first, part, f"scan {path.name}")
                yield Scanned(start + first + len(part), update.closed, update.opened_at)
    yield Scanned(n_samples, memory.open, {})


def seconds(n_samples: int) -> float:
    """Converts samples to seconds, rounded to milliseconds."""
    return round(n_samples / SAMPLE_RATE_HZ, 3)
