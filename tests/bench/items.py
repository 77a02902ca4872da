"""The items of a program: music, alone or under a voice or through a channel, with the plays in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.training.distortions import conditions
from monitor.training.distortions.conditions import CONDITIONS, Floats, Sounds
from tests.bench.sources import NOTHING, Catalog, ClipStream, Deck, Excerpt, Music

MUSIC_LEVEL = 0.1  # RMS in the clear: -20 dBFS
PEAK = 0.95  # items with higher peaks are attenuated as a whole
EDGE = SAMPLE_RATE_HZ // 200  # 5 ms: avoids clicks at cuts
# A fade counts as audible above -12 dB, where the targets' deep beds start.
AUDIBLE_GAIN = 10 ** (-12 / 20)
EXCERPT_S = (10.0, 90.0)  # log-uniform: half are shorter than 30 s
DEGRADED_S = (10.0, 30.0)
MAX_WHOLE_S = 200.0
JINGLE_S, JINGLE_LEAD_S = (3.0, 6.0), (2.0, 5.0)
FADE_S = (2.0, 4.0)
CHAINED_S, CHAIN = (12.0, 30.0), 3
MEDLEY_S, MEDLEY = 5.0, 7
TWICE_S, JUMP_S, BOTH_S = (12.0, 30.0), (10.0, 25.0), (15.0, 30.0)
MIN_JUMP_S = 5.0
BANDS_DB = ((0.0, 6.0), (-6.0, 0.0), (-12.0, -6.0), (-18.0, -12.0))
SPOKEN_DB = (-6.0, 6.0)  # of music under a voice in items that test something else
DEGRADED_DB = (0.0, 6.0)
CLEAR_SHARE = 0.35  # of these items have no voice
COMPRESSOR = "acompressor=threshold=0.05:ratio=8:attack=5:release=80:makeup=4"  # like a loud pop station
PLAYED = ("speed", "pitch", "tempo")  # applied by the station to the music; all others apply to the whole mix


@dataclass(frozen=True, slots=True)
class PlayedInterval:
    """A played stretch of a reference, in samples of the item. snr_db: the music relative to the sound over it."""

    track: str
    start: int
    end: int
    track_start: float
    rate: float
    snr_db: float | None
    kind: str


@dataclass(frozen=True, slots=True)
class Item:
    """A piece of a program, with the plays of registered references in it."""

    sound: Floats
    heard: tuple[PlayedInterval, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """An excerpt in an item. against_db: its level relative to other music that plays at the same time."""

    excerpt: Excerpt
    at: int = 0
    fade_in: int = EDGE
    fade_out: int = EDGE
    gain_db: float = 0.0
    against_db: float | None = None

    @property
    def end(self) -> int:
        return self.at + len(self.excerpt.sound)


class Studio:
    """The material that items are made from."""

    def __init__(self, catalog: Catalog, talk: ClipStream, effects: ClipStream, rng: np.random.Generator) -> None:
        self.known, self.unknown = Music(catalog.known, rng), Music(catalog.unknown, rng)
        self.talk, self.effects, self.rng = talk, effects, rng
        self.degraded = Deck(tuple(DEGRADATIONS), rng)
        self.names = frozenset(reference.name for reference in catalog.known)

    def samples(self, between_s: tuple[float, float]) -> int:
        """Draws a length in samples, log-uniformly between the two."""
        return round(float(np.exp(self.rng.uniform(*np.log(between_s)))) * SAMPLE_RATE_HZ)

    def spoken_db(self) -> float | None:
        """Draws the level of music relative to a voice for items that test something else; None: in the clear."""
        return None if self.rng.random() < CLEAR_SHARE else float(self.rng.uniform(*SPOKEN_DB))

    def mixed(
        self, parts: Sequence[Part], kind: str, snr_db: float | None, over: ClipStream | None = None, tail: int = 0
    ) -> Item:
        """Mixes parts at one level, or each at `snr_db` relative to the voice (or the effects) over it."""
        n = max(part.end for part in parts) + tail
        sound = np.zeros(n, np.float32) if snr_db is None else (over or self.talk).take(n)
        music = np.zeros(n, np.float32)
        for part in parts:
            voice = sound[part.at : part.end]
            level = MUSIC_LEVEL if snr_db is None else rms(voice) * 10 ** (snr_db / 20)
            music[part.at : part.end] += _at_level(part, level)
        heard = [_heard(part, kind, snr_db) for part in parts if part.excerpt.reference.name in self.names]
        return Item(limited(sound + music), tuple(heard))


def _at_level(part: Part, level: float) -> Floats:
    """Scales an excerpt to a level and fades its ends."""
    gain = level * 10 ** (part.gain_db / 20) / max(rms(part.excerpt.sound), conditions.QUIET)
    faded = part.excerpt.sound * np.float32(gain)
    faded[: part.fade_in] *= _rise(part.fade_in)
    faded[len(faded) - part.fade_out :] *= _rise(part.fade_out)[::-1]
    return faded


def _heard(part: Part, kind: str, snr_db: float | None) -> PlayedInterval:
    """The interval in which the fades leave a part audible."""
    unheard_in, unheard_out = (_unheard(fade) for fade in (part.fade_in, part.fade_out))
    rate, start = part.excerpt.rate, part.at + unheard_in
    against_db = snr_db if part.against_db is None else part.against_db
    track_start = part.excerpt.start + unheard_in * rate
    return PlayedInterval(
        part.excerpt.reference.name, start, part.end - unheard_out, track_start, rate, against_db, kind
    )


def _unheard(fade: int) -> int:
    return round(fade * 2 / np.pi * np.arcsin(AUDIBLE_GAIN)) if fade > EDGE else 0


def _rise(n: int) -> Floats:
    """An equal-power fade, so that a crossfade keeps the loudness."""
    return np.sin(np.linspace(0, np.pi / 2, n, dtype=np.float32))


def rms(sound: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(sound)))) if len(sound) else 0.0


def limited(sound: Floats) -> Floats:
    """Attenuates sound whose peaks would clip."""
    peak = float(np.abs(sound).max(initial=0))
    return sound * np.float32(PEAK / peak) if peak > PEAK else sound


# Items


def excerpt(studio: Studio, music: Music, snr_db: float | None, over: ClipStream | None = None) -> Item:
    kind = "clear" if snr_db is None else "effects" if over is studio.effects else "speech"
    return studio.mixed([Part(music.excerpt(studio.samples(EXCERPT_S)))], kind, snr_db, over)


def whole(studio: Studio, music: Music, snr_db: float | None) -> Item:
    return studio.mixed([Part(music.whole(MAX_WHOLE_S))], "clear" if snr_db is None else "speech", snr_db)


def jingle(studio: Studio, music: Music, snr_db: float | None) -> Item:
    """A few seconds of music; if under a voice, with talk before and after."""
    lead, tail = (studio.samples(JINGLE_LEAD_S) if snr_db is not None else 0 for _ in range(2))
    return studio.mixed([Part(music.excerpt(studio.samples(JINGLE_S)), lead)], "jingle", snr_db, tail=tail)


def crossfade(studio: Studio, music: Music, snr_db: float | None) -> Item:
    """Tracks that crossfade into each other."""
    fades = [EDGE, *(studio.samples(FADE_S) for _ in range(CHAIN - 1)), EDGE]
    parts: list[Part] = []
    for fade_in, fade_out in pairwise(fades):
        at = parts[-1].end - fade_in if parts else 0
        parts.append(Part(music.excerpt(studio.samples(CHAINED_S)), at, fade_in, fade_out))
    return studio.mixed(parts, "crossfade", snr_db)


def medley(studio: Studio, music: Music, snr_db: float | None) -> Item:
    """Excerpts of 5 s, joined by hard cuts."""
    return studio.mixed(
        _in_a_row([music.excerpt(round(MEDLEY_S * SAMPLE_RATE_HZ)) for _ in range(MEDLEY)]), "medley", snr_db
    )


def twice(studio: Studio, music: Music, snr_db: float | None) -> Item:
    """The same stretch of a track twice in a row."""
    first = music.excerpt(studio.samples(TWICE_S))
    return studio.mixed(_in_a_row([first, first]), "twice", snr_db)


def jump(studio: Studio, music: Music, snr_db: float | None) -> Item:
    """A track that jumps to another position, at least MIN_JUMP_S away from where it would continue."""
    first = music.excerpt(studio.samples(JUMP_S))
    far = studio.samples((MIN_JUMP_S, 60.0)) * int(studio.rng.choice([-1, 1]))
    following = first.start + len(first.sound)
    second = music.again(first, following + far, studio.samples(JUMP_S))
    if abs(second.start - following) < MIN_JUMP_S * SAMPLE_RATE_HZ:  # too close to the end of the track: jump backward
        second = music.again(first, following - abs(far), len(second.sound))
    return studio.mixed(_in_a_row([first, second]), "jump", snr_db)


def both(studio: Studio, music: Music) -> Item:
    """Two tracks at once, one of them up to 6 dB louder."""
    n, louder_db = studio.samples(BOTH_S), float(studio.rng.uniform(0, 6))
    one, other = music.excerpt(n), music.excerpt(n)
    parts = [
        Part(one, gain_db=louder_db / 2, against_db=louder_db),
        Part(other, gain_db=-louder_db / 2, against_db=-louder_db),
    ]
    return studio.mixed(parts, "both", None)


def degraded(studio: Studio, music: Music) -> Item:
    """Music processed by the station, or a mix sent through a channel; half of it under a voice."""
    name = studio.degraded.draw()
    kind = name.split()[0]
    n = studio.samples(DEGRADED_S)
    snr_db = float(studio.rng.uniform(*DEGRADED_DB)) if kind == "room" or studio.rng.random() < 0.5 else None
    if kind in PLAYED:
        return studio.mixed([Part(music.excerpt(n, BY_NAME[name]))], kind, snr_db)
    if kind == "harsh":
        return _harsh(studio, music, n)
    over = studio.effects if kind == "room" and studio.rng.random() < 0.5 else None
    item = studio.mixed([Part(music.excerpt(n))], kind, snr_db, over)
    return Item(limited(_as_loud(DEGRADATIONS[name](item.sound, studio.rng), item.sound)), item.heard)


def _harsh(studio: Studio, music: Music, n: int) -> Item:
    """The fingerprint benchmark's harsh chain, which mixes its own voice and noise over the music."""
    rate = conditions.HARSH_RATE
    taken = music.excerpt(round(n * rate))
    n = int(len(taken.sound) / rate)
    sounds = Sounds(*(conditions.to_pcm(of.take(n)) for of in (studio.talk, studio.effects)))
    made = conditions.harsh(taken.sound, sounds, studio.rng)[:n]
    played = Excerpt(taken.reference, taken.start, rate, np.pad(made, (0, n - len(made))))
    item = studio.mixed([Part(played)], "harsh", None)
    return Item(item.sound, tuple(_with_snr(heard, 0.0) for heard in item.heard))


def _with_snr(heard: PlayedInterval, snr_db: float) -> PlayedInterval:
    return PlayedInterval(heard.track, heard.start, heard.end, heard.track_start, heard.rate, snr_db, heard.kind)


def talk(studio: Studio, between_s: tuple[float, float]) -> Item:
    return Item(studio.talk.take(studio.samples(between_s)))


def effects(studio: Studio, between_s: tuple[float, float]) -> Item:
    return Item(studio.effects.take(studio.samples(between_s)))


def _in_a_row(excerpts: Sequence[Excerpt]) -> list[Part]:
    ends = np.cumsum([len(excerpt.sound) for excerpt in excerpts])
    return [Part(excerpt, int(end) - len(excerpt.sound)) for excerpt, end in zip(excerpts, ends, strict=True)]


def _as_loud(sound: Floats, as_this: Floats) -> Floats:
    """Fits sound to the length and level of another."""
    fitted = np.pad(sound[: len(as_this)], (0, max(0, len(as_this) - len(sound))))
    return fitted * np.float32(rms(as_this) / max(rms(fitted), conditions.QUIET))


Make = Callable[[Studio, Music, float | None], Item]
BY_NAME = {condition.name: condition for condition in CONDITIONS}
Channel = Callable[[Floats, np.random.Generator], Floats]
# By name: processing by the station (one of CONDITIONS), or a channel. The first word is the kind of the play.
DEGRADATIONS: dict[str, Channel] = {
    **{name: lambda sound, _: sound for name in BY_NAME if name.split()[0] in PLAYED},
    "room 1": conditions.in_room,
    "room 2": conditions.in_room,
    "telephone": lambda sound, rng: conditions.telephone(sound, NOTHING, rng),
    **{f"codec {c[0]}": lambda sound, rng, c=c: conditions.coded(*c)(sound, NOTHING, rng) for c in conditions.CODECS},
    "compression": lambda sound, rng: conditions.filtered(COMPRESSOR)(sound, NOTHING, rng),
    "harsh": lambda sound, _: sound,
}
