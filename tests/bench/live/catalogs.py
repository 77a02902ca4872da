"""Homes whose catalog has a number of tracks: the station's, then made ones. Each is kept in the benchmarks' cache.

A made track's vectors are those of real recordings with noise, as in `tests.bench.index_size`, but in another order:
two seconds from here, two from there. So they are distributed like music, and no run of them is like another track's.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.core.segments import HOP_SAMPLES
from monitor.demo.program import Recording
from monitor.detect.detector import DetectorInfo
from monitor.detect.fingerprint import NeuralDetector
from monitor.local import postgres
from monitor.local.home import held
from monitor.storage import milvus
from monitor.storage.milvus import Index
from monitor.storage.records import Fingerprint, IndexRow, Metadata
from monitor.storage.storage import Storage, open_storage
from tests.acceptance.command import Airtrace
from tests.bench.index_size import BULK_COSINE, TRACK_VECTORS, noisy
from tests.bench.runs import bench_cache, key, log

Floats = NDArray[np.float32]

RUN_VECTORS = 4  # two seconds: far too short for a play
BATCH_TRACKS = 32
SEGMENT_BITS = 24  # of a row's key in the index, see `monitor.storage.milvus`
CONNECTIONS = 8
MIGRATIONS = Path(milvus.__file__).parent / "sql" / "migrations"
ROOT = Path(__file__).resolve().parents[3]
MADE = "made-"  # how the sources of made tracks begin


def prepared(known: Sequence[Recording], n_tracks: int, info: DetectorInfo) -> Path:
    """A home with `n_tracks`, the known recordings first. Copy it: it must stay as it is."""
    recordings = [str(each.path) for each in known[:n_tracks]]
    name = f"live-home-{n_tracks}-{key(recordings, info, RUN_VECTORS, BULK_COSINE)}"
    schema = len(list(MIGRATIONS.iterdir()))
    # A program brings a copy of an older one up to date at its start, so a new migration makes no new home.
    homes = [home for number in range(schema, 0, -1) if (home := bench_cache() / f"{name}-{number:02}").exists()]
    if not homes:
        homes = [bench_cache() / f"{name}-{schema:02}"]
        unfinished = bench_cache() / f"{name}.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        register(Airtrace(unfinished / "home", unfinished, environment()), recordings)
        asyncio.run(_fill_home(unfinished / "home", n_tracks - len(recordings)))
        unfinished.rename(homes[0])
    return homes[0] / "home"


def environment() -> dict[str, str]:
    """Settings with which a child runs this checkout's program, whichever one is installed."""
    return {"PYTHONPATH": str(ROOT)}


def register(airtrace: Airtrace, recordings: Sequence[str]) -> None:
    """Registers recordings through the command, one core's work of half a minute for an hour."""
    log(f"registering {len(recordings)} recordings")
    try:
        airtrace("tracks", "add", *recordings)
    finally:
        airtrace.end()


async def _fill_home(path: Path, n_tracks: int) -> None:
    with held(path) as home:
        async with (
            postgres.embedded(home.postgres) as dsn,
            open_storage(dsn, CONNECTIONS) as storage,
            milvus.open_index(str(home.milvus), None, (info := NeuralDetector().info)) as index,
        ):
            await fill(storage, index, info, n_tracks)


async def fill(storage: Storage, index: Index, info: DetectorInfo, n_tracks: int) -> None:
    """Adds made tracks, as if they had been registered."""
    ready = await storage.vectors.ready_tracks(info)
    rows = await storage.vectors.index_rows(ready, info)
    seeds = np.concatenate([row.vectors[row.vectors.any(axis=1)] for row in rows])
    for first in range(0, n_tracks, BATCH_TRACKS):
        numbers = range(first, min(n_tracks, first + BATCH_TRACKS))
        made = dict(zip(numbers, await asyncio.to_thread(_made, seeds, numbers), strict=True))
        added = await asyncio.gather(*(_add(storage, info, number, vectors) for number, vectors in made.items()))
        await _insert(index, added)
        await asyncio.gather(*(_set_ready(storage, info, row) for row in added))
        if first // BATCH_TRACKS % 16 == 0:
            log(f"{numbers.stop} of {n_tracks} made tracks")


def _made(seeds: Floats, numbers: Sequence[int]) -> Iterator[Floats]:
    """The vectors of made tracks, each float32 (TRACK_VECTORS, dimensions)."""
    for number in numbers:
        begins = np.random.default_rng((7, number)).integers(0, len(seeds) - RUN_VECTORS, TRACK_VECTORS // RUN_VECTORS)
        places = (begins[:, np.newaxis] + np.arange(RUN_VECTORS)).ravel()
        yield noisy(seeds[places], BULK_COSINE, 11 + number)


async def _add(storage: Storage, info: DetectorInfo, number: int, vectors: Floats) -> IndexRow:
    sha256 = hashlib.sha256(f"{MADE}{number}".encode()).digest()
    metadata = Metadata(title=f"Made {number}", source=f"{MADE}{number}.flac")
    n_samples = (TRACK_VECTORS + 1) * HOP_SAMPLES
    track = await storage.tracks.add(sha256, n_samples, metadata, Fingerprint(info, vectors))
    assert track is not None
    return IndexRow(track, vectors, 1, 0)


async def _insert(index: Index, rows: Sequence[IndexRow]) -> None:
    """Inserts many tracks in one call, because Milvus Lite takes longer for many small ones."""
    inserted = [
        {"id": row.track << SEGMENT_BITS | segment, "track": row.track, "vector": vector}
        for row in rows
        for segment, vector in enumerate(row.vectors)
    ]
    await index._milvus.call("insert", index.collection, inserted)


async def _set_ready(storage: Storage, info: DetectorInfo, row: IndexRow) -> None:
    await storage.tracks.set_indexed(row, info)
    await storage.families.add_relations(row.track, (), info)
