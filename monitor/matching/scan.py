"""Scans a recording: the same matching as for a stream, as fast as it goes. Stores nothing."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from monitor.audio import decode
from monitor.core.play import Play
from monitor.core.segmenter import Segmenter
from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ
from monitor.matching.matcher import Matcher, Memory

# Segments decided on at once: enough to search in one call, few enough to report progress often.
BLOCK_SEGMENTS = 60


@dataclass(frozen=True, slots=True)
class Scanned:
    """How far a scan is, in samples, and the plays that ended since it last said so.

    reported: when there was enough to say so first, in samples, of plays that opened since then.
    """

    n_samples: int
    plays: tuple[Play, ...]
    reported: Mapping[uuid.UUID, int]


async def scan(matcher: Matcher, path: Path) -> AsyncGenerator[Scanned, None]:
    """Plays of a recording; their stream clock starts at its beginning.

    Raises:
        AudioError: the file cannot be used.
    """
    memory, cutter, n_samples = Memory(), Segmenter(), 0
    async with aclosing(decode.blocks(path)) as blocks:
        async for block in blocks:
            n_samples += len(block)
            start, pcm = cutter.feed(block)
            for first in range(0, max(0, len(pcm) - HOP_SAMPLES), BLOCK_SEGMENTS * HOP_SAMPLES):
                part = pcm[first : first + (BLOCK_SEGMENTS + 1) * HOP_SAMPLES]
                memory, step = await matcher.match(memory, start + first, part, f"scan {path.name}")
                yield Scanned(start + first + len(part), step.closed, step.opened_at)
    yield Scanned(n_samples, memory.open, {})


def seconds(n_samples: int) -> float:
    """Samples in seconds, to the millisecond."""
    return round(n_samples / SAMPLE_RATE_HZ, 3)
