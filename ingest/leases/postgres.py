"""Claims on streams, in PostgreSQL: every process asks in turns, and reads what it holds.

A turn is one transaction:
    1. seen      this process lives (and no longer, when it is leaving)
    2. release   what it has stopped to read
    3. renew     what it holds and has not run out
    4. regain    what it held and nobody has taken since: the database was away
    5. claim     what is free, or ran out, up to its share; or choose what to give up
The database's clock decides who holds a claim, this process's own how long it makes use of it (`lease.py`).
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
from ingest.leases.assignment import ANSWER_TIMEOUT_S, Connection, Stream
from ingest.leases.lease import Lease, LeaseTiming, fair_share

log = structlog.get_logger(__name__)

SEEN = """
    insert into ingest_processes (id, name, expires_at) values ($1, $2, now() + $3)
    on conflict (id) do update set expires_at = excluded.expires_at
"""
LEFT = "delete from ingest_processes where id = $1 or expires_at < now() - interval '1 day'"
KNOWN = """
    insert into leases (stream_id)
    select s.id from streams s
    where s.enabled and s.removed_at is null and not exists (select from leases where stream_id = s.id)
    on conflict do nothing
"""
RELEASE = """
    update leases l set holder = null, expires_at = now()
    where l.holder = $1 and not l.stream_id = any ($2::bigint[])
      and ($4 or l.stream_id = any ($3::bigint[])
           or not exists (
               select from streams s where s.id = l.stream_id and s.enabled and s.removed_at is null))
    returning l.stream_id
"""
RENEW = "update leases set expires_at = now() + $2 where holder = $1 and expires_at > now() returning stream_id, epoch"
REGAIN = """
    with own as (
        select stream_id from leases where holder = $1 and expires_at <= now() for update skip locked
    )
    update leases l set epoch = l.epoch + 1, expires_at = now() + $2
    from own where l.stream_id = own.stream_id
    returning l.stream_id, l.epoch
"""
HELD = """
    select p.id, count(s.id) as streams
    from ingest_processes p
    left join leases l on l.holder = p.id and l.expires_at > now()
    left join streams s on s.id = l.stream_id and s.enabled and s.removed_at is null
    where p.expires_at > now()
    group by p.id
"""
COUNT = "select count(*) from streams s where s.enabled and s.removed_at is null"
CLAIM = """
    with free as (
        select l.stream_id, l.holder
        from leases l join streams s on s.id = l.stream_id
        where s.enabled and s.removed_at is null
          and (l.holder is null or (l.expires_at <= now() and $3))
        order by l.stream_id
        limit $4
        for update of l skip locked
    )
    update leases l set holder = $1, epoch = l.epoch + 1, expires_at = now() + $2
    from free where l.stream_id = free.stream_id
    returning l.stream_id, l.epoch, free.holder as before
"""
OURS = """
    select s.id, s.url, p.position
    from leases l join streams s on s.id = l.stream_id left join progress p on p.stream_id = s.id
    where l.holder = $1 and s.enabled and s.removed_at is null
    order by s.id
"""


@dataclass(frozen=True, slots=True)
class _Turn:
    """What one transaction came to. Epochs by stream; `before`: of those that were claimed, who had them."""

    kept: dict[int, int]
    regained: dict[int, int]
    claimed: dict[int, int]
    before: dict[int, uuid.UUID | None]
    released: tuple[int, ...]
    share: int
    streams: tuple[Any, ...]


class LeasedStreams:
    """The streams that this process holds a claim on; see `Streams`."""

    def __init__(self, dsn: str, terms: LeaseTiming, clock: Callable[[], float] = time.monotonic) -> None:
        self.turn_s = terms.turn_s
        self._terms = terms
        self._length = timedelta(seconds=terms.length_s)
        self._clock = clock
        # One question that hangs must leave time for another before the claims run out.
        self._database = Connection(dsn, min(ANSWER_TIMEOUT_S, terms.length_s / 2))
        self._id = uuid.uuid4()
        self._name = f"{socket.gethostname()}/{os.getpid()}"
        self._permits: dict[int, Lease] = {}
        self._giving_up: set[int] = set()
        self._watching_since_s: float | None = None
        self._asked_s = 0.0

    async def read(self, running: Collection[int], *, is_leaving: bool) -> dict[int, Stream] | None:
        """One turn. See `Streams`."""
        asked_s = self._clock()
        if asked_s - self._asked_s > self._terms.length_s:  # we were paused, or this is the first turn
            self._watching_since_s = None
        self._asked_s = asked_s
        turn = await self._database.run(lambda connection: self._turn(connection, running, is_leaving))
        if turn is None:
            self._watching_since_s = None
            return None
        if self._watching_since_s is None:
            self._watching_since_s = asked_s
        self._settle(turn, asked_s)
        if not is_leaving:
            self._choose({row["id"] for row in turn.streams}, turn.share)
        metrics.LEASES.set(len(self._permits))
        return {
            row["id"]: Stream(row["id"], row["url"], row["position"], self._permits[row["id"]])
            for row in turn.streams
            if row["id"] in self._permits and row["id"] not in self._giving_up
        }

    def close(self) -> None:
        """See `Streams`."""
        self._database.close()

    async def _turn(self, connection: asyncpg.Connection, running: Collection[int], is_leaving: bool) -> _Turn:
        ours, length = self._id, self._length
        async with connection.transaction():
            if is_leaving:
                await connection.execute(LEFT, ours)
            else:
                await connection.execute(SEEN, ours, self._name, length)
                await connection.execute(KNOWN)
            released = await connection.fetch(RELEASE, ours, list(running), list(self._giving_up), is_leaving)
            kept = await connection.fetch(RENEW, ours, length)
            regained = await connection.fetch(REGAIN, ours, length)
            part, claimed = 0, []
            if not is_leaving:
                held = {row["id"]: row["streams"] for row in await connection.fetch(HELD)}
                part = fair_share(await connection.fetchval(COUNT), held, ours)
                if (missing := part - held[ours]) > 0:
                    claimed = await connection.fetch(CLAIM, ours, length, self._may_take_over(), missing)
            streams = await connection.fetch(OURS, ours)
        before = {row["stream_id"]: row["before"] for row in claimed}
        gone = tuple(row["stream_id"] for row in released)
        return _Turn(_epochs(kept), _epochs(regained), _epochs(claimed), before, gone, part, tuple(streams))

    def _may_take_over(self) -> bool:
        """Only who could have renewed claims of his own meanwhile knows that another has failed to."""
        since_s = self._watching_since_s
        return since_s is not None and self._clock() - since_s >= self._terms.length_s

    def _settle(self, turn: _Turn, asked_s: float) -> None:
        """Brings the permits in line with the claims."""
        until_s = self._terms.until_s(asked_s)
        for stream in turn.released:
            self._forget(stream, "released")
        for stream in self._permits.keys() - turn.kept.keys() - turn.regained.keys():
            self._forget(stream, "lost")
        for stream, epoch in {**turn.kept, **turn.regained, **turn.claimed}.items():
            if stream in self._permits:
                self._permits[stream].extend(epoch, until_s)
            else:
                self._permits[stream] = Lease(epoch, until_s, self._clock)
        for stream, epoch in turn.regained.items():
            _tell("regained", stream, epoch=epoch)
        for stream, epoch in turn.claimed.items():
            before = turn.before[stream]
            _tell("claimed" if before is None else "taken_over", stream, epoch=epoch)

    def _forget(self, stream: int, change: str) -> None:
        self._giving_up.discard(stream)
        if (permit := self._permits.pop(stream, None)) is not None:
            permit.revoke()
            _tell(change, stream, epoch=permit.epoch)

    def _choose(self, enabled: Collection[int], part: int) -> None:
        """Gives up what is above the share, the newest first: they have the least to lose."""
        staying = [stream for stream in self._permits if stream in enabled and stream not in self._giving_up]
        self._giving_up.update(staying[part:])


def _epochs(rows: Iterable[Any]) -> dict[int, int]:
    return {row["stream_id"]: row["epoch"] for row in rows}


def _tell(change: str, stream: int, epoch: int) -> None:
    metrics.LEASE_CHANGES.labels(change).inc()
    tell = log.warning if change in ("lost", "taken_over") else log.info
    tell("lease.changed", change=change, stream=stream, epoch=epoch)
