"""Measures one worker of the full mode on real servers and real music. Run by `make bench-full`.

    speed     one `airtrace worker` processes a backlog of many streams: windows per second, streams in real time
    steps     the CPU time of each step of the worker, measured in this process with one stream at a time
    latency   streams in real time: from the end of a sound to its storage, and from a play's first sound to its match
    memory    the memory of one more stream in a worker, from a backlog of one stream and one of many
    pause     the longest additional delay of a stream when a second worker joins

The CPU is shared with Kafka, Milvus, PostgreSQL and the publisher, all on this machine, so compare ratios.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg

from ingest import logs
from ingest.bus.kafka import KafkaBus
from ingest.wire import SAMPLE_RATE_HZ, Record, Window
from monitor.demo.music import cache_folder, fetch
from monitor.detect.fingerprint import NeuralDetector
from monitor.matching import matcher as matcher_module
from monitor.matching import worker as worker_module
from monitor.matching.matcher import Matcher
from monitor.matching.worker import Worker
from monitor.settings import MatchingSettings
from monitor.storage import milvus
from monitor.storage.storage import Storage, open_storage
from tests.acceptance import cluster as full
from tests.acceptance.cluster import ANCHOR, Broadcast, Cluster, Stage
from tests.acceptance.command import Running, until
from tests.acceptance.conftest import TRACKS, UNKNOWN
from tests.broker import running

BACKLOG_STREAMS = int(os.environ.get("AIRTRACE_BENCH_STREAMS", "16"))
BACKLOG_S = float(os.environ.get("AIRTRACE_BENCH_SECONDS", "120"))
LIVE_STREAMS = 10
LIVE_S = 60.0
PATIENCE_S = 900.0
POLL_S = 0.05
PROGRESS = "select stream_id, position, extract(epoch from updated_at)::float8 as at from progress"
MATCHES = "select stream_id, starts, extract(epoch from opened_at)::float8 as at from matches"


def main() -> int:
    """Prints one JSON object and returns the exit code."""
    logs.configure("error", "json")
    sounds = asyncio.run(fetch(cache_folder(), lambda step: None)).music
    by_title = {recording.path.stem: recording for recording in sounds}
    tracks = [by_title[title] for title in TRACKS]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="airtrace-full-bench-")))
        broker = stack.enter_context(running(folder))
        paths = [track.path for track in tracks]
        cluster = stack.enter_context(full.raised(folder, broker.bootstrap, broker.server, paths))
        known, (strange,) = full.decoded(tracks), full.decoded([by_title[UNKNOWN]]).values()
        many = full.broadcast(known, strange, BACKLOG_STREAMS, BACKLOG_S, 1)
        live = full.broadcast(known, strange, LIVE_STREAMS, LIVE_S, 2)
        one = replace(many, records=tuple(record for record in many.records if record.stream_id == 1), streams=1)
        speed, rss_many = _backlog(_stage(cluster, folder / "many", many), many)
        _, rss_one = _backlog(_stage(cluster, folder / "one", one), one)
        result = {
            "cores": os.cpu_count(),
            "load_before": round(os.getloadavg()[0], 1),
            **speed,
            "cpu_share_of_steps": _steps(_stage(cluster, folder / "steps", many), many),
            "memory_mb_of_a_worker": round(rss_one),
            "memory_mb_per_further_stream": round((rss_many - rss_one) / (BACKLOG_STREAMS - 1), 1),
            **_live(_stage(cluster, folder / "live", live), live),
        }
    print(json.dumps(result, indent=2))
    return 0


def _stage(cluster: Cluster, folder: Path, broadcast: Broadcast) -> Stage:
    folder.mkdir()
    return cluster.stage(folder, broadcast.streams)


def _backlog(stage: Stage, broadcast: Broadcast) -> tuple[dict[str, float], float]:
    """The speed of one worker, and its resident memory in MB at the end."""
    with stage.fed(broadcast, speed=1e6):
        pass
    windows = sum(isinstance(record, Window) for record in broadcast.records)
    seconds = sum(record.end - record.start for record in broadcast.records if isinstance(record, Window))
    worker = stage.worker()
    begun_s, cpu_s = time.perf_counter(), _cpu_s(worker)
    stage.wait_until_done(broadcast, PATIENCE_S)
    took_s, used_s = time.perf_counter() - begun_s, _cpu_s(worker) - cpu_s
    rss_mb = _status_kb(worker, "VmRSS") / 1024
    stage.stop()
    heard_s = seconds / SAMPLE_RATE_HZ
    return {
        "backlog_streams": broadcast.streams,
        "windows_per_s": round(windows / took_s, 1),
        "streams_in_real_time": round(heard_s / took_s),
        "streams_in_real_time_per_core_used": round(heard_s / used_s),
        "cores_used_by_the_worker": round(used_s / took_s, 2),
    }, rss_mb


def _cpu_s(worker: Running) -> float:
    fields = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status_kb(worker: Running, name: str) -> int:
    lines = Path(f"/proc/{worker.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


# Steps


def _steps(stage: Stage, broadcast: Broadcast) -> dict[str, float]:
    """Each step's share of the CPU time in this process; `rest` is Kafka's client and decoding."""
    with stage.fed(broadcast, speed=1e6):
        pass
    spent: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        begun_s = time.process_time()
        try:
            yield
        finally:
            spent[step] += time.process_time() - begun_s

    for module in (matcher_module, worker_module):
        module.step_timer = timed  # type: ignore[attr-defined]
    whole_s = asyncio.run(_work(stage, broadcast))
    spent["rest"] = whole_s - sum(spent.values())
    return {step: round(value / whole_s, 3) for step, value in sorted(spent.items(), key=lambda item: -item[1])}


async def _work(stage: Stage, broadcast: Broadcast) -> float:
    """The CPU time in seconds from the connection of all parts to the end of the backlog."""
    detector, uri = NeuralDetector(), stage.cluster.milvus_uri
    with ThreadPoolExecutor(1) as threads:
        async with (
            open_storage(stage.dsn, 4) as storage,
            milvus.open_index(uri, None, detector.info) as vectors,
            KafkaBus(stage.kafka) as bus,
        ):
            matcher = Matcher(detector, vectors, storage, threads, MatchingSettings(), detector.thresholds)
            begun_s = time.process_time()
            task = asyncio.create_task(Worker(bus, storage, matcher, max_concurrent_streams=1).run(), name="worker")
            ends = broadcast.ends()
            while {stream: await _position(storage, stream) for stream in ends} != ends:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.5)
            whole_s = time.process_time() - begun_s
            task.cancel()
            await asyncio.wait({task})
            return whole_s


async def _position(storage: Storage, stream: int) -> int | None:
    progress = await storage.progress.get(stream)
    return progress.position if progress else None


# In real time


def _live(stage: Stage, broadcast: Broadcast) -> dict[str, Any]:
    """Latencies with one worker, and the pause when a second one joins."""
    shift = round(time.time() + 10) * SAMPLE_RATE_HZ - ANCHOR
    records = [_moved(record, shift) for record in broadcast.records]
    stage.worker()
    seen: dict[tuple[int, int], float] = {}
    watching = stage.cluster.portal.start_task_soon(_watch, stage.dsn, seen)
    feed = stage.cluster.portal.start_task_soon(_on_air, stage, records)
    until(lambda: time.time() > _begins(records) + LIVE_S * 0.55, PATIENCE_S)
    came = time.time()
    stage.worker()
    feed.result(PATIENCE_S)
    ends = {stream: end + shift for stream, end in broadcast.ends().items()}
    until(lambda: stage.positions() == ends, PATIENCE_S)
    time.sleep(3 * POLL_S)
    watching.cancel()
    matches = full.run(_rows(stage.dsn, MATCHES))
    stage.stop()
    delays = [(at, at - position / SAMPLE_RATE_HZ) for (_, position), at in seen.items()]
    calm = [delay for at, delay in delays if at < came]
    disturbed = [delay for at, delay in delays if at >= came]
    opened = [row["at"] - row["starts"] / SAMPLE_RATE_HZ for row in matches]
    return {
        "live_streams": broadcast.streams,
        "from_the_end_of_a_window_to_the_database_s": _spread(calm),
        "from_a_play's_first_sound_to_its_match_s": _spread(opened),
        "rebalance_pause_s": round(max(disturbed) - statistics.median(calm), 2),
    }


def _moved(record: Record, by: int) -> Record:
    if isinstance(record, Window):
        return replace(record, anchor=record.anchor + by)
    return replace(record, start=record.start + by, end=record.end + by)


def _begins(records: Sequence[Record]) -> float:
    return min(record.start for record in records) / SAMPLE_RATE_HZ


async def _on_air(stage: Stage, records: Sequence[Record]) -> None:
    """Publishes each record when its sound is over."""
    async with KafkaBus(stage.kafka) as bus:
        for record in records:
            await asyncio.sleep(max(0.0, record.end / SAMPLE_RATE_HZ - time.time()))
            await bus.publish(record)


async def _watch(dsn: str, seen: dict[tuple[int, int], float]) -> None:
    """Records when each stream reaches each position."""
    connection = await asyncpg.connect(dsn)
    try:
        while True:
            for row in await connection.fetch(PROGRESS):
                seen.setdefault((row["stream_id"], row["position"]), row["at"])
            await asyncio.sleep(POLL_S)
    finally:
        connection.terminate()


async def _rows(dsn: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


def _spread(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"median": round(statistics.median(ordered), 2), "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 2)}


if __name__ == "__main__":
    raise SystemExit(main())
