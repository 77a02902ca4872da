"""The station's programs, in which catalog tracks and unknown music alternate. They are encoded once and cached."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ingest.sources.ffmpeg import binary
from monitor.demo import media
from monitor.demo.processes import run
from monitor.demo.program import Recording
from tests.bench.live.frames import Codec, Encoded, parse
from tests.bench.runs import bench_cache, key, log

CODECS: tuple[Codec, ...] = ("mp3", "aac", "opus")
PROGRAMS = 12
LENGTH_S = 360.0
KNOWN_S, UNKNOWN_S = (25.0, 40.0), (18.0, 30.0)
EDGE_S = 1.5  # excerpts leave out the first and last seconds of a recording, which may be silent
UNKNOWN_EVERY = 4  # of the recordings of `make music`, every fourth is not registered
MP3 = ("-c:a", "libmp3lame", "-b:a", "128k", "-reservoir", "0", "-write_xing", "0", "-id3v2_version", "0", "-f", "mp3")
AAC = ("-c:a", "aac", "-b:a", "128k", "-f", "adts")
OPUS = ("-c:a", "libopus", "-b:a", "96k", "-ar", "48000", "-page_duration", "200000", "-f", "ogg")
FORMATS: dict[Codec, tuple[str, ...]] = {"mp3": MP3, "aac": AAC, "opus": OPUS}


@dataclass(frozen=True, slots=True)
class Item:
    """An interval of a program that plays a recording, in seconds. `known`: whether it is in the catalog."""

    source: str
    known: bool
    start_s: float
    end_s: float
    recording_start_s: float


@dataclass(frozen=True, slots=True)
class Program:
    """A program that was encoded: its file, and what it plays."""

    codec: Codec
    path: Path
    items: tuple[Item, ...]

    def encoded(self) -> Encoded:
        return parse(self.codec, self.path.read_bytes())


@dataclass(frozen=True, slots=True)
class Feed:
    """One stream: a program (its number), and the second of it that is on the air when the station starts."""

    program: int
    offset_s: float


@dataclass(frozen=True, slots=True)
class Play:
    """A catalog track on the air of one stream, in seconds since the Unix epoch."""

    source: str
    start_s: float
    end_s: float


def split(music: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
    """The recordings that are registered, and those that are not."""
    ordered = sorted(music, key=lambda each: each.path)
    unknown = ordered[::UNKNOWN_EVERY]
    return [each for each in ordered if each not in unknown], unknown


def plan(known: Sequence[Recording], unknown: Sequence[Recording], length_s: float, seed: int) -> tuple[Item, ...]:
    """Catalog tracks and unknown music by turns, for about `length_s`; begins with a track, ends with unknown music."""
    chance = random.Random(seed)
    decks = _shuffled(chance, known), _shuffled(chance, unknown)
    items: list[Item] = []
    at_s = 0.0
    while at_s < length_s:
        for deck, lengths_s, is_known in zip(decks, (KNOWN_S, UNKNOWN_S), (True, False), strict=True):
            recording = next(deck)
            usable_s = recording.duration_s - 2 * EDGE_S
            long_s = min(chance.uniform(*lengths_s), usable_s)
            begin_s = EDGE_S + chance.uniform(0, usable_s - long_s)
            items.append(Item(str(recording.path), is_known, at_s, at_s + long_s, begin_s))
            at_s += long_s
    return tuple(items)


def _shuffled(chance: random.Random, recordings: Sequence[Recording]) -> Iterator[Recording]:
    while True:
        yield from chance.sample(recordings, len(recordings))


def feeds(streams: int, programs: Sequence[tuple[Codec, float]], seed: int = 1) -> list[Feed]:
    """Spreads streams over programs, each given by its codec and length in seconds, and over their seconds."""
    chance = random.Random(seed)
    turns = -(-streams // len(programs))
    first_s = [chance.uniform(0, length_s) for _, length_s in programs]
    made = []
    for stream in range(streams):
        turn, number = divmod(stream, len(programs))
        length_s = programs[number][1]
        made.append(Feed(number, (first_s[number] + turn * length_s / turns) % length_s))
    return made


def plays(items: Sequence[Item], lap_s: float, offset_s: float, on_air_s: float, until_s: float) -> list[Play]:
    """What a stream plays from the catalog until a time, if it was `offset_s` into its program at `on_air_s`."""
    found = []
    first_s = on_air_s - offset_s
    while first_s < until_s:
        found += [Play(item.source, first_s + item.start_s, first_s + item.end_s) for item in items if item.known]
        first_s += lap_s
    return [play for play in found if play.end_s > on_air_s and play.start_s < until_s]


async def prepared(known: Sequence[Recording], unknown: Sequence[Recording]) -> list[Program]:
    """The encoded programs, from the cache or made now: a few minutes of one core."""
    facts = [(str(each.path), each.duration_s) for each in (*known, *unknown)]
    folder = bench_cache() / f"live-programs-{key(facts, PROGRAMS, LENGTH_S, KNOWN_S, UNKNOWN_S, FORMATS)}"
    folder.mkdir(parents=True, exist_ok=True)
    return [await _program(folder, number, known, unknown) for number in range(PROGRAMS)]


async def _program(folder: Path, number: int, known: Sequence[Recording], unknown: Sequence[Recording]) -> Program:
    codec = CODECS[number % len(CODECS)]
    path = folder / f"{number:02}.{codec}"
    listed = path.with_suffix(".json")
    if not listed.exists():
        log(f"program {number + 1} of {PROGRAMS}: {LENGTH_S / 60:.0f} minutes of {codec}")
        items = plan(known, unknown, LENGTH_S, number)
        unfinished = path.with_suffix(".new")
        unfinished.write_bytes(await _encode(items, codec))
        unfinished.rename(path)
        listed.write_text(json.dumps([asdict(item) for item in items]))
    return Program(codec, path, tuple(Item(**item) for item in json.loads(listed.read_text())))


async def _encode(items: Sequence[Item], codec: Codec) -> bytes:
    pieces = [
        await media.decode(Path(each.source), each.recording_start_s, each.end_s - each.start_s) for each in items
    ]
    pcm = await asyncio.to_thread(lambda: np.concatenate(pieces).astype("<f4").tobytes())
    form = ("-f", "f32le", "-ac", str(media.CHANNELS), "-ar", str(media.RATE_HZ), "-i", "-")
    made = await run([binary(), "-v", "error", *form, *FORMATS[codec], "-"], given=pcm)
    if made.status or not made.out:
        raise SystemExit(f"ffmpeg cannot encode {codec}: {made.err[-500:]}")
    return made.out
