"""The benchmark's references and queries, written once to a cache folder, so that every system gets the same bytes.

references/*.flac      32 kHz mono: the music of the test split, voices made from its speech, and distractors
queries-*/*.wav        32 kHz mono, 16 bits: the same places of the same tracks under every condition
queries-*/queries.json describes the queries; written last, so that its presence marks a complete folder
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.training import corpus
from monitor.training.cache import decode
from monitor.training.corpus import AudioFile, Split
from monitor.training.distortions import conditions
from monitor.training.distortions.conditions import CONDITIONS, Condition, Pcm, Sounds
from monitor.training.errors import TrainingError

LENGTHS_S = (1, 2, 3, 5, 10)
# Conditions measured at every length; the others only at USUAL_S, so that a run takes half an hour, not two.
AT_EVERY_LENGTH = frozenset(
    ["clean", "noise 0-10 dB + room", "harsh chain", "voice: clean"]
    + [f"speech over, music {music_db:+d} dB" for music_db in (0, -6, -12)]
)
USUAL_S = 5
VOICES = 30  # references that are or contain a voice
SPEECH_S = 1500.0  # mixed over queries; the rest of the split's speech makes the voices
BEDS = 12  # tracks from which the voices' music beds are made
INTRO_S = 10.0  # skipped if only a part of a distractor is taken
MIN_S = 12.0  # the shortest reference to cut queries from
CONTEXT_S = 3  # read before and after the place of a query
LEVEL = 3000.0  # RMS of every sound to mix over queries, so that none masks the others


@dataclass(frozen=True, slots=True)
class Reference:
    """A file of the catalog. Recordings of the same group are versions of one another."""

    path: Path
    group: str
    duration_s: float
    of: str  # music, voice or distractor


@dataclass(frozen=True, slots=True)
class Query:
    """A clip that starts start_s into a reference and plays `rate` seconds of it per second."""

    path: Path
    condition: str
    length_s: int
    reference: int
    start_s: float
    rate: float


def references(folder: Path, roots: Sequence[Path], distractors_s: float, seed: int) -> list[Reference]:
    """Decodes the references that are not in the cache yet.

    roots: folders of unpacked packages, the first of which has precedence.
    distractors_s: how much of each distractor to take; 0: all of it.
    """
    folder = folder / "references"
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        named = music_files(roots).items()
        music = _readable(pool.map(lambda pair: _reference(folder, *pair, "music", 0), named))
        named = _files(roots, ["tune", "train"], "music").items()
        others = _readable(pool.map(lambda pair: _reference(folder, *pair, "distractor", distractors_s), named))
    return [*music, *_voices(folder, roots, music, seed), *others]


def queries(folder: Path, roots: Sequence[Path], refs: Sequence[Reference], n: int, seed: int) -> list[Query]:
    """Makes `n` queries for every condition and length, unless they are in the cache already."""
    key = hashlib.sha256(f"{[(r.path.name, r.duration_s) for r in refs if r.of != 'distractor']} {n} {seed}".encode())
    folder = folder / f"queries-{key.hexdigest()[:10]}"
    index = folder / "queries.json"
    if not index.exists():
        folder.mkdir(parents=True, exist_ok=True)
        asked = _made(folder, roots, refs, n, seed)
        index.write_text(json.dumps([{**asdict(query), "path": query.path.name} for query in asked]))
    rows = json.loads(index.read_text())
    return [Query(**{**row, "path": folder / row["path"]}) for row in rows]


def music_files(roots: Sequence[Path]) -> dict[str, AudioFile]:
    """The music of the test split, by package and name."""
    return _files(roots, ["test"], "music")


@cache
def duration_s(file: AudioFile) -> float:
    return len(decode(file)) / SAMPLE_RATE_HZ


def _files(roots: Sequence[Path], splits: Iterable[Split], kind: str) -> dict[str, AudioFile]:
    """The existing files of the splits, by package and name."""
    found: dict[str, AudioFile] = {}
    for split in splits:
        for root in roots:
            try:
                files = corpus.of_split(split, root)
            except TrainingError:  # this root has none of the split's packages
                continue
            for file in files:
                if file.kind == kind and file.path.exists():
                    found.setdefault(f"{file.path.relative_to(root)}!{file.member}", file)
    return found


def _reference(folder: Path, name: str, file: AudioFile, of: str, max_s: float) -> Reference:
    part = f" {max_s:g} s" if max_s else ""
    path = folder / f"{_name(name + part)}.flac"
    if not path.exists():
        pcm = decode(file, INTRO_S + max_s)[-int(max_s * SAMPLE_RATE_HZ) :] if max_s else decode(file)
        _write(path, pcm)
    return Reference(path, file.track, soundfile.info(path).frames / SAMPLE_RATE_HZ, of)


def _readable(found: Iterable[Reference]) -> list[Reference]:
    """The references that could be decoded."""
    return [reference for reference in found if reference.duration_s >= 1]


def _write(path: Path, pcm: Pcm) -> None:
    part = path.with_suffix(".part")
    pcm = pcm if len(pcm) else np.zeros(1, np.int16)  # an empty FLAC file cannot be read
    soundfile.write(part, pcm, SAMPLE_RATE_HZ, "PCM_16", format="FLAC")
    part.rename(path)


def _voices(folder: Path, roots: Sequence[Path], music: Sequence[Reference], seed: int) -> list[Reference]:
    files = _speech(roots, over=False)
    index = folder / f"voices-{_name(f'{len(files)} {len(music)} {seed}')}.json"
    if not index.exists():
        clips = [_at_level(decode(file)) for file in files]
        beds = [soundfile.read(reference.path, dtype="int16")[0] for reference in music[:: max(1, len(music) // BEDS)]]
        names = []
        for name, pcm in conditions.voice_references(clips, beds, VOICES, np.random.default_rng(seed)):
            _write(folder / f"{index.stem} {name}.flac", pcm)
            names.append(name)
        index.write_text(json.dumps(names))
    paths = {name: folder / f"{index.stem} {name}.flac" for name in json.loads(index.read_text())}
    return [
        Reference(path, name, soundfile.info(path).frames / SAMPLE_RATE_HZ, "voice") for name, path in paths.items()
    ]


def _speech(roots: Sequence[Path], *, over: bool) -> list[AudioFile]:
    """The half of the test split's speech to mix over queries, or the half that voices are made from."""
    files = _files(roots, ["test"], "speech").values()
    return [file for file in files if (int(_name(file.name), 16) % 2 == 0) == over]


def _made(folder: Path, roots: Sequence[Path], refs: Sequence[Reference], n: int, seed: int) -> list[Query]:
    effects = list(_files(roots, ["test"], "noise").values())
    sounds = Sounds(_concatenated(_speech(roots, over=True), seed), _concatenated(effects, seed))
    places = {of: _places(refs, of, n, np.random.default_rng([seed, i])) for i, of in enumerate(("music", "voice"))}
    asked: list[Query] = []
    for number, condition in enumerate(CONDITIONS):
        for i, (reference, start) in enumerate(places[condition.of]):
            rng = np.random.default_rng([seed, number, i])
            pcm = _excerpt(refs[reference], condition, start, sounds, rng)
            lengths = LENGTHS_S if condition.name in AT_EVERY_LENGTH else (USUAL_S,)
            for length_s in lengths:
                path = folder / f"{number:02d}-{i:03d}-{length_s}s.wav"
                soundfile.write(path, pcm[: length_s * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ, "PCM_16")
                start_s = start / SAMPLE_RATE_HZ
                asked.append(Query(path, condition.name, length_s, reference, start_s, condition.rate))
    return asked


def _excerpt(reference: Reference, condition: Condition, start: int, sounds: Sounds, rng: np.random.Generator) -> Pcm:
    first = max(0, start - CONTEXT_S * SAMPLE_RATE_HZ)
    wanted = (max(LENGTHS_S) + 2 * CONTEXT_S) * SAMPLE_RATE_HZ
    track = soundfile.read(reference.path, wanted, first, dtype="int16")[0]
    return conditions.query(condition, track, start - first, max(LENGTHS_S), sounds, rng)


def _places(refs: Sequence[Reference], of: str, n: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Draws `n` pairs of a reference and a start sample, in turn from all references, where they are not silent."""
    candidates = [i for i, reference in enumerate(refs) if reference.of == of and reference.duration_s >= MIN_S]
    order = rng.permutation(candidates)
    found: list[tuple[int, int]] = []
    for i in np.resize(order, 4 * n) if len(order) else []:
        track = soundfile.read(refs[i].path, dtype="int16")[0]
        found += [(int(i), start) for start in conditions.query_starts(track, max(LENGTHS_S), 1, rng)]
        if len(found) == n:
            break
    return found


def _concatenated(files: Sequence[AudioFile], seed: int) -> Pcm:
    """Concatenates files in random order without pauses, each at LEVEL."""
    left = int(SPEECH_S * SAMPLE_RATE_HZ)
    parts: list[Pcm] = []
    for i in np.random.default_rng(seed).permutation(len(files)):
        pcm = _at_level(decode(files[i], 20))
        parts.append(pcm[:left])
        left -= len(parts[-1])
        if left <= 0:
            break
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)


def _at_level(pcm: Pcm) -> Pcm:
    sound = pcm.astype(np.float32)
    loudness = float(np.sqrt(np.mean(sound**2))) if len(sound) else 0.0
    return np.clip(sound * LEVEL / loudness, -32767, 32767).astype(np.int16) if loudness > 1 else pcm[:0]


def _name(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
