"""A file's audio as 32 kHz mono PCM: ffmpeg first, libsndfile where ffmpeg cannot read it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from ingest import ffmpeg
from ingest.errors import SourceError
from monitor.core.segments import SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from monitor.errors import AudioError

log = structlog.get_logger(__name__)

BLOCK_SAMPLES = 60 * SAMPLE_RATE_HZ  # a minute at a time bounds memory, whatever the file's length
COPY_FRAMES = 1 << 16


async def blocks(path: Path) -> AsyncIterator[NDArray[np.int16]]:
    """The whole file, a minute at a time.

    Raises:
        AudioError: it is not there, empty, no audio, or shorter than one segment.
    """
    _check(path)
    n_samples = 0
    try:
        async for block in _in_blocks(ffmpeg.decode(path)):
            n_samples += len(block)
            yield block
    except SourceError as error:
        if n_samples:
            decoded_s = n_samples // SAMPLE_RATE_HZ
            raise AudioError("damaged", f"{path.name}: decoding stopped after {decoded_s} s: {error}") from error
        async for block in _through_sndfile(path, error):
            n_samples += len(block)
            yield block
    if n_samples < SEGMENT_SAMPLES:
        raise AudioError(
            "too_short", f"{path.name}: {n_samples / SAMPLE_RATE_HZ:.2f} s of audio, at least 1 s is needed"
        )


def _check(path: Path) -> None:
    try:
        if path.stat().st_size == 0:
            raise AudioError("empty", f"{path.name}: the file is empty")
        path.open("rb").close()
    except IsADirectoryError as error:
        raise AudioError("not_audio", f"{path.name}: a directory, not a file") from error
    except OSError as error:
        raise AudioError("unreadable", f"{path.name}: {error.strerror}") from error


async def _in_blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[NDArray[np.int16]]:
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        if len(waiting) >= 2 * BLOCK_SAMPLES:
            whole = len(waiting) // 2 * 2
            yield np.frombuffer(bytes(waiting[:whole]), "<i2")
            del waiting[:whole]
    if len(waiting) >= 2:
        yield np.frombuffer(bytes(waiting[: len(waiting) // 2 * 2]), "<i2")


async def _through_sndfile(path: Path, refused: SourceError) -> AsyncIterator[NDArray[np.int16]]:
    """libsndfile reads the file into a WAV file, which ffmpeg resamples like any other."""
    with tempfile.TemporaryDirectory(prefix="airtrace-") as folder:
        copy = Path(folder) / "copy.wav"
        try:
            await asyncio.to_thread(_copy, path, copy)
        except (RuntimeError, OSError) as error:  # soundfile's errors are RuntimeErrors
            raise AudioError("not_audio", f"{path.name}: {refused}") from error
        log.info("decode.through_sndfile", file=path.name, ffmpeg=str(refused))
        async for block in _in_blocks(ffmpeg.decode(copy)):
            yield block


def _copy(path: Path, copy: Path) -> None:
    import soundfile  # loads a shared library: only for the rare file that needs it

    with (
        soundfile.SoundFile(path) as source,
        soundfile.SoundFile(copy, "w", source.samplerate, source.channels, "PCM_16", format="RF64") as target,
    ):
        for block in source.blocks(COPY_FRAMES, dtype="int16"):
            target.write(block)
