"""Decodes a file into blocks of whole passages, so that a recording of any length fits in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import numpy as np

from monitor.audio import decode
from monitor.core.segments import PASSAGE_SAMPLES
from monitor.errors import AudioError
from monitor.similarity.passages import MIN_REST_SAMPLES, Pcm


async def pcm_blocks(path: Path) -> AsyncGenerator[Pcm, None]:
    """Yields int16 PCM of shape (n_samples,), 32 kHz mono: whole passages, and in the last block the rest.

    Raises:
        AudioError: the file cannot be used. If it is too short, its audio is yielded first.
        DependencyError: there is no ffmpeg.
    """
    waiting = np.empty(0, np.int16)
    try:
        async with aclosing(decode.blocks(path)) as blocks:
            async for block in blocks:
                waiting = np.concatenate([waiting, block])
                # What is left is never too short to be a passage of its own.
                whole = (len(waiting) - MIN_REST_SAMPLES) // PASSAGE_SAMPLES * PASSAGE_SAMPLES
                if whole > 0:
                    yield waiting[:whole]
                    waiting = waiting[whole:]
    except AudioError as error:
        if error.reason != "too_short" or not len(waiting):
            raise
        yield waiting
        raise
    if len(waiting):
        yield waiting
