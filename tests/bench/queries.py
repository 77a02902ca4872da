"""The benchmark's references and queries, written once to a cache folder: every system gets the very same bytes.

references/*.flac      32 kHz mono: the music of the test split, voices made of its speech, and distractors
queries-*/*.wav        32 kHz mono, 16 bit; the same places of the same tracks under every condition
queries-*/queries.json what each query is; written last, so that it stands for a complete folder
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
from monitor.training import conditions, corpus
from monitor.training.cache import decode
from monitor.training.conditions import CONDITIONS, Condition, Pcm, Sounds
from monitor.training.corpus import AudioFile, Split
from monitor.training.errors import TrainingError

LENGTHS_S = (1, 2, 3, 5, 10)
# These are asked at every length, the others at USUAL_S: a run shall take half an hour, not two.
AT_EVERY_LENGTH = frozenset(
    ["clean", "noise 0-10 dB + room", "harsh chain", "voice: clean"]
    + [f"speech over, music {music_db:+d} dB" for music_db in (0, -6, -12)]
)
USUAL_S = 5
VOICES = 30  # references that are or carry a voice
SPEECH_S = 1500.0  # laid over queries; what remains of the split's speech makes the voices
BEDS = 12  # tracks of which the voices' beds are made
INTRO_S = 10.0  # left out of a distractor of which only a part is taken
MIN_S = 12.0  # of a reference that queries are cut from
AROUND_S = 3  # of a track, read with the place that is asked for
LEVEL = 3000.0  # root mean square of every sound that is laid over, so that none drowns the others


@dataclass(frozen=True, slots=True)
class Reference:
    """A file of the catalog. group: recordings with the same one are versions of one another."""

    path: Path
    group: str
    duration_s: float
    of: str  # music, voice or distractor


@dataclass(frozen=True, slots=True)
class Query:
    """A clip: its first sample is start_s into a reference, of which `rate` seconds pass in one of its own."""

    path: Path
    condition: str
    length_s: int
    reference: int
    start_s: float
    rate: float


def references(folder: Path, roots: Sequence[Path], distractors_s: float, seed: int) -> list[Reference]:
    """Decodes what is not in the cache yet. roots: folders of unpacked packages; the first that has one counts.

    distractors_s: of each distractor so much is taken, or all of it if 0.
    """
    folder = folder / "references"
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        named = music_files(roots).items()
        music = _heard(pool.map(lambda pair: _reference(folder, *pair, "music", 0), named))
        named = _files(roots, ["tune", "train"], "music").items()
        others = _heard(pool.map(lambda pair: _reference(folder, *pair, "distractor", distractors_s), named))
    return [*music, *_voices(folder, roots, music, seed), *others]


def queries(folder: Path, roots: Sequence[Path], refs: Sequence[Reference], n: int, seed: int) -> list[Query]:
    """`n` places under every condition, at its lengths; what is in the cache already is taken from there."""
    key = hashlib.sha256(f"{[(r.path.name, r.duration_s) for r in refs if r.of != 'distractor']} {n} {seed}".encode())
    folder = folder / f"queries-{key.hexdigest()[:10]}"
    told = folder / "queries.json"
    if not told.exists():
        folder.mkdir(parents=True, exist_ok=True)
        asked = _made(folder, roots, refs, n, seed)
        told.write_text(json.dumps([{**asdict(query), "path": query.path.name} for query in asked]))
    rows = json.loads(told.read_text())
    return [Query(**{**row, "path": folder / row["path"]}) for row in rows]


def music_files(roots: Sequence[Path]) -> dict[str, AudioFile]:
    """The test split's music, by package and name."""
    return _files(roots, ["test"], "music")


@cache
def duration_s(file: AudioFile) -> float:
    return len(decode(file)) / SAMPLE_RATE_HZ


def _files(roots: Sequence[Path], splits: Iterable[Split], kind: str) -> dict[str, AudioFile]:
    """Those that are there, by package and name."""
    found: dict[str, AudioFile] = {}
    for split in splits:
        for root in roots:
            try:
                files = corpus.of_split(split, root)
            except TrainingError:  # none of the split's packages is here
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


def _heard(found: Iterable[Reference]) -> list[Reference]:
    """Those that could be read."""
    return [reference for reference in found if reference.duration_s >= 1]


def _write(path: Path, pcm: Pcm) -> None:
    part = path.with_suffix(".part")
    pcm = pcm if len(pcm) else np.zeros(1, np.int16)  # no audio; a FLAC file of nothing could not be read again
    soundfile.write(part, pcm, SAMPLE_RATE_HZ, "PCM_16", format="FLAC")
    part.rename(path)


def _voices(folder: Path, roots: Sequence[Path], music: Sequence[Reference], seed: int) -> list[Reference]:
    files = _speech(roots, over=False)
    told = folder / f"voices-{_name(f'{len(files)} {len(music)} {seed}')}.json"
    if not told.exists():
        clips = [_levelled(decode(file)) for file in files]
        beds = [soundfile.read(reference.path, dtype="int16")[0] for reference in music[:: max(1, len(music) // BEDS)]]
        names = []
        for name, pcm in conditions.voice_references(clips, beds, VOICES, np.random.default_rng(seed)):
            _write(folder / f"{told.stem} {name}.flac", pcm)
            names.append(name)
        told.write_text(json.dumps(names))
    paths = {name: folder / f"{told.stem} {name}.flac" for name in json.loads(told.read_text())}
    return [
        Reference(path, name, soundfile.info(path).frames / SAMPLE_RATE_HZ, "voice") for name, path in paths.items()
    ]


def _speech(roots: Sequence[Path], *, over: bool) -> list[AudioFile]:
    """The half of the test split's speech that is laid over queries, or the half that voices are made of."""
    files = _files(roots, ["test"], "speech").values()
    return [file for file in files if (int(_name(file.name), 16) % 2 == 0) == over]


def _made(folder: Path, roots: Sequence[Path], refs: Sequence[Reference], n: int, seed: int) -> list[Query]:
    effects = list(_files(roots, ["test"], "noise").values())
    sounds = Sounds(_strung(_speech(roots, over=True), seed), _strung(effects, seed))
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
    first = max(0, start - AROUND_S * SAMPLE_RATE_HZ)
    wanted = (max(LENGTHS_S) + 2 * AROUND_S) * SAMPLE_RATE_HZ
    track = soundfile.read(reference.path, wanted, first, dtype="int16")[0]
    return conditions.query(condition, track, start - first, max(LENGTHS_S), sounds, rng)


def _places(refs: Sequence[Reference], of: str, n: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """`n` pairs of a reference and a sample: every reference in turn, in random order, wherever it is not silent."""
    candidates = [i for i, reference in enumerate(refs) if reference.of == of and reference.duration_s >= MIN_S]
    order = rng.permutation(candidates)
    found: list[tuple[int, int]] = []
    for i in np.resize(order, 4 * n) if len(order) else []:
        track = soundfile.read(refs[i].path, dtype="int16")[0]
        found += [(int(i), start) for start in conditions.query_starts(track, max(LENGTHS_S), 1, rng)]
        if len(found) == n:
            break
    return found


def _strung(files: Sequence[AudioFile], seed: int) -> Pcm:
    """Files behind one another in random order, without pauses of their own making, each at LEVEL."""
    left = int(SPEECH_S * SAMPLE_RATE_HZ)
    parts: list[Pcm] = []
    for i in np.random.default_rng(seed).permutation(len(files)):
        pcm = _levelled(decode(files[i], 20))
        parts.append(pcm[:left])
        left -= len(parts[-1])
        if left <= 0:
            break
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)


def _levelled(pcm: Pcm) -> Pcm:
    sound = pcm.astype(np.float32)
    loudness = float(np.sqrt(np.mean(sound**2))) if len(sound) else 0.0
    return np.clip(sound * LEVEL / loudness, -32767, 32767).astype(np.int16) if loudness > 1 else pcm[:0]


def _name(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
