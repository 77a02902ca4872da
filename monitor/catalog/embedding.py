"""Embeds an audio file: decodes it once, hashes its samples and computes its fingerprint."""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.audio import decode
from monitor.core.segmenter import Segmenter
from monitor.detect.detector import Detector
from monitor.errors import AudioError
from monitor.storage.records import Fingerprint

MAX_TRACK_S = 24 * 3600.0  # the default of catalog.max_track_h


@dataclass(frozen=True, slots=True)
class EmbeddedFile:
    """SHA-256 of the decoded samples (32 kHz mono, 16 bit), their number, and the vectors."""

    sha256: bytes
    n_samples: int
    fingerprint: Fingerprint


class FileEmbedder:
    """Embeds files with one detector, in an executor."""

    def __init__(self, detector: Detector, executor: Executor, max_s: float = MAX_TRACK_S) -> None:
        """`max_s` is the longest recording accepted, in seconds."""
        self._detector = detector
        self._executor = executor
        self._max_s = max_s

    async def embed(self, path: Path) -> EmbeddedFile:
        """Decodes and embeds a whole file.

        Raises:
            AudioError: the file cannot be used, is too long, or is silent.
            DependencyError: there is no ffmpeg.
        """
        digest, n_samples, segmenter = hashlib.sha256(), 0, Segmenter()
        vectors: list[NDArray[np.float32]] = []
        loop = asyncio.get_running_loop()
        async with aclosing(decode.blocks(path, self._max_s)) as blocks:
            async for block in blocks:
                digest.update(block.tobytes())
                n_samples += len(block)
                _, pcm = segmenter.feed(block)
                embeddings = await loop.run_in_executor(self._executor, self._detector.embed, pcm)
                vectors.append(embeddings.vectors)
        fingerprint = Fingerprint(self._detector.info, np.concatenate(vectors))
        if not fingerprint.vectors.any():
            raise AudioError("silent", f"{path.name}: nothing but silence")
        return EmbeddedFile(digest.digest(), n_samples, fingerprint)


async def file_sha256(path: Path) -> bytes:
    """SHA-256 of a file's bytes.

    Raises:
        AudioError: the file is empty, cannot be read, or is not a regular file.
    """
    decode.check(path)

    def read() -> bytes:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    try:
        return await asyncio.to_thread(read)
    except OSError as error:
        raise AudioError("unreadable", f"{path.name}: {error.strerror}") from error
