"""Leases in PostgreSQL: in each turn, a process renews its own, claims free ones, and reads which ones it holds.

A turn is one transaction:
    1. seen      record that this process is alive (or that it leaves)
    2. release   give up the streams that it has stopped reading
    3. renew     extend the leases that have not expired
    4. regain    take back expired leases that nobody has claimed since: the database was unreachable
    5. claim     take what is free or expired, up to the fair share; or choose what to give up
The database's clock decides who holds a lease; this process's own clock decides how long it uses it (`lease.py`).
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import structlog

from ingest import metrics
from ingest.leases.assignment import Stream
from ingest.leases.connection import ANSWER_TIMEOUT_S, Connection
from ingest.leases.lease import Lease, LeaseTiming, fair_share
from ingest.leases.queries import queries

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Turn:
    """The result of one transaction. Epochs are by stream; `before`: who held the claimed leases before."""

    renewed: dict[int, int]
    regained: dict[int, int]
    claimed: dict[int, int]
    before: dict[int, uuid.UUID | None]
    released: tuple[int, ...]
    share: int
    streams: tuple[Any, ...]


class LeasedStreams:
    """The streams that this process holds a lease on; see `StreamAssignment`."""

    def __init__(self, dsn: str, timing: LeaseTiming, clock: Callable[[], float] = time.monotonic) -> None:
        self.turn_s = timing.turn_s
        self._timing = timing
        self._length = timedelta(seconds=timing.length_s)
        self._clock = clock
        # A turn that hangs must leave time for another one before the leases expire.
        self._connection = Connection(dsn, min(ANSWER_TIMEOUT_S, timing.length_s / 2))
        self._id = uuid.uuid4()
        self._name = f"{socket.gethostname()}/{os.getpid()}"
        self._leases: dict[int, Lease] = {}
        self._giving_up: set[int] = set()
        self._watching_since_s: float | None = None
        self._requested_s = 0.0

    async def read(self, running: Collection[int], *, is_leaving: bool) -> dict[int, Stream] | None:
        """One turn. See `StreamAssignment`."""
        requested_s = self._clock()
        if requested_s - self._requested_s > self._timing.length_s:  # we were paused, or this is the first turn
            self._watching_since_s = None
        self._requested_s = requested_s
        turn = await self._connection.run(lambda connection: self._turn(connection, running, is_leaving))
        if turn is None:
            self._watching_since_s = None
            return None
        if self._watching_since_s is None:
            self._watching_since_s = requested_s
        self._update_leases(turn, requested_s)
        if not is_leaving:
            self._give_up_excess({row["id"] for row in turn.streams}, turn.share)
        metrics.LEASES.set(len(self._leases))
        return {
            row["id"]: Stream(row["id"], row["url"], row["position"], self._leases[row["id"]])
            for row in turn.streams
            if row["id"] in self._leases and row["id"] not in self._giving_up
        }

    def close(self) -> None:
        """See `StreamAssignment`."""
        self._connection.close()

    async def _turn(self, connection: asyncpg.Connection, running: Collection[int], is_leaving: bool) -> _Turn:
        sql, own_id, length = queries(), self._id, self._length
        async with connection.transaction():
            if is_leaving:
                await connection.execute(sql["left"], own_id)
            else:
                await connection.execute(sql["seen"], own_id, self._name, length)
                await connection.execute(sql["add_missing"])
            released = await connection.fetch(sql["release"], own_id, list(running), list(self._giving_up), is_leaving)
            renewed = await connection.fetch(sql["renew"], own_id, length)
            regained = await connection.fetch(sql["regain"], own_id, length)
            share, claimed = 0, []
            if not is_leaving:
                held = {row["id"]: row["streams"] for row in await connection.fetch(sql["held"])}
                share = fair_share(await connection.fetchval(sql["count_streams"]), held, own_id)
                if (missing := share - held[own_id]) > 0:
                    claimed = await connection.fetch(sql["claim"], own_id, length, self._may_take_over(), missing)
            streams = await connection.fetch(sql["own_streams"], own_id)
        before = {row["stream_id"]: row["before"] for row in claimed}
        gone = tuple(row["stream_id"] for row in released)
        return _Turn(_epochs(renewed), _epochs(regained), _epochs(claimed), before, gone, share, tuple(streams))

    def _may_take_over(self) -> bool:
        """Whether this process could have renewed its own leases all this time: then others could have, too."""
        since_s = self._watching_since_s
        return since_s is not None and self._clock() - since_s >= self._timing.length_s

    def _update_leases(self, turn: _Turn, requested_s: float) -> None:
        until_s = self._timing.until_s(requested_s)
        for stream in turn.released:
            self._revoke(stream, "released")
        for stream in self._leases.keys() - turn.renewed.keys() - turn.regained.keys():
            self._revoke(stream, "lost")
        for stream, epoch in {**turn.renewed, **turn.regained, **turn.claimed}.items():
            if stream in self._leases:
                self._leases[stream].extend(epoch, until_s)
            else:
                self._leases[stream] = Lease(epoch, until_s, self._clock)
        for stream, epoch in turn.regained.items():
            _report("regained", stream, epoch=epoch)
        for stream, epoch in turn.claimed.items():
            before = turn.before[stream]
            _report("claimed" if before is None else "taken_over", stream, epoch=epoch)

    def _revoke(self, stream: int, change: str) -> None:
        self._giving_up.discard(stream)
        if (lease := self._leases.pop(stream, None)) is not None:
            lease.revoke()
            _report(change, stream, epoch=lease.epoch)

    def _give_up_excess(self, enabled: Collection[int], share: int) -> None:
        """Marks the streams beyond the fair share to be given up, newest first: those have the least to lose."""
        staying = [stream for stream in self._leases if stream in enabled and stream not in self._giving_up]
        self._giving_up.update(staying[share:])


def _epochs(rows: Iterable[Any]) -> dict[int, int]:
    return {row["stream_id"]: row["epoch"] for row in rows}


def _report(change: str, stream: int, epoch: int) -> None:
    metrics.LEASE_CHANGES.labels(change).inc()
    write = log.warning if change in ("lost", "taken_over") else log.info
    write("lease.changed", change=change, stream=stream, epoch=epoch)
