"""The duration of a recording, from its header if that is exact, and by decoding it otherwise."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

from monitor.audio import decode, files
from monitor.core.segments import SAMPLE_RATE_HZ

# Headers of these formats count samples. Headers of others, such as MPEG audio, may only be estimates.
EXACT_HEADERS = frozenset({".aif", ".aiff", ".flac", ".oga", ".ogg", ".rf64", ".w64", ".wav"})


async def duration_s(path: Path) -> float:
    """The duration of the recording in seconds.

    Raises:
        AudioError: the file cannot be used.
        DependencyError: ffmpeg is not available.
    """
    if path.suffix.lower() in EXACT_HEADERS and (known_s := await asyncio.to_thread(files.header_duration_s, path)):
        return known_s
    n_samples = 0
    async with aclosing(decode.blocks(path)) as blocks:
        async for block in blocks:
            n_samples += len(block)
    return n_samples / SAMPLE_RATE_HZ
