"""The retrieval benchmark: excerpts of a split's tracks, degraded as in broadcasting, are searched among all tracks.

For each detector, on the same queries: the share of queries whose best place is the true one, by length and condition.
The score of a place is the mean cosine along the alignment that starts there. The search is exhaustive, so that no
index adds errors of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import structlog
from numpy.typing import NDArray

from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from monitor.detect.detector import Embeddings
from monitor.detect.spectrum import RATE_HZ
from monitor.training import cache
from monitor.training.corpus import AudioFile
from monitor.training.distortions import conditions, voices
from monitor.training.distortions.conditions import CONDITIONS, Condition, Sounds
from monitor.training.errors import TrainingError

log = structlog.get_logger(__name__)

Pcm = NDArray[np.int16]
Floats = NDArray[np.float32]
Embed = Callable[[Pcm], Embeddings]

LENGTHS_S = (1, 2, 3, 5, 10)
EXACT_S = 0.25  # half a hop
NEAR_S = 0.5
TOLERANCE_S = 0.01  # a query halfway between two segments has two right answers
Z95 = 1.959964
VOICE_TRACKS = 20
BED_TRACKS = 6  # whose music is mixed under voices
SPEECH_S, NOISE_S = 1500.0, 900.0


@dataclass(frozen=True, slots=True)
class Track:
    """A reference, 32 kHz PCM, int16 (n_samples,). Finding any recording of the same `group` counts as finding it."""

    group: str
    pcm: Pcm


@dataclass(frozen=True, slots=True)
class Query:
    """The place that an excerpt was cut from: the number of the track, and the first sample in it."""

    track: int
    start: int


@dataclass(frozen=True, slots=True)
class Share:
    """A share of n queries with its 95 % confidence interval (Wilson)."""

    share: float
    low: float
    high: float
    n: int


@dataclass(slots=True)
class Row:
    """The results of one condition: for each length in seconds, the shares found exactly, nearly, and by track."""

    condition: str
    exact: dict[int, Share] = field(default_factory=dict)
    near: dict[int, Share] = field(default_factory=dict)
    track: dict[int, Share] = field(default_factory=dict)


def wilson(found: int, n: int) -> Share:
    """The share `found` / `n` with Wilson's confidence interval, which is accurate near 100 %, too."""
    if n == 0:
        return Share(math.nan, math.nan, math.nan, 0)
    p, z2 = found / n, Z95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # Rounding must not put a share of 0 or 100 % outside its interval.
    return Share(p, min(p, max(0.0, middle - half)), max(p, min(1.0, middle + half)), n)


class Index:
    """All segments of all tracks of a catalog, searched exhaustively."""

    def __init__(self) -> None:
        self._parts: list[Floats] = []
        self._groups: list[str] = []
        self.vectors: Floats = np.empty((0, 0), np.float32)

    def add(self, group: str, vectors: Floats) -> int:
        """Adds a track with its vectors, float32 (k, dimensions), and returns its number."""
        self._parts.append(vectors)
        self._groups.append(group)
        return len(self._groups) - 1

    def close(self) -> None:
        """Completes the index. Call it once, after all tracks are added."""
        self.vectors = np.ascontiguousarray(np.concatenate(self._parts))
        lengths = [len(part) for part in self._parts]
        self._first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self._owner = np.repeat(np.arange(len(lengths)), lengths)
        ends = np.repeat(np.cumsum(lengths), lengths)
        self._left = ends - np.arange(len(self.vectors))  # segments left in the same track
        self._parts = []

    def best(self, query: Floats, lengths: Sequence[int]) -> list[tuple[int, int]]:
        """The best place for each length: the track and segment where the query's first `length` segments match best.

        query: float32 (k, dimensions). lengths: in segments.
        """
        cosines = query[: max(lengths)] @ self.vectors.T
        along, found = np.zeros(len(self.vectors), np.float32), {}
        for i, row in enumerate(cosines):
            along[: len(along) - i] += row[i:]
            if i + 1 in lengths:
                place = int(np.where(self._left > i, along, -np.inf).argmax())
                owner = int(self._owner[place])
                found[i + 1] = (owner, place - int(self._first[owner]))
        return [found[length] for length in lengths]

    def is_same(self, a: int, b: int) -> bool:
        """Whether two tracks, by number, are versions of one recording."""
        return self._groups[a] == self._groups[b]


def segments_of(seconds: int) -> int:
    """The number of whole segments in a query of this length."""
    return (seconds * SAMPLE_RATE_HZ - SEGMENT_SAMPLES) // HOP_SAMPLES + 1


def draw(tracks: Sequence[Track], n: int, rng: np.random.Generator) -> list[Query]:
    """Draws `n` queries, spread evenly over the tracks, without silent seconds.

    Raises:
        TrainingError: no track is long enough.
    """
    queries: list[Query] = []
    order = rng.permutation(len(tracks))
    for i in map(int, np.resize(order, 4 * n) if len(order) else []):
        starts = conditions.query_starts(tracks[i].pcm, max(LENGTHS_S), 1, rng)
        queries += [Query(i, start) for start in starts[: n - len(queries)]]
    if not queries:
        raise TrainingError("no track is long enough for the benchmark's queries of 10 s: add longer ones")
    return queries


def run(
    detectors: Mapping[str, Embed],
    references: Mapping[str, Sequence[Track]],
    distractors: Iterable[Track],
    sounds: Sounds,
    *,
    n_queries: int,
    seed: int,
    only: str = "",
) -> dict[str, list[Row]]:
    """Runs all detectors on the same queries and the same catalog; returns the rows of each detector.

    references: the tracks that queries are cut from, by kind ("music" or "voice", like `Condition.of`).
    distractors: further tracks of the catalog.
    only: run just the conditions whose names contain this.
    """
    rng = np.random.default_rng(seed)
    queries = {of: draw(tracks, n_queries, rng) for of, tracks in references.items() if tracks}
    indexes, first = _indexes(detectors, references, distractors)
    rows: dict[str, list[Row]] = {name: [] for name in detectors}
    for k, condition in enumerate(CONDITIONS):
        if only not in condition.name or condition.of not in queries:
            continue
        tracks, asked = references[condition.of], queries[condition.of]
        heard = [
            conditions.query(
                condition, tracks[q.track].pcm, q.start, max(LENGTHS_S), sounds, np.random.default_rng([seed, k, i])
            )
            for i, q in enumerate(asked)
        ]
        for name, embed in detectors.items():
            row = _row(condition, indexes[name], embed, heard, asked, first[condition.of])
            rows[name].append(row)
            shares = {f"track_{s}s": round(100 * row.track[s].share, 1) for s in LENGTHS_S}
            log.info("evaluate.condition", detector=name, condition=condition.name, queries=len(asked), **shares)
    return rows


def _indexes(
    detectors: Mapping[str, Embed], references: Mapping[str, Sequence[Track]], distractors: Iterable[Track]
) -> tuple[dict[str, Index], dict[str, int]]:
    """An index per detector, and the number of the first track of each kind of reference."""
    indexes = {name: Index() for name in detectors}
    first, n = {}, 0
    for of, tracks in references.items():
        first[of], n = n, n + len(tracks)
    for track in itertools.chain(*references.values(), distractors):
        for name, embed in detectors.items():
            indexes[name].add(track.group, embed(track.pcm).vectors)
    for index in indexes.values():
        index.close()
    return indexes, first


def _row(
    condition: Condition, index: Index, embed: Embed, heard: Sequence[Pcm], queries: Sequence[Query], first: int
) -> Row:
    lengths = [segments_of(s) for s in LENGTHS_S]
    found = {s: np.zeros(3, np.int64) for s in LENGTHS_S}
    for sound, query in zip(heard, queries, strict=True):
        best = index.best(embed(sound).vectors, lengths)
        for s, (track, segment) in zip(LENGTHS_S, best, strict=True):
            # Compare at the middle of the query: alignments assume the track's own speed, and fit best there.
            true_s = query.start / SAMPLE_RATE_HZ + condition.rate * s / 2
            error_s = abs(segment * HOP_SAMPLES / SAMPLE_RATE_HZ + s / 2 - true_s)
            is_own = track == query.track + first
            found[s] += (
                is_own and error_s <= EXACT_S + TOLERANCE_S,
                is_own and error_s <= NEAR_S + TOLERANCE_S,
                index.is_same(track, query.track + first),
            )
    n = len(queries)
    exact, near, by_track = ({s: wilson(int(found[s][i]), n) for s in LENGTHS_S} for i in range(3))
    return Row(condition.name, exact, near, by_track)


def as_json(rows: dict[str, list[Row]]) -> dict[str, object]:
    """Plain values for JSON."""
    return {name: [asdict(row) for row in of] for name, of in rows.items()}


def as_text(rows: dict[str, list[Row]]) -> str:
    """A table of percentages per condition and length: exact / near / track, and the interval of track."""
    lines: list[str] = []
    for name, of in rows.items():
        lines.append(f"{name}: top-1 exact/near/track in % (95 % interval of track)")
        lines.append(f"{'condition':34}" + "".join(f"{f'{s} s':>28}" for s in LENGTHS_S))
        for row in of:
            cells = [_cell(row, s) for s in LENGTHS_S]
            lines.append(f"{row.condition:34}" + "".join(f"{cell:>28}" for cell in cells))
        lines.append("")
    return "\n".join(lines)


def _cell(row: Row, s: int) -> str:
    exact, near, track = (100 * shares[s].share for shares in (row.exact, row.near, row.track))
    return f"{exact:.1f}/{near:.1f}/{track:.1f} ({100 * row.track[s].low:.0f}-{100 * row.track[s].high:.0f})"


def load_tracks(files: Sequence[AudioFile]) -> list[Track]:
    """Decodes the music among the files. Unreadable files are left out."""
    tracks = []
    for file in files:
        if file.kind == "music":
            pcm = cache.decode(file)
            if len(pcm) >= SEGMENT_SAMPLES:
                tracks.append(Track(file.track, pcm))
    return tracks


def sounds_of(files: Sequence[AudioFile], seed: int) -> tuple[Sounds, list[Pcm]]:
    """The sounds to mix over queries, and the other half of the speech, from which voice references are made."""
    rng = np.random.default_rng(seed)
    speech = [file for file in files if file.kind == "speech"]
    noise = [file for file in files if file.kind == "noise"]
    order = rng.permutation(len(speech))
    over = _decode_at_level([speech[i] for i in order[::2]], SPEECH_S)
    clips = _decode_at_level([speech[i] for i in order[1::2]], SPEECH_S)
    effects = _decode_at_level([noise[i] for i in rng.permutation(len(noise))], NOISE_S)
    return Sounds(_concatenated(over), _concatenated(effects or over)), clips


def voice_tracks(clips: Sequence[Pcm], tracks: Sequence[Track], seed: int) -> list[Track]:
    """Makes references that are or contain a voice. Their music beds come from some of the tracks."""
    beds = [track.pcm for track in tracks[:: max(1, len(tracks) // BED_TRACKS)]]
    made = conditions.voice_references(list(clips), beds, VOICE_TRACKS, np.random.default_rng(seed))
    return [Track(name, pcm) for name, pcm in made]


def _decode_at_level(files: Sequence[AudioFile], seconds: float) -> list[Pcm]:
    """Decodes files to the same level, up to a total of `seconds`."""
    parts: list[Pcm] = []
    left = int(seconds * SAMPLE_RATE_HZ)
    for file in files:
        if left <= 0:
            break
        parts.append(voices.at_level(cache.decode(file)[: 20 * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ))
        left -= len(parts[-1])
    return parts


def _concatenated(parts: Sequence[Pcm]) -> Pcm:
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)


def cached_tracks(kept: cache.Cache) -> Iterable[Track]:
    """The music of a training cache, resampled from 16 kHz to 32 kHz, for use as distractors."""
    for clip in kept.of_kind("music"):
        sound = kept.pcm[clip.start : clip.start + clip.samples].astype(np.float32)
        wide = cache.resample(sound, RATE_HZ, SAMPLE_RATE_HZ)
        yield Track(clip.track, np.round(np.clip(wide, -32768, 32767)).astype(np.int16))
