"""How long a recording is, without listening to it where its header can be trusted."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

from monitor.audio import decode, files
from monitor.core.segments import SAMPLE_RATE_HZ

# Their headers count samples. Others, such as MPEG's, may only estimate: those are decoded.
COUNTED = frozenset({".aif", ".aiff", ".flac", ".oga", ".ogg", ".rf64", ".w64", ".wav"})


async def duration_s(path: Path) -> float:
    """Length of the recording in seconds.

    Raises:
        AudioError: the file cannot be used.
        DependencyError: there is no ffmpeg.
    """
    if path.suffix.lower() in COUNTED and (known_s := await asyncio.to_thread(files.header_duration_s, path)):
        return known_s
    n_samples = 0
    async with aclosing(decode.blocks(path)) as blocks:
        async for block in blocks:
            n_samples += len(block)
    return n_samples / SAMPLE_RATE_HZ
