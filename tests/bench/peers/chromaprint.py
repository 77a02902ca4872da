"""Chromaprint (Lukáš Lalinský, C, LGPL), through its `fpcalc`: apt-get install libchromaprint-tools

Its service looks up whole files. Here a part of a file is found by the fewest differing bits along all references,
which is the best that its fingerprints can do.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.bench.peers.system import MAX_ANSWERS, Answer

STEP_S = 1365 / 11025  # between two of its 32-bit words
BLOCK = 1 << 16  # words per step, which fit a core's cache
Words = NDArray[np.uint32]


class Chromaprint:
    name = "Chromaprint"
    settings = "fpcalc -raw (algorithm 2), fewest differing bits at every alignment with every reference"

    def missing(self) -> str | None:
        return None if shutil.which("fpcalc") else "fpcalc is not installed: apt-get install libchromaprint-tools"

    def index(self, references: Sequence[Path], folder: Path) -> None:
        prints = [fingerprint(path) for path in references]
        starts = np.cumsum([0, *map(len, prints)])
        np.savez(folder / "words.npz", words=np.concatenate(prints), starts=starts)

    def answers(self, folder: Path, queries: Sequence[Path]) -> list[list[Answer]]:
        stored = np.load(folder / "words.npz")
        words, starts = stored["words"], stored["starts"]
        return [aligned(words, starts, fingerprint(path)) for path in queries]

    def stored_bytes(self, folder: Path) -> int:
        return (folder / "words.npz").stat().st_size


def fingerprint(path: Path) -> Words:
    """The words of a file; empty if it is shorter than about 2.7 s or not audio."""
    command = ["fpcalc", "-raw", "-json", "-length", "0", str(path)]
    printed = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL).stdout
    try:
        return np.array(json.loads(printed)["fingerprint"], np.uint32)
    except (ValueError, KeyError):
        return np.zeros(0, np.uint32)


def aligned(words: Words, starts: NDArray[np.int64], query: Words, block: int = BLOCK) -> list[Answer]:
    """The references with the fewest bits that differ from the query, each at its best alignment.

    words: those of all references, concatenated; reference i is from starts[i] up to starts[i + 1].
    """
    if not len(query) or len(query) > len(words):
        return []
    wrong = _differing_bits(words, query, block)
    best: list[Answer] = []
    for track, (first, end) in enumerate(pairwise(starts)):
        inside = wrong[first : max(first, end - len(query) + 1)]
        if len(inside):
            at = int(inside.argmin())
            best.append(Answer(track, at * STEP_S, 1 - int(inside[at]) / (32 * len(query))))
    return sorted(best, key=lambda answer: -answer.score)[:MAX_ANSWERS]


def _differing_bits(words: Words, query: Words, block: int) -> NDArray[np.uint16]:
    """The number of differing bits at each place of `words` where the whole query fits."""
    n = len(words) - len(query) + 1
    wrong = np.zeros(n, np.uint16)
    for first in range(0, n, block):
        end = min(first + block, n)
        for i, word in enumerate(query):
            wrong[first:end] += np.bitwise_count(words[first + i : end + i] ^ word)
    return wrong
