"""The material of programs: the catalog's references, excerpts of them, and endless streams of talk and effects.

Everything is drawn from one generator: the same seed and the same files give the same samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.training import corpus
from monitor.training.cache import decode
from monitor.training.corpus import AudioFile, Split
from monitor.training.distortions import voices
from monitor.training.distortions.conditions import SILENT_RMS, Condition, Floats, Pcm, Sounds, clean, to_sound
from monitor.training.errors import TrainingError

T = TypeVar("T")
UNKNOWN_SHARE = 0.2  # of a split's recordings are left out of the catalog
DISTRACTORS: dict[Split, tuple[Split, ...]] = {"test": ("tune", "train"), "tune": ("train",), "train": ()}
TRIES = 12  # places to try in a track
EVEN_DB = -10.0  # a second this far below its excerpt's level is inaudible under a voice and cannot be found
SPARE_S = 0.3  # of additional input: rubberband drops up to 0.13 s at the end
MAX_CLIP_S = 20.0
TRIM_DB = -35.0  # relative to a clip's peak: quieter ends are cut off as silence
BLOCK = SAMPLE_RATE_HZ // 100
PAUSE_S = (0.1, 0.5)  # between clips
CLEAN = Condition("clean", clean)
NOTHING = Sounds(np.zeros(0, np.int16), np.zeros(0, np.int16))


@dataclass(frozen=True, slots=True)
class Reference:
    """A recording of a split. name: its file name in a catalog. Recordings of the same group are versions."""

    name: str
    group: str
    file: AudioFile


@dataclass(frozen=True, slots=True)
class Catalog:
    """known and distractors are registered, unknown are not. No unknown recording is a version of a registered one."""

    known: tuple[Reference, ...]
    unknown: tuple[Reference, ...]
    distractors: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A played piece of a reference: sample i of `sound`, float32, is sample `start + i * rate` of the reference."""

    reference: Reference
    start: int
    rate: float
    sound: Floats


def split_catalog(split: Split, seed: int, roots: Sequence[Path], unknown_share: float = UNKNOWN_SHARE) -> Catalog:
    """Draws the recordings of a split to register. Its distractors are `train` and, for `test`, `tune`.

    roots: folders of unpacked packages, the first of which has precedence.

    Raises:
        TrainingError: no root has any of the split's packages.
    """
    own = _references(split, roots)
    if not own:
        raise TrainingError(f"{', '.join(map(str, roots))} contain no music of split {split!r}: pass other folders")
    groups = sorted({reference.group for reference in own})
    chosen = np.random.default_rng(seed).permutation(len(groups))[: round(unknown_share * len(groups))]
    left_out = {groups[i] for i in chosen}
    known = tuple(reference for reference in own if reference.group not in left_out)
    unknown = tuple(reference for reference in own if reference.group in left_out)
    others = (reference for other in DISTRACTORS[split] for reference in _references(other, roots))
    return Catalog(known, unknown, tuple(other for other in others if other.group not in left_out))


def files_of(split: Split, kind: str, roots: Sequence[Path]) -> dict[str, AudioFile]:
    """The existing files of a split, by package and path."""
    found: dict[str, AudioFile] = {}
    for root in roots:
        with suppress(TrainingError):  # this root has none of the split's packages
            for file in corpus.of_split(split, root):
                if file.kind == kind and file.path.exists():
                    found.setdefault(f"{file.path.relative_to(root)}!{file.member}", file)
    return found


def _references(split: Split, roots: Sequence[Path]) -> list[Reference]:
    taken: set[str] = set()
    found: list[Reference] = []
    for inside, file in files_of(split, "music", roots).items():
        stem = f"{inside.split('/')[0]}__{Path(file.name).stem}".replace(" ", "_").replace(",", "_")
        names = (f"{stem}{more}.flac" for more in ("", *(f"-{i}" for i in range(2, 100))))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        found.append(Reference(name, file.track, file))
    return found


class Deck(Generic[T]):
    """Draws cards endlessly, each once before any is repeated."""

    def __init__(self, cards: Sequence[T], rng: np.random.Generator) -> None:
        self._cards = list(cards)
        self._rng = rng
        self._left: list[T] = []

    def draw(self) -> T:
        if not self._left:
            self._left = [self._cards[i] for i in self._rng.permutation(len(self._cards))]
        return self._left.pop()

    def __bool__(self) -> bool:
        return bool(self._cards)


class Music:
    """Draws excerpts of references, each reference once before any is repeated."""

    def __init__(self, references: Sequence[Reference], rng: np.random.Generator) -> None:
        self._deck = Deck(references, rng)
        self._rng = rng

    def __bool__(self) -> bool:
        return bool(self._deck)

    def excerpt(self, n: int, played: Condition = CLEAN) -> Excerpt:
        """An excerpt of the next reference, of `n` samples at `played.rate`, or of the whole if it is shorter.

        Takes the first of TRIES places that has no quiet second, or else the one whose quietest second is loudest.
        """
        reference, pcm = self._next()
        wanted = min(round(n * played.rate), len(pcm))
        start = _even_place(pcm, wanted, self._rng)
        return _played(reference, pcm, start, min(n, int((len(pcm) - start) / played.rate)), played, self._rng)

    def again(self, excerpt: Excerpt, start: int, n: int) -> Excerpt:
        """Another, unprocessed place of an excerpt's reference. `start` is moved so that `n` samples are left."""
        pcm = _decoded(excerpt.reference.file)
        start = max(0, min(start, len(pcm) - n))
        return _played(excerpt.reference, pcm, start, min(n, len(pcm)), CLEAN, self._rng)

    def whole(self, longest_s: float) -> Excerpt:
        """The next reference from its first sound to its last, if it is short enough, or else the start of one."""
        for _ in range(TRIES):
            reference, pcm = self._next()
            if len(pcm) <= longest_s * SAMPLE_RATE_HZ:
                break
        loud = np.flatnonzero(levels_per_second(pcm) > SILENT_RMS)
        first, end = int(loud[0]) * SAMPLE_RATE_HZ, int(loud[-1] + 1) * SAMPLE_RATE_HZ
        n = min(end - first, int(longest_s * SAMPLE_RATE_HZ))
        return _played(reference, pcm, first, n, CLEAN, self._rng)

    def _next(self) -> tuple[Reference, Pcm]:
        """The next reference that is not silent."""
        while True:
            reference = self._deck.draw()
            pcm = _decoded(reference.file)
            if len(pcm) >= SAMPLE_RATE_HZ and levels_per_second(pcm).max() > SILENT_RMS:
                return reference, pcm


class ClipStream:
    """An endless stream of clips with pauses, each at the same level: talk, or effects."""

    def __init__(self, files: Sequence[AudioFile], rng: np.random.Generator) -> None:
        if not files:
            raise TrainingError("there are no clips of speech or effects to mix over music: pass other folders")
        self._deck = Deck(files, rng)
        self._rng = rng
        self._left: Floats = np.zeros(0, np.float32)

    def take(self, n: int) -> Floats:
        """The next `n` samples."""
        parts = [self._left]
        while sum(map(len, parts)) < n:
            pause = np.zeros(int(self._rng.uniform(*PAUSE_S) * SAMPLE_RATE_HZ), np.float32)
            parts += [_spoken(self._deck.draw()), pause]
        joined = np.concatenate(parts)
        self._left = joined[n:]
        return joined[:n]


def _played(reference: Reference, pcm: Pcm, start: int, n: int, played: Condition, rng: np.random.Generator) -> Excerpt:
    spare = int(SPARE_S * SAMPLE_RATE_HZ)
    sound = to_sound(pcm[start : start + round(n * played.rate) + spare])
    # Changes of speed, pitch and tempo mix nothing over the music, so they need no other sounds.
    made = played.apply(np.pad(sound, (0, spare)), NOTHING, rng)[:n]
    return Excerpt(reference, start, played.rate, np.pad(made, (0, n - len(made))))


def _even_place(pcm: Pcm, wanted: int, rng: np.random.Generator) -> int:
    best, best_db = 0, -np.inf
    for _ in range(TRIES):
        start = int(rng.integers(0, len(pcm) - wanted + 1))
        levels = levels_per_second(pcm[start : start + wanted])
        loudness = float(np.sqrt(np.mean(levels**2)))
        quietest_db = 20 * float(np.log10(max(levels.min(), 1e-6) / max(loudness, SILENT_RMS)))
        if quietest_db > best_db:
            best, best_db = start, quietest_db
        if quietest_db >= EVEN_DB:
            break
    return best


def levels_per_second(pcm: Pcm) -> Floats:
    """The RMS of each second, or of the whole if it is shorter."""
    whole = max(1, len(pcm) // SAMPLE_RATE_HZ)
    seconds = np.array_split(to_sound(pcm), whole)
    return np.array([np.sqrt(np.mean(np.square(second))) for second in seconds], np.float32)


@lru_cache(maxsize=8)
def _decoded(file: AudioFile) -> Pcm:
    return decode(file)


def _spoken(file: AudioFile) -> Floats:
    """A clip at the common level, without silence at its ends; empty if it cannot be read."""
    pcm = decode(file)[: int(MAX_CLIP_S * SAMPLE_RATE_HZ)]
    loud = np.abs(to_sound(pcm[: len(pcm) // BLOCK * BLOCK])).reshape(-1, BLOCK).max(axis=1, initial=0)
    heard = np.flatnonzero(loud > loud.max(initial=0) * 10 ** (TRIM_DB / 20))
    if not len(heard):
        return np.zeros(0, np.float32)
    return to_sound(voices.at_level(pcm[heard[0] * BLOCK : (heard[-1] + 1) * BLOCK], SAMPLE_RATE_HZ))
