"""Plans what the demo's station broadcasts, to the millisecond. Pure: a seed always gives the same program."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice
from pathlib import Path

from monitor.demo.errors import DemoError

MIN_TRACK_S = 40.0  # shorter recordings are jingles
EDGE_S = 2.5  # excerpts avoid the first and last seconds of a track, which may be silent or cut
CATALOG_SHARE = 0.75
CROSSFADE_S = 3.0
FADE_S = 0.05  # where one item follows another without a crossfade
PAUSE_S = 0.4  # between two sentences
BED_LEAD_S = 1.0  # music alone before and after the speech over it
# Level of a music bed relative to the speech over it. On the air, -6 to -12 dB is common; there, the thresholds for
# streams often still miss the music, and the demo does not claim otherwise.
MUSIC_OVER_SPEECH_DB = -1.0
TYPICAL = 0.7  # preferred length of an item, from its shortest (0) to its longest (1), if the total allows


class Kind(StrEnum):
    """The kind of an item."""

    KNOWN = "catalog track"
    UNKNOWN = "unknown music"
    SPEECH = "speech"
    BED = "speech over catalog track"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Recording:
    """An audio file and its length."""

    path: Path
    duration_s: float


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of a recording, which starts `at_s` seconds into its item."""

    path: Path
    start_s: float
    length_s: float
    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Item:
    """One piece of the program; start and end are in seconds of broadcast and include the fades."""

    kind: Kind
    start_s: float
    end_s: float
    music: Excerpt | None = None
    speech: tuple[Excerpt, ...] = ()
    fade_in_s: float = FADE_S
    fade_out_s: float = FADE_S

    @property
    def title(self) -> str:
        """A name for people."""
        return self.music.path.stem if self.music else self.kind.value


@dataclass(frozen=True, slots=True)
class Play:
    """Ground truth: an interval of the broadcast that plays a catalog track, starting at `track_start_s`."""

    path: Path
    start_s: float
    end_s: float
    track_start_s: float


@dataclass(frozen=True, slots=True)
class Program:
    """The tracks that are registered, those that are not, and what is on the air when."""

    catalog: tuple[Recording, ...]
    unknown: tuple[Recording, ...]
    items: tuple[Item, ...]
    duration_s: float

    @property
    def truth(self) -> tuple[Play, ...]:
        """The plays of catalog tracks."""
        return tuple(
            Play(item.music.path, item.start_s, item.end_s, item.music.start_s)
            for item in self.items
            if item.music and item.kind in (Kind.KNOWN, Kind.BED)
        )

    def at(self, elapsed_s: float) -> tuple[Item, ...]:
        """The items on the air `elapsed_s` seconds after the start: two during a crossfade, none after the end."""
        return tuple(item for item in self.items if item.start_s <= elapsed_s < item.end_s)


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the program, with its shortest and longest length."""

    kind: Kind
    min_s: float
    max_s: float
    crossfade_s: float = 0.0  # its overlap with the item before it

    @property
    def gains_s(self) -> tuple[float, float]:
        """The least and the most that it adds to the length of the program."""
        return self.min_s - self.crossfade_s, self.max_s - self.crossfade_s


SLOTS = (
    Slot(Kind.KNOWN, 12, 28),
    Slot(Kind.UNKNOWN, 12, 26),
    Slot(Kind.SPEECH, 8, 16),
    Slot(Kind.BED, 12, 32),
    Slot(Kind.KNOWN, 12, 28, CROSSFADE_S),
    Slot(Kind.SILENCE, 2, 2),
    Slot(Kind.KNOWN, 14, 35),
    Slot(Kind.UNKNOWN, 12, 26),
)


def plan(
    music: Sequence[Recording],
    speech: Sequence[Recording],
    seed: int,
    total_s: float = 180.0,
    *,
    repeating: frozenset[Path] = frozenset(),
) -> Program:
    """Plans a program of `total_s` seconds. About three quarters of the music become its catalog.

    Recordings in `repeating` are not aired as catalog tracks if there are others, because their positions are
    ambiguous.

    Raises:
        DemoError: there is too little music, or the program is too short for one item of each kind.
    """
    chance = random.Random(seed)  # noqa: S311 - a program, not a secret
    usable = sorted({r for r in music if r.duration_s >= MIN_TRACK_S}, key=lambda recording: recording.path)
    if len(usable) < 2:
        raise DemoError(
            f"the demo needs two music files of at least {MIN_TRACK_S:.0f} s, but there are {len(usable)}: add some"
        )
    chance.shuffle(usable)
    n_known = min(len(usable) - 1, max(1, round(CATALOG_SHARE * len(usable))))
    known, unknown = usable[:n_known], usable[n_known:]
    aired = [recording for recording in known if recording.path not in repeating] or list(known)
    slots = _fitting([s for s in SLOTS if speech or s.kind not in (Kind.SPEECH, Kind.BED)], total_s)
    decks = _Decks(chance, _deck(chance, aired), _deck(chance, unknown), _deck(chance, list(speech)))
    return Program(_by_path(known), _by_path(unknown), tuple(_items(slots, decks, total_s)), total_s)


@dataclass(frozen=True, slots=True)
class _Decks:
    chance: random.Random
    known: Iterator[Recording]
    unknown: Iterator[Recording]
    speech: Iterator[Recording]


def _deck(chance: random.Random, recordings: list[Recording]) -> Iterator[Recording]:
    """Draws forever: every recording once before any of them again."""
    while recordings:
        chance.shuffle(recordings)
        yield from tuple(recordings)


def _by_path(recordings: Sequence[Recording]) -> tuple[Recording, ...]:
    return tuple(sorted(recordings, key=lambda recording: recording.path))


def _fitting(pattern: Sequence[Slot], total_s: float) -> list[Slot]:
    """As many slots of the repeated pattern as give each a typical length; the last one is never silence."""
    minimum = len({slot.kind for slot in pattern if slot.kind is not Kind.SILENCE})
    maximum = int(total_s // 8) + minimum
    candidates = (list(islice(cycle(pattern), n)) for n in range(minimum, maximum + 1))
    fits = [(abs(_stretch(c, total_s) - TYPICAL), c) for c in candidates if c[-1].kind is not Kind.SILENCE]
    possible = [(off, c) for off, c in fits if 0.0 <= _stretch(c, total_s) <= 1.0]
    if not possible:
        shortest = sum(slot.gains_s[0] for slot in pattern[:minimum])
        raise DemoError(f"a program of {total_s:.0f} s is too short: it takes at least {shortest:.0f} s")
    return min(possible, key=lambda pair: pair[0])[1]


def _stretch(slots: Sequence[Slot], total_s: float) -> float:
    """The items' lengths that fill the total, between their shortest (0) and their longest (1)."""
    min_s = sum(slot.gains_s[0] for slot in slots)
    max_s = sum(slot.gains_s[1] for slot in slots)
    return (total_s - min_s) / (max_s - min_s)


def _items(slots: Sequence[Slot], decks: _Decks, total_s: float) -> Iterator[Item]:
    stretch = _stretch(slots, total_s)
    position_s = 0.0
    for slot, following in zip(slots, [*slots[1:], None], strict=True):
        start_s = round(position_s - slot.crossfade_s, 3)
        position_s = start_s + slot.min_s + stretch * (slot.max_s - slot.min_s)
        end_s = total_s if following is None else round(position_s, 3)
        yield _item(slot, following, start_s, end_s, decks)


def _item(slot: Slot, following: Slot | None, start_s: float, end_s: float, decks: _Decks) -> Item:
    length_s = round(end_s - start_s, 3)
    return Item(
        kind=slot.kind,
        start_s=start_s,
        end_s=end_s,
        music=_music(slot.kind, length_s, decks),
        speech=_speech(slot.kind, length_s, decks),
        fade_in_s=slot.crossfade_s or FADE_S,
        fade_out_s=(following.crossfade_s if following else 0.0) or FADE_S,
    )


def _music(kind: Kind, length_s: float, decks: _Decks) -> Excerpt | None:
    if kind in (Kind.SPEECH, Kind.SILENCE):
        return None
    recording = next(decks.unknown if kind is Kind.UNKNOWN else decks.known)
    latest_s = max(0.0, recording.duration_s - EDGE_S - length_s)
    return Excerpt(recording.path, round(decks.chance.uniform(min(EDGE_S, latest_s), latest_s), 3), length_s)


def _speech(kind: Kind, length_s: float, decks: _Decks) -> tuple[Excerpt, ...]:
    """Sentences with pauses between them until the item is full; the last one is cut."""
    if kind not in (Kind.SPEECH, Kind.BED):
        return ()
    lead_s = BED_LEAD_S if kind is Kind.BED else 0.0
    spoken: list[Excerpt] = []
    at_s = lead_s
    while at_s < length_s - lead_s - PAUSE_S:
        recording = next(decks.speech)
        spoken_s = round(min(recording.duration_s, length_s - lead_s - at_s), 3)
        spoken.append(Excerpt(recording.path, 0.0, spoken_s, round(at_s, 3)))
        at_s += spoken_s + PAUSE_S
    return tuple(spoken)
