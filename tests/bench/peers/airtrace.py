"""Airtrace's own detectors: all reference vectors in memory, searched by the mean cosine along the alignment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ
from monitor.detect.detector import Detector
from monitor.training.cache import run_ffmpeg
from tests.bench.peers.system import MAX_ANSWERS, Answer

Floats = NDArray[np.float32]
HOP_S = HOP_SAMPLES / SAMPLE_RATE_HZ


class Airtrace:
    """One detector. It is loaded when it is first needed, and may be missing, because weights come from training."""

    def __init__(self, name: str, make: Callable[[], Detector]) -> None:
        self.name = name
        self.settings = ""
        self._make = make
        self._made: Detector | None = None

    def missing(self) -> str | None:
        try:
            info = self._detector().info
        except Exception as error:  # any reason is worth reporting
            return f"cannot be loaded ({type(error).__name__}: {error})"
        self.settings = f"{info.version} {info.checksum}: exact search, mean cosine of consecutive segments"
        return None

    def index(self, references: Sequence[Path], folder: Path) -> None:
        vectors = [self._detector().embed(pcm).vectors.astype(np.float16) for pcm in _ahead(references)]
        starts = np.cumsum([0, *map(len, vectors)])
        np.savez(folder / "vectors.npz", vectors=np.concatenate(vectors), starts=starts)

    def answers(self, folder: Path, queries: Sequence[Path]) -> list[list[Answer]]:
        stored = np.load(folder / "vectors.npz")
        vectors, starts = stored["vectors"].astype(np.float32), stored["starts"]
        embed = self._detector().embed
        return [best_alignments(vectors, starts, embed(decoded(path)).vectors) for path in queries]

    def stored_bytes(self, folder: Path) -> int:
        return (folder / "vectors.npz").stat().st_size

    def _detector(self) -> Detector:
        if self._made is None:
            self._made = self._make()
        return self._made


def best_alignments(vectors: Floats, starts: NDArray[np.int64], query: Floats) -> list[Answer]:
    """The references with the highest mean cosine along consecutive segments, each at its best place.

    vectors: float32 (n, dimensions), of all references; reference i is from starts[i] up to starts[i + 1].
    query: float32 (k, dimensions).
    """
    k = len(query)
    if not k or k > len(vectors) or not query.any():
        return []
    cosines = query @ vectors.T  # (k, n)
    line = np.zeros(len(vectors) - k + 1, np.float32)
    for i in range(k):
        line += cosines[i, i : len(line) + i]
    best: list[Answer] = []
    for track, (first, end) in enumerate(pairwise(starts)):
        inside = line[first : max(first, end - k + 1)]
        if len(inside):
            at = int(inside.argmax())
            best.append(Answer(track, at * HOP_S, float(inside[at]) / k))
    return sorted(best, key=lambda answer: -answer.score)[:MAX_ANSWERS]


def _ahead(paths: Sequence[Path]) -> Iterator[NDArray[np.int16]]:
    """The PCM of each file, while the next one is decoded in another thread."""
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(decoded, path) for path in paths[:1]]
        for path in [*paths[1:], None]:
            following = [pool.submit(decoded, path)] if path is not None else []
            yield waiting.pop().result()
            waiting = following


def decoded(path: Path) -> NDArray[np.int16]:
    """Decodes a file to 32 kHz mono PCM, int16 (n_samples,)."""
    if path.suffix in {".wav", ".flac"}:  # the benchmark's own files
        pcm, rate_hz = soundfile.read(path, dtype="int16")
        if rate_hz == SAMPLE_RATE_HZ and pcm.ndim == 1:
            return pcm
    return run_ffmpeg(["-i", str(path)])
