"""Measures the index in memory, and Milvus's kinds of index: recall against exact search, bytes, time.

Run by `make bench-index`.

The indexed vectors are those of the demo music, repeated with different noise, so that they are distributed like music.
A query is an indexed vector with more noise, as in broadcasts. It measures Milvus Lite, and the server of the wheel
`milvus` if that is installed (the extra `full`). AIRTRACE_BENCH_VECTORS sets the sizes, AIRTRACE_BENCH_KINDS the kinds,
such as "server:HNSW,memory:1024:64", which is the index in memory with 1024 cells, of which a search looks into 64.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.audio import decode
from monitor.core.segmenter import Segmenter
from monitor.core.segments import HOP_SAMPLES
from monitor.demo.music import cache_folder, fetch
from monitor.detect.detector import DetectorInfo
from monitor.detect.fingerprint import NeuralDetector
from monitor.errors import DependencyError
from monitor.local import servers
from monitor.storage import milvus, milvus_indexes
from monitor.storage.candidate_search import SEGMENT_BITS
from monitor.storage.faiss_index import FaissIndex, IndexPlan, plan_for

Floats = NDArray[np.float32]

SIZES = tuple(int(size) for size in os.environ.get("AIRTRACE_BENCH_VECTORS", "20000,100000").split(","))
TRACK_VECTORS = 480  # four minutes
LITE, SERVER = ("FLAT", "HNSW", "IVF_FLAT", "IVF_SQ8"), ("FLAT", "HNSW", "IVF_SQ8", "IVF_PQ", "DISKANN")
# The library inside both, alone: one index in memory, which takes a fraction of the time for millions of vectors.
FAISS = {"HNSW": "HNSW{M},Flat", "IVF_SQ8": "IVF{nlist},SQ8"}
ENGINES = (("lite", LITE), ("server", SERVER), ("faiss", FAISS))
PLANNED = "planned"  # the structure that Airtrace chooses for the size
EVERY_KIND = [f"memory:{PLANNED}", *(f"{engine}:{kind}" for engine, kinds in ENGINES for kind in kinds)]
CHOSEN = os.environ.get("AIRTRACE_BENCH_KINDS", ",".join(EVERY_KIND)).split(",")
BULK_COSINE = 0.6  # with the original vector; between different recordings, that would be a close relation
QUERY_COSINES = (0.9, 0.6, 0.4)  # in the clear; under a voice; under a loud one
QUERIES, TOP_K, RUNS = 256, 10, 9
PART = 100_000  # vectors processed at once
BATCH = 64  # segments per search, as in a worker under load


@dataclass(frozen=True)
class Row:
    """The measurements of one kind of index.

    search_ms: for BATCH segments, median of RUNS.
    search_cpu_ms: the CPU time of a search, which depends less on the machine's load.
    disk_bytes_each: without write-ahead logs.
    memory_bytes_each: the increase, which is meaningful only for large sizes.
    """

    engine: str
    kind: str
    vectors: int
    insert_s: float
    index_s: float
    build_cpu_s: float
    search_ms: float
    search_cpu_ms: float
    recall: dict[str, float]
    first: dict[str, float]
    disk_bytes_each: float
    memory_bytes_each: float


def main() -> int:
    """Prints one JSON object per line as results come in."""
    seeds = asyncio.run(_real())
    for size in SIZES:
        asyncio.run(_measured(_bulk(seeds, size)))
    return 0


async def _real() -> Floats:
    """The vectors of the demo's music."""
    detector, found = NeuralDetector(), []
    for piece in (await fetch(cache_folder(), lambda step: None)).music:
        segmenter = Segmenter()
        async for block in decode.blocks(piece.path):
            vectors = detector.embed(segmenter.feed(block)[1]).vectors
            found.append(vectors[vectors.any(axis=1)])
    return np.concatenate(found)


def _bulk(seeds: Floats, size: int) -> Floats:
    """Makes `size` vectors, in parts, because making noise takes several times the memory of the vectors."""
    bulk = np.empty((size, seeds.shape[1]), np.float32)
    for first in range(0, size, PART):
        part = np.take(seeds, np.arange(first, min(size, first + PART)), axis=0, mode="wrap")
        bulk[first : first + PART] = noisy(part, BULK_COSINE, 1 + first)
    return bulk


def noisy(vectors: Floats, cosine: float, seed: int) -> Floats:
    """Random unit vectors with this cosine to the given ones."""
    away = np.random.default_rng(seed).normal(size=vectors.shape).astype(np.float32)
    away -= np.einsum("ij,ij->i", away, vectors)[:, np.newaxis] * vectors
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    mixed: Floats = cosine * vectors + np.float32(np.sqrt(1 - cosine**2)) * away
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


async def _measured(bulk: Floats) -> None:
    chosen = np.random.default_rng(2).choice(len(bulk), QUERIES, replace=False)
    queries = {str(cosine): noisy(bulk[chosen], cosine, 3) for cosine in QUERY_COSINES}
    truth = {name: _nearest(bulk, each) for name, each in queries.items()}
    for kind in (kind.removeprefix("memory:") for kind in CHOSEN if kind.startswith("memory:")):
        print(json.dumps(asdict(await _in_memory(kind, bulk, queries, truth))), flush=True)
    for kind in (kind for kind in LITE if f"lite:{kind}" in CHOSEN):
        with tempfile.TemporaryDirectory(prefix="airtrace-bench-") as folder:
            uri = str(Path(folder) / "milvus.db")
            row = await _one("lite", kind, uri, Path(folder), os.getpid(), bulk, queries, truth)
            print(json.dumps(asdict(row)), flush=True)
    for kind in (kind for kind in FAISS if f"faiss:{kind}" in CHOSEN):
        print(json.dumps(asdict(await _in_faiss(kind, bulk, queries, truth))), flush=True)
    if servers.has_milvus():
        for kind in (kind for kind in SERVER if f"server:{kind}" in CHOSEN):
            with tempfile.TemporaryDirectory(prefix="airtrace-bench-") as folder:
                server, uri = servers.milvus(Path(folder))
                with servers.serving(server):
                    await _tried(kind, uri, server, bulk, queries, truth)


async def _in_memory(kind: str, bulk: Floats, queries: dict[str, Floats], truth: dict[str, NDArray[np.int64]]) -> Row:
    """Builds and searches Airtrace's own index."""
    pid, size = os.getpid(), len(bulk)
    plan = plan_for(size) if kind == PLANNED else IndexPlan(size, *map(int, kind.split(":")))
    before, begun, cpu_s = _memory(pid), time.perf_counter(), _cpu_s(pid)
    made = FaissIndex(bulk.shape[1], plan, bulk[:: max(1, size // plan.n_training_vectors)])
    tracks = [(track, bulk[first : first + TRACK_VECTORS]) for track, first in enumerate(range(0, size, TRACK_VECTORS))]
    for first in range(0, len(tracks), BATCH):
        made.add(dict(tracks[first : first + BATCH]))
    built_s, build_cpu_s, grown = time.perf_counter() - begun, _cpu_s(pid) - cpu_s, _memory(pid) - before

    def found(queries: Floats) -> NDArray[np.int64]:
        keys = made.search(queries, TOP_K)[1]
        return (keys >> SEGMENT_BITS) * TRACK_VECTORS + (keys & ((1 << SEGMENT_BITS) - 1))

    async def search(queries: Floats, top_k: int) -> object:
        return made.search(queries, top_k)

    return Row(
        "memory",
        f"{plan.n_cells}:{plan.n_probes}",
        size,
        round(built_s, 1),
        0.0,
        round(build_cpu_s, 1),
        *await _search_ms(search, next(iter(queries.values())), pid),
        {name: _recall(found(each), truth[name]) for name, each in queries.items()},
        {name: _first_found(found(each), truth[name]) for name, each in queries.items()},
        0.0,
        round(grown / size, 1),
    )


async def _in_faiss(kind: str, bulk: Floats, queries: dict[str, Floats], truth: dict[str, NDArray[np.int64]]) -> Row:
    """Builds and searches the index with the same parameters that Airtrace gives to Milvus."""
    import faiss  # a dependency of Milvus Lite

    asked, pid = milvus_indexes.KINDS[kind], os.getpid()
    before, begun, cpu_s = _memory(pid), time.perf_counter(), _cpu_s(pid)
    made = faiss.index_factory(bulk.shape[1], FAISS[kind].format(**asked.build), faiss.METRIC_INNER_PRODUCT)
    if kind == "HNSW":
        made.hnsw.efConstruction, made.hnsw.efSearch = asked.build["efConstruction"], asked.search["ef"]
    else:
        made.nprobe = asked.search["nprobe"]
        made.train(bulk[:: max(1, len(bulk) // PART)])
    for first in range(0, len(bulk), PART):
        made.add(bulk[first : first + PART])
    built_s, build_cpu_s, grown = time.perf_counter() - begun, _cpu_s(pid) - cpu_s, _memory(pid) - before
    found = {name: made.search(each, TOP_K)[1] for name, each in queries.items()}

    async def search(queries: Floats, top_k: int) -> object:
        return made.search(queries, top_k)

    return Row(
        "faiss",
        kind,
        len(bulk),
        round(built_s, 1),
        0.0,
        round(build_cpu_s, 1),
        *await _search_ms(search, next(iter(queries.values())), pid),
        {name: _recall(found[name], truth[name]) for name in queries},
        {name: _first_found(found[name], truth[name]) for name in queries},
        0.0,
        round(grown / len(bulk), 1),
    )


async def _tried(
    kind: str,
    uri: str,
    server: servers.Server,
    bulk: Floats,
    queries: dict[str, Floats],
    truth: dict[str, NDArray[np.int64]],
) -> None:
    assert server.process is not None
    assert server.folder is not None
    try:
        row = await _one("server", kind, uri, server.folder, server.process.pid, bulk, queries, truth)
        print(json.dumps(asdict(row)), flush=True)
    except DependencyError as error:
        print(json.dumps({"engine": "server", "kind": kind, "error": str(error)}), flush=True)


async def _one(
    engine: str,
    kind: str,
    uri: str,
    folder: Path,
    pid: int,
    bulk: Floats,
    queries: dict[str, Floats],
    truth: dict[str, NDArray[np.int64]],
) -> Row:
    before, cpu_s = _memory(pid), _cpu_s(pid)
    async with milvus.open_index(uri, None, DetectorInfo("fingerprint", "bench", "b", bulk.shape[1]), kind) as opened:
        begun = time.perf_counter()
        for track, first in enumerate(range(0, len(bulk), TRACK_VECTORS)):
            await opened.insert(track, bulk[first : first + TRACK_VECTORS])
        inserted = time.perf_counter()
        await opened.wait_until_indexed()
        await _idle(pid)
        settled, built_s = time.perf_counter(), _cpu_s(pid) - cpu_s
        found = {name: await _found(opened, each) for name, each in queries.items()}
        return Row(
            engine,
            opened.kind,
            len(bulk),
            round(inserted - begun, 1),
            round(settled - inserted, 1),
            round(built_s, 1),
            *await _search_ms(opened.search, next(iter(queries.values())), pid),
            {name: _recall(found[name], truth[name]) for name in queries},
            {name: _first_found(found[name], truth[name]) for name in queries},
            round(_disk(folder) / len(bulk), 1),
            round((_memory(pid) - before) / len(bulk), 1),
        )


async def _idle(pid: int) -> None:
    """Waits until Milvus Lite, which merges and indexes its files in the background, stops using the CPU."""
    while (before := _cpu_s(pid)) >= 0:
        await asyncio.sleep(2)
        if _cpu_s(pid) - before < 0.1:
            return


async def _found(opened: milvus.Index, queries: Floats) -> NDArray[np.int64]:
    hits = await opened.search(queries, TOP_K)
    rows = [[hit.track * TRACK_VECTORS + hit.position // HOP_SAMPLES for hit in each] for each in hits]
    return np.array([row + [-1] * (TOP_K - len(row)) for row in rows], np.int64)


async def _search_ms(
    search: Callable[[Floats, int], Awaitable[object]], queries: Floats, pid: int
) -> tuple[float, float]:
    times, cpu_s = [], _cpu_s(pid)
    for _ in range(RUNS):
        begun = time.perf_counter()
        await search(queries[:BATCH], TOP_K)
        times.append((time.perf_counter() - begun) * 1000)
    return round(float(np.median(times)), 1), round((_cpu_s(pid) - cpu_s) * 1000 / RUNS, 1)


def _nearest(bulk: Floats, queries: Floats) -> NDArray[np.int64]:
    """The exact answer, int64 (queries, TOP_K)."""
    found: NDArray[np.int64] = np.empty((len(queries), 0), np.int64)
    scores: Floats = np.empty((len(queries), 0), np.float32)
    for first in range(0, len(bulk), PART):
        there = queries @ bulk[first : first + PART].T
        ids = np.broadcast_to(np.arange(first, first + there.shape[1]), there.shape)
        scores, found = np.concatenate([scores, there], axis=1), np.concatenate([found, ids], axis=1)
        best = np.argpartition(-scores, TOP_K, axis=1)[:, :TOP_K]
        scores, found = np.take_along_axis(scores, best, axis=1), np.take_along_axis(found, best, axis=1)
    return np.take_along_axis(found, np.argsort(-scores, axis=1), axis=1)


def _recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return round(float(np.mean([len(set(a) & set(b)) / TOP_K for a, b in zip(found, truth, strict=True)])), 3)


def _first_found(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return round(float((found[:, 0] == truth[:, 0]).mean()), 3)


def _memory(pid: int) -> int:
    """Resident bytes of a process and its children; 0 without /proc."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(_memory(int(child)) for child in children)


def _cpu_s(pid: int) -> float:
    """The CPU time of a process and its children, in seconds; 0 without /proc."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + sum(
        _cpu_s(int(child)) for child in children
    )


def _disk(folder: Path) -> int:
    return sum(
        file.stat().st_size
        for file in folder.rglob("*")
        if file.is_file() and "rdb_data" not in file.parts and not file.name.startswith("wal")
    )


if __name__ == "__main__":
    sys.exit(main())
