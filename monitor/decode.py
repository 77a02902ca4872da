"""A file's audio as 32 kHz mono PCM: ffmpeg first, libsndfile where ffmpeg cannot read it."""

from __future__ import annotations

import asyncio
import re
import stat
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from ingest import ffmpeg
from ingest.errors import FfmpegMissing, SourceError
from ingest.wire import BYTES_PER_SAMPLE
from monitor.core.segments import SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from monitor.errors import AudioError, DependencyError

log = structlog.get_logger(__name__)

BLOCK_SAMPLES = 60 * SAMPLE_RATE_HZ  # a minute at a time bounds memory, whatever the file's length
COPY_FRAMES = 1 << 16
# libsndfile gives these to libmpg123, which complains on standard error whatever its caller wants.
MPEG = re.compile(rb"ID3|\xff[\xe0-\xff]")
MPEG_SUFFIXES = frozenset({".mp1", ".mp2", ".mp3"})


async def blocks(path: Path) -> AsyncGenerator[NDArray[np.int16], None]:
    """The whole file, a minute at a time.

    Whoever stops before the end closes it, so that ffmpeg ends at once.

    Raises:
        AudioError: it is not there, empty, no audio, or shorter than one segment.
        DependencyError: there is no ffmpeg.
    """
    _check(path)
    n_samples = 0
    try:
        async with aclosing(_in_blocks(path)) as decoded:
            async for block in decoded:
                n_samples += len(block)
                yield block
    except FfmpegMissing as error:
        raise DependencyError(str(error)) from error
    except SourceError as error:
        if n_samples:
            decoded_s = n_samples // SAMPLE_RATE_HZ
            raise AudioError("damaged", f"{path.name}: decoding stopped after {decoded_s} s: {error}") from error
        async with aclosing(_through_sndfile(path, error)) as decoded:
            async for block in decoded:
                n_samples += len(block)
                yield block
    if n_samples < SEGMENT_SAMPLES:
        raise AudioError(
            "too_short", f"{path.name}: {n_samples / SAMPLE_RATE_HZ:.2f} s of audio, at least 1 s is needed"
        )


def _check(path: Path) -> None:
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # a pipe would keep us waiting, a device has no end
            raise AudioError("not_audio", f"{path.name}: not a file, but a directory, a pipe or a device")
        if facts.st_size == 0:
            raise AudioError("empty", f"{path.name}: the file is empty")
        path.open("rb").close()
    except OSError as error:
        raise AudioError("unreadable", f"{path.name}: {error.strerror}") from error


async def _in_blocks(path: Path) -> AsyncGenerator[NDArray[np.int16], None]:
    """What ffmpeg reads."""
    waiting = bytearray()
    async with aclosing(ffmpeg.decode(path)) as pieces:
        async for piece in pieces:
            waiting += piece
            if len(waiting) >= BYTES_PER_SAMPLE * BLOCK_SAMPLES:
                yield np.frombuffer(bytes(waiting), "<i2")
                waiting.clear()
    if waiting:
        yield np.frombuffer(bytes(waiting), "<i2")


async def _through_sndfile(path: Path, refused: SourceError) -> AsyncGenerator[NDArray[np.int16], None]:
    """libsndfile reads the file into a WAV file, which ffmpeg resamples like any other."""
    if await asyncio.to_thread(_is_mpeg, path):
        raise _not_audio(path, refused) from refused
    with tempfile.TemporaryDirectory(prefix="airtrace-") as folder:
        copy = Path(folder) / "copy.wav"
        try:
            await asyncio.to_thread(_copy, path, copy)
        except (RuntimeError, OSError) as error:  # soundfile's errors are RuntimeErrors
            raise _not_audio(path, refused) from error
        log.info("decode.through_sndfile", file=path.name, ffmpeg=str(refused))
        try:
            async with aclosing(_in_blocks(copy)) as decoded:
                async for block in decoded:
                    yield block
        except SourceError as error:  # such as more channels than it can mix
            raise _not_audio(path, error) from error


def _not_audio(path: Path, refused: SourceError) -> AudioError:
    return AudioError("not_audio", f"{path.name}: no audio that can be read ({refused})")


def _is_mpeg(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix.lower() in MPEG_SUFFIXES or MPEG.match(file.read(3)) is not None


def _copy(path: Path, copy: Path) -> None:
    import soundfile  # loads a shared library: only for the rare file that needs it

    with (
        soundfile.SoundFile(path) as source,
        soundfile.SoundFile(copy, "w", source.samplerate, source.channels, "FLOAT", format="RF64") as target,
    ):
        for block in source.blocks(COPY_FRAMES, dtype="float32"):  # libsndfile reads floats as integers unscaled
            target.write(block)
