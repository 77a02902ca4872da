"""Measures what searching less costs: plays found if only some segments are searched, or if the index is approximate.

Run by `make bench-search`. It replays the programs of the broadcast benchmark through the tracker, on the split `tune`,
because parameters are chosen by it. The catalog has the split's tracks, and synthetic ones up to each size: vectors of
other tracks with noise. Settings: AIRTRACE_CORPUS and AIRTRACE_BENCH_CACHE, as for the broadcast benchmark; and

    AIRTRACE_BENCH_VECTORS=N,N        the sizes of the catalog; default: 137000
    AIRTRACE_BENCH_KINDS=KIND,KIND    `exact`, `sparse` (exact, over every second vector of a track) or CELLS:PROBES of
                                      the index in memory; default: exact, and the plan that Airtrace has for the size
    AIRTRACE_BENCH_POLICIES=NAME,..   only policies whose names begin with one of these
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import count
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from monitor.core.reference import Reference
from monitor.core.segments import Hit
from monitor.detect.fingerprint import NeuralDetector
from monitor.evaluation.plays import Result, Truth
from monitor.evaluation.report import Latency, Report, as_json
from monitor.evaluation.score import score
from monitor.storage.candidate_search import hit_of, row_id
from monitor.storage.faiss_index import FaissIndex, IndexPlan, plan_for
from tests.bench import broadcast
from tests.bench.index_size import BULK_COSINE, TRACK_VECTORS, noisy
from tests.bench.peers.monitor import as_result
from tests.bench.runs import key, log
from tests.bench.search_replay import GetHits, Policy, Recording, replay

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SIZES = tuple(int(size) for size in os.environ.get("AIRTRACE_BENCH_VECTORS", "137000").split(","))
KINDS = tuple(filter(None, os.environ.get("AIRTRACE_BENCH_KINDS", "").split(",")))
CHOSEN = tuple(os.environ.get("AIRTRACE_BENCH_POLICIES", "").split(","))
HOURS = ("--split", "tune", "--hours", "1.5", "--unknown-hours", "0.5")
TOP_K = 20  # hits that are kept for each segment
PART = 100_000  # vectors searched at a time
SYNTHETIC = 1_000_000  # tracks starting at this id are synthetic

POLICIES = (
    Policy("all"),
    Policy("stride 2", 2),
    Policy("stride 2, near 2", 2, near_llr=2),
    Policy("stride 2, near 4", 2, near_llr=4),
    Policy("stride 2, near 6", 2, near_llr=6),
    Policy("stride 3, near 3", 3, near_llr=3),
    Policy("stride 4, near 3", 4, near_llr=3),
    Policy("on air 2", on_air_stride=2),
    Policy("on air 4", on_air_stride=4),
    Policy("locked at .8", locked_cosine=0.8),
    Policy("locked at .6", locked_cosine=0.6),
    Policy("together", 2, 4, 6, 0.8),  # stride 2, near 6, on air 4, locked at .8
    Policy("together, locked at .7", 2, 4, 6, 0.7),
    Policy("together, locked at .6", 2, 4, 6, 0.6),
    Policy("together, stride 3, near 3", 3, 4, 3, 0.8),
    Policy("together, plays by cells of 4", 2, 4, 6, 0.8, cell=4),
    Policy("together, plays by cells of 10", 2, 4, 6, 0.8, cell=10),
    Policy("together, all by cells of 4", 2, 4, 6, 0.8, cell=4, is_near_at_once=False),
    Policy("together, top 5", 2, 4, 6, 0.8, top_k=5),
    Policy("top 5", top_k=5),
    Policy("top 20", top_k=20),
)


@dataclass(frozen=True, eq=False)
class Material:
    """Recordings with their truth, and a catalog. tracks: vectors by track, zero where silent. names: of the files."""

    recordings: tuple[Recording, ...]
    truth: tuple[Truth, ...]
    families: Mapping[str, str]
    tracks: Mapping[int, Floats]
    names: Mapping[int, str]
    seeds: Floats = field(init=False)

    def __post_init__(self) -> None:
        every = np.concatenate(list(self.tracks.values()))
        object.__setattr__(self, "seeds", every[every.any(axis=1)])

    @property
    def queries(self) -> Floats:
        """The vectors of all audible segments."""
        return np.concatenate([of.vectors[of.audible] for of in self.recordings])

    def vectors(self, track: int) -> Floats:
        """A track's vectors. Those of a synthetic track are vectors of real ones with noise."""
        if track < SYNTHETIC:
            return self.tracks[track]
        first = (track - SYNTHETIC) * TRACK_VECTORS
        return noisy(np.take(self.seeds, np.arange(first, first + TRACK_VECTORS), 0, mode="wrap"), BULK_COSINE, track)

    def name(self, track: int) -> str:
        """The file name of a track."""
        return self.names.get(track, f"synthetic {track}")

    def references(self, tracks: Collection[int]) -> dict[int, Reference]:
        """The exact vectors of tracks."""
        return {track: self._reference(track) for track in tracks}

    @lru_cache(maxsize=3000)  # noqa: B019 - there is one material, until the end
    def _reference(self, track: int) -> Reference:
        return Reference(self.vectors(track))

    def catalog(self, size: int) -> Iterator[tuple[int, Floats]]:
        """Tracks and their vectors: all real ones, and synthetic ones up to `size` vectors."""
        n = 0
        for track in (*self.tracks, *range(SYNTHETIC, SYNTHETIC + size // TRACK_VECTORS + 1)):
            if track >= SYNTHETIC and n >= size:
                return
            vectors = self.vectors(track)
            n += int(vectors.any(axis=1).sum())
            yield track, vectors


def main() -> int:
    """Prints a table for each size and kind of index, and writes all results to a JSON file."""
    sys.argv[1:] = [*HOURS, *sys.argv[1:]]
    arguments = broadcast.parsed_arguments()
    material = _embedded(broadcast.prepared(arguments.cache, arguments), arguments.cache / "search-less")
    log(f"{len(material.tracks)} tracks, {len(material.seeds)} vectors; {len(material.queries)} segments to search")
    results: list[dict[str, object]] = []
    for size in SIZES:
        chosen = plan_for(size)
        for kind in KINDS or ("exact", f"{chosen.n_cells}:{chosen.n_probes}"):
            print("\n".join(_heading(size, kind)), flush=True)
            hits = _by_recording(material, *_found(material, size, kind))
            for policy in (each for each in POLICIES if each.name.startswith(CHOSEN)):
                report, share = _measured(material, hits, policy)
                results.append({"vectors": size, "kind": kind, **asdict(policy), "searched": share, **as_json(report)})
                print(_row(policy, report, share), flush=True)
    (arguments.cache / "search-less.json").write_text(json.dumps(results, indent=1))
    return 0


def _embedded(made: broadcast.Broadcast, folder: Path) -> Material:
    """Embeds recordings and tracks, or reads what an earlier run embedded."""
    folder.mkdir(parents=True, exist_ok=True)
    detector = NeuralDetector()

    def embedded(path: Path, **arrays: object) -> Mapping[str, NDArray[np.float32]]:
        stored = folder / f"{path.stem}-{key(path.parent.name, detector.info.checksum)}.npz"
        if not stored.exists():
            of = detector.embed(soundfile.read(path, dtype="int16")[0])  # it was written at SAMPLE_RATE_HZ
            assert of.expected_similarity is not None
            np.savez(stored, vectors=of.vectors, audible=of.audible, expected=of.expected_similarity)
        return dict(np.load(stored))

    recordings = []
    for path in made.recordings:
        of = embedded(path)
        recordings.append(
            Recording(path.name, made.durations_s[path.name], of["vectors"], of["audible"].astype(bool), of["expected"])
        )
    # Stored vectors have 16 bits.
    tracks = {i: embedded(path)["vectors"].astype(np.float16).astype(np.float32) for i, path in _numbered(made)}
    names = {i: path.name for i, path in _numbered(made)}
    return Material(tuple(recordings), made.truth, made.families, tracks, names)


def _numbered(made: broadcast.Broadcast) -> Iterator[tuple[int, Path]]:
    return zip(count(1), made.references)


def _found(material: Material, size: int, kind: str) -> tuple[Floats, Ints]:
    """Scores and keys of each audible segment's hits, (n, TOP_K)."""
    if kind in {"exact", "sparse"}:
        return _exact(material, size, 2 if kind == "sparse" else 1)
    n_cells, n_probes = map(int, kind.split(":"))
    plan = IndexPlan(size, n_cells, n_probes)
    step = max(1, len(material.seeds) // plan.n_training_vectors)
    index = FaissIndex(material.seeds.shape[1], plan, material.seeds[::step])
    for track, vectors in material.catalog(size):
        index.add({track: vectors})
    return index.search(material.queries, TOP_K)


def _exact(material: Material, size: int, step: int) -> tuple[Floats, Ints]:
    """Searches every `step`-th vector of each track."""
    import faiss  # as in `FaissIndex`

    queries = material.queries
    scores = np.full((len(queries), TOP_K), -2, np.float32)
    keys = np.full((len(queries), TOP_K), -1, np.int64)
    for rows, vectors in _parts(material, size, step):
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
        more, at = flat.search(queries, TOP_K)
        scores, keys = np.concatenate([scores, more], axis=1), np.concatenate([keys, rows[at]], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :TOP_K]
        scores, keys = np.take_along_axis(scores, best, axis=1), np.take_along_axis(keys, best, axis=1)
    return scores, keys


def _parts(material: Material, size: int, step: int) -> Iterator[tuple[Ints, Floats]]:
    rows: list[Ints] = []
    parts: list[Floats] = []
    for track, vectors in material.catalog(size):
        segments = np.flatnonzero(vectors.any(axis=1))
        segments = segments[segments % step == 0]
        rows.append(row_id(track, 0) + segments)
        parts.append(vectors[segments])
        if sum(map(len, rows)) >= PART:
            yield np.concatenate(rows), np.concatenate(parts)
            rows, parts = [], []
    if rows:
        yield np.concatenate(rows), np.concatenate(parts)


def _by_recording(material: Material, scores: Floats, keys: Ints) -> list[GetHits]:
    """For each recording, the hits by segment."""
    found: list[GetHits] = []
    first = 0
    for recording in material.recordings:
        rows = first + np.cumsum(recording.audible) - 1
        first += int(recording.audible.sum())

        def get_hits(i: int, rows: Ints = rows) -> tuple[Hit, ...]:
            row = rows[i]
            return tuple(hit_of(k, s) for k, s in zip(keys[row].tolist(), scores[row].tolist(), strict=True) if k >= 0)

        found.append(get_hits)
    return found


def _measured(material: Material, hits: list[GetHits], policy: Policy) -> tuple[Report, float]:
    """The score of a policy, and the share of the audible segments that it searches."""
    results: list[Result] = []
    n_audible = n_searched = 0
    for recording, of in zip(material.recordings, hits, strict=True):
        replayed = replay(recording, of, material.references, NeuralDetector.thresholds, policy)
        n_audible, n_searched = n_audible + replayed.n_audible, n_searched + replayed.n_searched
        results += [
            as_result(recording.name, material.name(play.track), play, replayed.reported.get(play.id, play.end))
            for play in replayed.plays
        ]
    durations_s = {of.name: of.duration_s for of in material.recordings}
    return score(material.truth, results, durations_s, material.families), n_searched / n_audible


def _heading(size: int, kind: str) -> tuple[str, str, str]:
    columns = ("searched", "plays", "recall of seconds", "precision", "clear", "covered", "false plays")
    return (
        f"\n{size} vectors, {kind}. First reports in the clear and covered: median / 95th percentile, s\n",
        f"| policy | {' | '.join(columns)} |",
        "| --- " * (1 + len(columns)) + "|",
    )


def _row(policy: Policy, report: Report, share: float) -> str:
    recall, precision = (f"{100 * (value or 0):.2f}" for value in (report.seconds.recall, report.seconds.precision))
    false_plays = f"{len(report.false_plays)} + {report.unknown_false_plays}"
    latencies = (_latency(report.latency_clear), _latency(report.latency_covered))
    cells = (f"{share:.2f}", f"{report.all.found} of {report.all.plays}", recall, precision, *latencies, false_plays)
    return f"| {policy.name} | {' | '.join(cells)} |"


def _latency(of: Latency | None) -> str:
    return "-" if of is None else f"{of.median_s:.2f} / {of.p95_s:.2f}"


if __name__ == "__main__":
    sys.exit(main())
