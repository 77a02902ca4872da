"""The broadcast benchmark's recordings: half-hour programs made by seed from a split's sounds, and their truth.

Every play of a registered track is known to the sample, with its place in the track, its speed and its level relative
to the sound over it. Unregistered music, talk and effects lie between the plays and are not in the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import soundfile

from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.evaluation.plays import Truth
from monitor.training.corpus import Split
from monitor.training.distortions.conditions import Pcm
from tests.bench import items
from tests.bench.items import BANDS_DB, DEGRADATIONS, Item, PlayedInterval, Studio
from tests.bench.sources import Catalog, ClipStream, Music, files_of

PROGRAM_S = 1800.0
TALK_S, EFFECTS_S = (10.0, 40.0), (6.0, 15.0)
# How often each kind of item occurs in a program. Together they are somewhat longer than half an hour; a random part is
# left out. Four fifths of the music's time are under a voice, effects or other music.
EFFECTS_BEDS, CLEAR, WHOLE, JINGLES, DEGRADED_ITEMS = 2, 4, 1, 6, 5
BEDS = (2, 4, 5, 6)  # per band of BANDS_DB; whole tracks and short items are in the upper two
UNKNOWN_BEDS, UNKNOWN_CLEAR, TALK, EFFECTS = (2, 2, 2, 1), 2, 5, 2
WHOLE_CLEAR_SHARE = 0.3
EFFECTS_DB = (-12.0, 6.0)
# The same for recordings without a registered track.
STRANGE_BEDS, STRANGE_CLEAR, STRANGE_WHOLE, STRANGE_TALK, STRANGE_EFFECTS = (4, 4, 4, 4), 7, 2, 8, 4

Slot = Callable[[], Item]


@dataclass(frozen=True, slots=True)
class Program:
    """A recording of 32 kHz mono PCM, int16 (n,), the name of its file, and its plays, sorted by start."""

    recording: str
    pcm: Pcm
    plays: tuple[Truth, ...]


def programs(
    catalog: Catalog, split: Split, roots: Sequence[Path], hours: float, seed: int, suffix: str = ".flac"
) -> Iterator[Program]:
    """Makes `hours` of programs in recordings of half an hour, of which the last may be shorter.

    Raises:
        TrainingError: the split has no speech or no effects.
    """
    return _made(f"{split}-{seed}-{{:02d}}{suffix}", _studio(catalog, split, roots, [seed, 0]), hours, slots)


def unknown_programs(
    catalog: Catalog, split: Split, roots: Sequence[Path], hours: float, seed: int, suffix: str = ".flac"
) -> Iterator[Program]:
    """Makes recordings without a registered track: unregistered music in all variations, talk and effects.

    Raises:
        TrainingError: the split has no speech or no effects.
    """
    studio = _studio(catalog, split, roots, [seed, 1])
    return _made(f"{split}-{seed}-unknown-{{:02d}}{suffix}", studio, hours, unknown_slots)


def write(folder: Path, made: Iterable[Program]) -> list[Truth]:
    """Writes each recording, as WAV or FLAC by its name, and returns the truth of all."""
    folder.mkdir(parents=True, exist_ok=True)
    plays: list[Truth] = []
    for program in made:
        path = folder / program.recording
        part = path.with_suffix(".part")
        form = "WAV" if path.suffix == ".wav" else "FLAC"
        soundfile.write(part, program.pcm, SAMPLE_RATE_HZ, "PCM_16", format=form)
        part.rename(path)
        plays += program.plays
    return plays


def slots(studio: Studio) -> list[Slot]:
    """The items of a program, in random order."""
    known = [*_music(studio, studio.known, BEDS, CLEAR, WHOLE), *_others(studio, studio.known, JINGLES, DEGRADED_ITEMS)]
    known += [partial(items.excerpt, studio, studio.known, _between(studio, EFFECTS_DB), studio.effects)] * EFFECTS_BEDS
    known += [partial(make, studio, studio.known, studio.spoken_db()) for make in (items.twice, items.jump)]
    unknown = _music(studio, studio.unknown, UNKNOWN_BEDS, UNKNOWN_CLEAR, 0)
    return _shuffled(studio, known, unknown, _without_music(studio, TALK, EFFECTS))


def unknown_slots(studio: Studio) -> list[Slot]:
    """The items of a recording without a registered track, in random order."""
    unknown = _music(studio, studio.unknown, STRANGE_BEDS, STRANGE_CLEAR, STRANGE_WHOLE)
    unknown += _others(studio, studio.unknown, 1, len(DEGRADATIONS) // 2)
    return _shuffled(studio, [], unknown, _without_music(studio, STRANGE_TALK, STRANGE_EFFECTS))


def _music(studio: Studio, music: Music, beds: Sequence[int], clear: int, whole: int) -> list[Slot]:
    """Excerpts, `beds` of them per band of BANDS_DB and `clear` without sound over them, and whole tracks."""
    levels = [_between(studio, band) for band, n in zip(BANDS_DB, beds, strict=True) for _ in range(n)] + clear * [None]
    wholes = [None if studio.rng.random() < WHOLE_CLEAR_SHARE else _between(studio, BANDS_DB[0]) for _ in range(whole)]
    return [
        *(partial(items.excerpt, studio, music, level) for level in levels),
        *(partial(items.whole, studio, music, level) for level in wholes),
    ]


def _others(studio: Studio, music: Music, jingles: int, degraded: int) -> list[Slot]:
    makers = [*[items.jingle] * jingles, items.crossfade, items.medley]
    found: list[Slot] = [partial(make, studio, music, studio.spoken_db()) for make in makers]
    return [*found, partial(items.both, studio, music), *[partial(items.degraded, studio, music)] * degraded]


def _without_music(studio: Studio, talk: int, effects: int) -> list[Slot]:
    return [partial(items.talk, studio, TALK_S)] * talk + [partial(items.effects, studio, EFFECTS_S)] * effects


def _between(studio: Studio, band: tuple[float, float]) -> float:
    return float(studio.rng.uniform(*band))


def _shuffled(studio: Studio, known: list[Slot], unknown: list[Slot], others: list[Slot]) -> list[Slot]:
    """Shuffles the items. Music that the catalog does not have is left out."""
    found = [*(known if studio.known else []), *(unknown if studio.unknown else []), *others]
    return [found[i] for i in studio.rng.permutation(len(found))]


def _studio(catalog: Catalog, split: Split, roots: Sequence[Path], seed: Sequence[int]) -> Studio:
    rng = np.random.default_rng(seed)
    talk, effects = (ClipStream(list(files_of(split, kind, roots).values()), rng) for kind in ("speech", "noise"))
    return Studio(catalog, talk, effects, rng)


def _made(name: str, studio: Studio, hours: float, slots_of: Callable[[Studio], list[Slot]]) -> Iterator[Program]:
    left = round(hours * 3600 * SAMPLE_RATE_HZ)
    for number in count():
        if left <= 0:
            return
        n = min(left, round(PROGRAM_S * SAMPLE_RATE_HZ))
        yield _program(name.format(number), n, studio, slots_of)
        left -= n


def _program(recording: str, n: int, studio: Studio, slots_of: Callable[[Studio], list[Slot]]) -> Program:
    """Concatenates items until the recording is full. Its end cuts the last one, as the end of a stream would."""
    pcm, plays, at = np.zeros(n, np.int16), [], 0
    for slot in (slot for _ in count() for slot in slots_of(studio)):
        item = slot()
        sound = item.sound[: n - at]
        pcm[at : at + len(sound)] = np.round(sound * 32767)
        plays += [_play(recording, at, n, heard) for heard in item.heard if at + heard.start < n]
        at += len(sound)
        if at == n:
            return Program(recording, pcm, tuple(sorted(plays, key=lambda play: play.start_s)))
    raise AssertionError  # the slots are endless


def _play(recording: str, at: int, n: int, heard: PlayedInterval) -> Truth:
    start, end = at + heard.start, min(at + heard.end, n)
    track_end = heard.track_start + (end - start) * heard.rate
    seconds = (start, end, heard.track_start, track_end)
    return Truth(recording, heard.track, *(x / SAMPLE_RATE_HZ for x in seconds), heard.rate, heard.snr_db, heard.kind)
