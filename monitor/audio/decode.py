"""A file's audio as 32 kHz mono PCM: ffmpeg first, libsndfile where ffmpeg cannot read it."""

from __future__ import annotations

import asyncio
import math
import re
import stat
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from ingest.errors import FfmpegMissing, SourceError
from ingest.sources import ffmpeg
from ingest.wire import BYTES_PER_SAMPLE
from monitor.audio.drm import is_protected
from monitor.core.segments import SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from monitor.errors import AudioError, DependencyError

log = structlog.get_logger(__name__)

BLOCK_SAMPLES = 60 * SAMPLE_RATE_HZ  # a minute at a time bounds memory, whatever the file's length
SAME_LENGTH_S = 1.0  # decoders differ in the silence that they leave at the ends
COPY_FRAMES = 1 << 16
MAX_COPY_BYTES = 8_000_000_000  # 6 h in stereo; only rare kinds of files are copied
STALL_S = 300.0  # without a sample: a damaged file can keep ffmpeg busy for ever
# libsndfile gives these to libmpg123, which complains on standard error whatever its caller wants.
MPEG = re.compile(rb"ID3|\xff[\xe0-\xff]")
MPEG_SUFFIXES = frozenset({".mp1", ".mp2", ".mp3"})


def check_same(path: Path, n_samples: int, duration_s: float) -> None:
    """Raises AudioError where a file that a track came from has another recording now, by its length.

    Not by a hash: another ffmpeg decodes the same file to other bits.
    """
    if abs(n_samples / SAMPLE_RATE_HZ - duration_s) > SAME_LENGTH_S:
        raise AudioError("changed", f"{path.name}: another recording than the one registered; add it anew")


async def blocks(path: Path, max_s: float = math.inf) -> AsyncGenerator[NDArray[np.int16], None]:
    """The whole file, a minute at a time.

    Whoever stops before the end closes it, so that ffmpeg ends at once.

    Raises:
        AudioError: it is not there, empty, no audio, protected, shorter than one segment, or longer than `most_s`.
        DependencyError: there is no ffmpeg.
    """
    check(path)
    if await asyncio.to_thread(is_protected, path):
        raise AudioError("protected", f"{path.name}: protected against copying (DRM); get it without")
    n_samples = 0
    async with aclosing(_decoded(path)) as decoded:
        async for block in decoded:
            n_samples += len(block)
            if n_samples > max_s * SAMPLE_RATE_HZ:
                raise AudioError("too_long", f"{path.name}: longer than {max_s / 3600:g} h (catalog.max_track_h)")
            yield block
    if n_samples < SEGMENT_SAMPLES:
        raise AudioError(
            "too_short", f"{path.name}: {n_samples / SAMPLE_RATE_HZ:.2f} s of audio, at least 1 s is needed"
        )


async def _decoded(path: Path) -> AsyncGenerator[NDArray[np.int16], None]:
    """By ffmpeg, or where that cannot by libsndfile."""
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
                yield block


def check(path: Path) -> None:
    """Refuses what is no file with something in it.

    Raises:
        AudioError: `reason` says why.
    """
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
        while piece := await _next(pieces, path):
            waiting += piece
            if len(waiting) >= BYTES_PER_SAMPLE * BLOCK_SAMPLES:
                yield np.frombuffer(bytes(waiting), "<i2")
                waiting.clear()
    if waiting:
        yield np.frombuffer(bytes(waiting), "<i2")


async def _next(pieces: AsyncGenerator[bytes, None], path: Path) -> bytes:
    """The next piece; empty at the end."""
    try:
        async with asyncio.timeout(STALL_S):
            return await anext(pieces, b"")
    except TimeoutError as error:
        raise AudioError("stalled", f"{path.name}: no sample within {STALL_S:.0f} s of decoding") from error


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

    n_bytes = 0
    with (
        soundfile.SoundFile(path) as source,
        soundfile.SoundFile(copy, "w", source.samplerate, source.channels, "FLOAT", format="RF64") as target,
    ):
        for block in source.blocks(COPY_FRAMES, dtype="float32"):  # libsndfile reads floats as integers unscaled
            n_bytes += block.nbytes
            if n_bytes > MAX_COPY_BYTES:
                raise AudioError("too_long", f"{path.name}: more than {MAX_COPY_BYTES // 10**9} GB once it is decoded")
            target.write(block)
