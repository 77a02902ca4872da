"""Decodes a file to 32 kHz mono PCM: with ffmpeg, or with libsndfile if ffmpeg cannot read it."""

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
from monitor.audio import files
from monitor.audio.drm import is_protected
from monitor.core.segments import SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from monitor.errors import AudioError, DependencyError

log = structlog.get_logger(__name__)

BLOCK_SAMPLES = 60 * SAMPLE_RATE_HZ  # a minute at a time bounds memory, whatever the file's length
SAME_LENGTH_S = 1.0  # decoders differ in the silence that they leave at the ends
STALL_S = 300.0  # without a sample: a damaged file can keep ffmpeg busy forever
# libsndfile passes these to libmpg123, which always complains on standard error.
MPEG = re.compile(rb"ID3|\xff[\xe0-\xff]")
MPEG_SUFFIXES = frozenset({".mp1", ".mp2", ".mp3"})


def check_same(path: Path, n_samples: int, duration_s: float) -> None:
    """Checks by its length in samples that a track's file still contains the recording that was registered.

    A hash would not work: another version of ffmpeg decodes the same file to different bits.

    Raises:
        AudioError: the length differs by more than SAME_LENGTH_S.
    """
    if abs(n_samples / SAMPLE_RATE_HZ - duration_s) > SAME_LENGTH_S:
        raise AudioError("changed", f"{path.name}: not the recording that was registered; add it again")


async def blocks(
    path: Path,
    max_s: float = math.inf,
    *,
    max_copy_bytes: int = files.MAX_COPY_BYTES,
    stall_s: float = STALL_S,
) -> AsyncGenerator[NDArray[np.int16], None]:
    """Yields the whole file in blocks of a minute: int16 PCM of shape (n_samples,), 32 kHz mono.

    A caller that stops early must close the generator, so that ffmpeg ends at once.

    Args:
        path: the file.
        max_s: longest recording accepted, in seconds.
        max_copy_bytes: largest temporary copy made of a file that only libsndfile reads.
        stall_s: longest wait for the next sample, in seconds.

    Raises:
        AudioError: the file is missing, empty, protected or not audio, shorter than one segment, or longer than
            `max_s`.
        DependencyError: there is no ffmpeg.
    """
    check(path)
    if await asyncio.to_thread(is_protected, path):
        raise AudioError("protected", f"{path.name}: copy-protected (DRM); provide an unprotected copy")
    n_samples = 0
    async with aclosing(_decoded(path, max_copy_bytes, stall_s)) as decoded:
        async for block in decoded:
            n_samples += len(block)
            if n_samples > max_s * SAMPLE_RATE_HZ:
                raise AudioError("too_long", f"{path.name}: longer than {max_s / 3600:g} h (catalog.max_track_h)")
            yield block
    if n_samples < SEGMENT_SAMPLES:
        raise AudioError(
            "too_short", f"{path.name}: {n_samples / SAMPLE_RATE_HZ:.2f} s of audio, at least 1 s is needed"
        )


async def _decoded(path: Path, max_copy_bytes: int, stall_s: float) -> AsyncGenerator[NDArray[np.int16], None]:
    """Decodes with ffmpeg, or with libsndfile if ffmpeg cannot."""
    n_samples = 0
    try:
        async with aclosing(_in_blocks(path, stall_s)) as decoded:
            async for block in decoded:
                n_samples += len(block)
                yield block
    except FfmpegMissing as error:
        raise DependencyError(str(error)) from error
    except SourceError as error:
        if n_samples:
            decoded_s = n_samples // SAMPLE_RATE_HZ
            raise AudioError("damaged", f"{path.name}: decoding stopped after {decoded_s} s: {error}") from error
        async with aclosing(_through_sndfile(path, error, max_copy_bytes, stall_s)) as decoded:
            async for block in decoded:
                yield block


def check(path: Path) -> None:
    """Checks that a path is a readable regular file that is not empty.

    Raises:
        AudioError: it is not; `reason` says why.
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # reading a pipe may block, and a device has no end
            raise AudioError("not_audio", f"{path.name}: a directory, pipe or device, not a file")
        if facts.st_size == 0:
            raise AudioError("empty", f"{path.name}: the file is empty")
        path.open("rb").close()
    except OSError as error:
        raise AudioError("unreadable", f"{path.name}: {error.strerror}") from error


async def _in_blocks(path: Path, stall_s: float) -> AsyncGenerator[NDArray[np.int16], None]:
    """Yields what ffmpeg decodes, in blocks of BLOCK_SAMPLES."""
    waiting = bytearray()
    async with aclosing(ffmpeg.decode(path)) as pieces:
        while piece := await _next(pieces, path, stall_s):
            waiting += piece
            if len(waiting) >= BYTES_PER_SAMPLE * BLOCK_SAMPLES:
                yield np.frombuffer(bytes(waiting), "<i2")
                waiting.clear()
    if waiting:
        yield np.frombuffer(bytes(waiting), "<i2")


async def _next(pieces: AsyncGenerator[bytes, None], path: Path, stall_s: float) -> bytes:
    """The next piece; empty at the end."""
    try:
        async with asyncio.timeout(stall_s):
            return await anext(pieces, b"")
    except TimeoutError as error:
        raise AudioError("stalled", f"{path.name}: ffmpeg decoded nothing for {stall_s:.0f} s") from error


async def _through_sndfile(
    path: Path, refused: SourceError, max_copy_bytes: int, stall_s: float
) -> AsyncGenerator[NDArray[np.int16], None]:
    """Copies the file into a WAV file with libsndfile, then lets ffmpeg resample the copy."""
    if await asyncio.to_thread(_is_mpeg, path):
        raise _not_audio(path, refused) from refused
    with tempfile.TemporaryDirectory(prefix="airtrace-") as folder:
        copy = Path(folder) / "copy.wav"
        try:
            await asyncio.to_thread(files.copy_as_wav, path, copy, max_copy_bytes)
        except files.UNREADABLE as error:
            raise _not_audio(path, refused) from error
        log.info("decode.through_sndfile", file=path.name, ffmpeg=str(refused))
        try:
            async with aclosing(_in_blocks(copy, stall_s)) as decoded:
                async for block in decoded:
                    yield block
        except SourceError as error:  # such as more channels than ffmpeg can mix
            raise _not_audio(path, error) from error


def _not_audio(path: Path, refused: SourceError) -> AudioError:
    return AudioError("not_audio", f"{path.name}: no readable audio ({refused})")


def _is_mpeg(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix.lower() in MPEG_SUFFIXES or MPEG.match(file.read(3)) is not None
