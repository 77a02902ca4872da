"""Watches PostgreSQL while streams are on the air: when each position was stored, and which matches were opened."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import asyncpg

from ingest.wire import SAMPLE_RATE_HZ
from tests.bench.live.delays import Match, StreamDelays, percentile
from tests.bench.runs import log

POLL_S = 0.04
PROGRESS = "select stream_id, position from progress"
STREAMS = "select id, name from streams"
MATCHES = """
    select s.name, m.track ->> 'source' as source, m.starts, m.ends, extract(epoch from m.opened_at)::float8 as opened
    from matches m join streams s on s.id = m.stream_id
"""
STATUS_S = 15.0  # between lines of progress


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen; streams are numbered as the station numbers them.

    began_s, ended_s: seconds since the Unix epoch.
    """

    began_s: float
    ended_s: float
    delays: Mapping[int, StreamDelays]
    matches: Mapping[int, list[Match]]


def stream_name(stream: int) -> str:
    """The name under which a stream of the station is monitored."""
    return f"live-{stream}"


async def until_up(dsn: str, n_streams: int, patience_s: float) -> int:
    """Waits until audio of every stream has been stored, at most `patience_s`; returns the number of those streams."""
    connection = await asyncpg.connect(dsn)
    try:
        deadline_s = time.monotonic() + patience_s
        while (n_up := len(await connection.fetch(PROGRESS))) < n_streams and time.monotonic() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        return n_up
    finally:
        connection.terminate()


async def watch(
    dsn: str, n_streams: int, seconds: float, window_s: float, begin: Callable[[], None], end: Callable[[], None]
) -> Watched:
    """Watches for some seconds. `begin` and `end` are called at the two ends."""
    connection = await asyncpg.connect(dsn)
    try:
        numbers = {row["id"]: int(row["name"].rpartition("-")[2]) for row in await connection.fetch(STREAMS)}
        delays = {stream: StreamDelays(window_s) for stream in range(n_streams)}
        await asyncio.to_thread(begin)
        began_s = time.time()
        await _poll(connection, numbers, delays, began_s + seconds)
        ended_s = time.time()
        for each in delays.values():
            each.end(ended_s)
        await asyncio.to_thread(end)
        matches: defaultdict[int, list[Match]] = defaultdict(list)
        for row in await connection.fetch(MATCHES):
            times_s = row["starts"] / SAMPLE_RATE_HZ, row["ends"] / SAMPLE_RATE_HZ
            matches[int(row["name"].rpartition("-")[2])].append(Match(row["source"], *times_s, row["opened"]))
        return Watched(began_s, ended_s, delays, matches)
    finally:
        connection.terminate()


async def _poll(
    connection: asyncpg.Connection, numbers: Mapping[int, int], delays: Mapping[int, StreamDelays], until_s: float
) -> None:
    seen: dict[int, int] = {}
    statement = await connection.prepare(PROGRESS)
    next_status_s = time.time() + STATUS_S
    while (now_s := time.time()) < until_s:
        for stream_id, position in await statement.fetch():
            if seen.get(stream_id) != position:
                seen[stream_id] = position
                delays[numbers[stream_id]].reached(position / SAMPLE_RATE_HZ, time.time())
        if now_s >= next_status_s:
            next_status_s += STATUS_S
            log(f"{until_s - now_s:.0f} s left: {_status(delays, now_s)}")
        await asyncio.sleep(POLL_S)


def _status(delays: Mapping[int, StreamDelays], now_s: float) -> str:
    behind = [now_s - each.position_s for each in delays.values() if each.position_s is not None]
    recent = [delay for each in delays.values() for at, delay in each.samples[-3:] if at > now_s - STATUS_S]
    return (
        f"windows stored {percentile(recent, 0.5):.2f} s after their end (median), {percentile(recent, 0.95):.2f} s "
        f"(95 %); newest audio of the slowest stream is {max(behind, default=0):.1f} s old"
    )
