"""Ingest processes are killed, paused or cut off: others take over in time, and no stream is read by two at once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import asyncpg
import numpy as np
import pytest

from ingest.settings import KafkaSettings
from ingest.wire import SAMPLE_RATE_HZ, Gap, GapReason, Record, Window
from monitor.demo.program import Recording
from monitor.demo.station import Station
from monitor.local import servers
from monitor.storage.storage import open_storage
from tests.acceptance.command import PATIENCE, Airtrace, Running, until
from tests.acceptance.sound import excerpt, on_air
from tests.broker import kafka_settings, published, published_records, running

pytestmark = pytest.mark.timeout(900)

LEASE_S = 4.0
LONG_LEASE_S = 60.0  # it does not expire while a test waits for something else
BUFFER_S = 60.0
SHORT_BUFFER_S = 6.0
WINDOW_S = 0.5
STREAMS = 4
PATIENCE_S = 240.0
BUSY_S = 20.0  # what a machine with other work may add
UNDISTURBED = {  # no stream is reconnected because this machine was busy
    "AIRTRACE_INGEST__STALL_TIMEOUT_S": "60",
    "AIRTRACE_INGEST__CONNECT_TIMEOUT_S": "60",
}
STATE = "select stream_id, epoch, holder, expires_at > now() as good from leases order by stream_id"


@dataclass
class Site:
    """A database with streams of a station, a Kafka, and ingest processes."""

    airtrace: Airtrace
    dsn: str
    kafka: KafkaSettings
    postgres: servers.Server

    def ingest(self) -> Running:
        return self.airtrace.start("ingest")

    def leases(self) -> dict[int, tuple[int, uuid.UUID | None]]:
        """Epoch and holder of each stream; no holder if the lease has expired."""
        rows = asyncio.run(_rows(self.dsn, STATE))
        return {row["stream_id"]: (row["epoch"], row["holder"] if row["good"] else None) for row in rows}

    def shares(self) -> list[int]:
        """The number of streams of each holder, in ascending order."""
        holders = [holder for _, holder in self.leases().values() if holder is not None]
        return sorted(holders.count(holder) for holder in set(holders))

    def until(self, truth: Callable[[], object], *processes: Running, seconds: float = PATIENCE_S) -> None:
        until(truth, seconds, lambda: f"{self.leases()} {[process.log[-2000:] for process in processes]}")

    def records(self) -> dict[int, list[Record]]:
        """Everything published, by stream, in the order of the log."""
        streams: dict[int, list[Record]] = {}
        for record in asyncio.run(published_records(self.kafka)):
            streams.setdefault(record.stream_id, []).append(record)
        return streams

    def newest(self, stream: int) -> int:
        """Stream clock at the end of the newest window."""
        return max((each.end for each in self.records().get(stream, ()) if isinstance(each, Window)), default=0)

    def until_all_go_on(self, *processes: Running) -> None:
        """Waits until each stream has new windows."""
        since = {stream: self.newest(stream) for stream in range(1, STREAMS + 1)}
        self.until(lambda: all(self.newest(stream) > end for stream, end in since.items()), *processes)


async def _rows(dsn: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


def accepted(records: list[Record]) -> list[Record]:
    """The records that a worker takes: none of an epoch older than one it has seen."""
    taken: list[Record] = []
    for record in records:
        if not taken or record.epoch >= taken[-1].epoch:
            taken.append(record)
    return taken


def assert_heard_by_one_at_a_time(records: list[Record]) -> None:
    """Epochs only rise, and no two windows that a worker takes overlap."""
    taken = accepted(records)
    assert [record.epoch for record in taken] == sorted(record.epoch for record in taken)
    windows = [record for record in taken if isinstance(record, Window)]
    for one, two in pairwise(windows):
        assert one.end <= two.start, (one.epoch, two.epoch, (one.end - two.start) / SAMPLE_RATE_HZ)
    sessions = {window.session_id: window.epoch for window in windows}
    assert all(window.is_discontinuous for window in windows if window.first_sample == 0)
    assert len(sessions) >= len({record.epoch for record in windows}) - 1


async def _prepare(dsn: str, url: str) -> None:
    async with open_storage(dsn, 2) as opened:
        for number in range(STREAMS):
            assert await opened.streams.add(f"radio-{number}", url)


@pytest.fixture
def station(catalog: tuple[Recording, ...]) -> Iterator[Station]:
    """Broadcasts for longer than any test needs."""
    with on_air(np.tile(excerpt(catalog[0], 0, 50), (8, 1))) as station:
        yield station


@pytest.fixture
def lease_s() -> float:
    """A test that needs another one is parametrized with it."""
    return LEASE_S


@contextmanager
def _site(folder: Path, url: str, bootstrap: str, lease_s: float, buffer_s: float) -> Iterator[Site]:
    kafka = kafka_settings(bootstrap, partitions=2)
    postgresql, dsn = servers.postgresql(folder)
    with servers.serving(postgresql):
        asyncio.run(_prepare(dsn, url))
        own = {
            "AIRTRACE_DATABASE__DSN": dsn,
            "AIRTRACE_INGEST__LEASE_S": str(lease_s),
            "AIRTRACE_INGEST__BUFFER_S": str(buffer_s),
            "AIRTRACE_INGEST__WINDOW_S": str(WINDOW_S),
            "AIRTRACE_METRICS__PORT": "0",
            **{f"AIRTRACE_KAFKA__{name.upper()}": str(value) for name, value in _named(kafka).items()},
        }
        command = Airtrace(folder / "no home", folder, {**PATIENCE, **UNDISTURBED, **own})
        try:
            yield Site(command, dsn, kafka, postgresql)
        finally:
            command.end()


def _named(kafka: KafkaSettings) -> dict[str, object]:
    names = ("bootstrap", "windows_topic", "rejected_topic", "matches_topic", "group", "partitions")
    return {name: getattr(kafka, name) for name in names}


@pytest.fixture
def site(tmp_path: Path, kafka: str, station: Station, lease_s: float) -> Iterator[Site]:
    with _site(tmp_path, station.url, kafka, lease_s, BUFFER_S) as made:
        yield made


def test_the_streams_of_a_killed_ingest_are_taken_over_within_the_lease(site: Site) -> None:
    one, two = site.ingest(), site.ingest()
    site.until(lambda: site.shares() == [2, 2], one, two)
    site.until_all_go_on(one, two)
    before = site.leases()
    one.kill()
    killed_s = time.monotonic()
    site.until(lambda: site.shares() == [STREAMS], two, seconds=LEASE_S + BUSY_S)
    took_s = time.monotonic() - killed_s
    assert two.events("lease.changed")
    after = site.leases()
    moved = [stream for stream in before if after[stream][1] != before[stream][1]]
    assert len(moved) == 2, "those of the living stayed"
    assert all(after[stream][0] > before[stream][0] for stream in moved)
    site.until_all_go_on(two)
    two.stop()
    assert all(holder is None for _, holder in site.leases().values())
    for stream, records in site.records().items():
        assert_heard_by_one_at_a_time(records)
        assert {record.epoch for record in records} >= ({after[stream][0]} if stream in moved else set())
        reasons = {record.reason for record in records if isinstance(record, Gap)}
        assert GapReason.DROPPED not in reasons
    print(f"taken over after {took_s:.1f} s with a lease of {LEASE_S:.0f} s")


def test_a_paused_ingest_loses_its_streams_and_publishes_nothing_of_them_when_it_continues(site: Site) -> None:
    one, two = site.ingest(), site.ingest()
    site.until(lambda: site.shares() == [2, 2], one, two)
    site.until_all_go_on(one, two)
    before = site.leases()
    os.kill(one.process.pid, signal.SIGSTOP)
    try:
        site.until(lambda: site.shares() == [STREAMS], two)
        site.until_all_go_on(two)
        after = site.leases()
    finally:
        os.kill(one.process.pid, signal.SIGCONT)
    one.wait_for(lambda: [each for each in one.events("lease.changed") if each["change"] == "lost"])
    moved = {stream for stream in before if after[stream][1] != before[stream][1]}
    lost = {each["stream"] for each in one.events("lease.changed") if each["change"] == "lost"}
    assert lost == moved
    site.until(lambda: site.shares() == [2, 2], one, two)  # it takes its share again
    site.until_all_go_on(one, two)
    one.stop()
    two.stop()
    for records in site.records().values():
        assert_heard_by_one_at_a_time(records)


@pytest.mark.parametrize("lease_s", [LONG_LEASE_S])
def test_on_sigterm_streams_are_released_at_once_and_all_their_audio_is_published(site: Site) -> None:
    one, two = site.ingest(), site.ingest()
    site.until(lambda: site.shares() == [2, 2], one, two)
    site.until_all_go_on(one, two)
    before = site.leases()
    one.stop()
    site.until(lambda: site.shares() == [STREAMS], two, seconds=LONG_LEASE_S / 2)  # before the leases expire
    after = site.leases()
    moved = [stream for stream in before if after[stream][1] != before[stream][1]]
    site.until_all_go_on(two)
    two.stop()
    records = site.records()
    for stream in moved:
        assert_heard_by_one_at_a_time(records[stream])
        windows = [record for record in records[stream] if isinstance(record, Window)]
        for (last, first), epochs in (((a, b), (a.epoch, b.epoch)) for a, b in pairwise(windows)):
            if epochs == (before[stream][0], after[stream][0]):
                assert (first.start - last.end) / SAMPLE_RATE_HZ < LONG_LEASE_S / 2


def test_while_postgresql_is_away_for_longer_than_a_lease_nothing_is_lost(site: Site) -> None:
    one = site.ingest()
    site.until(lambda: site.shares() == [STREAMS], one)
    site.until_all_go_on(one)
    before = site.leases()
    site.postgres.stop()
    time.sleep(LEASE_S + 1)  # the outage itself, not a wait for something; the buffer holds more
    held = site.records()
    site.postgres.start()
    site.until(lambda: site.shares() == [STREAMS], one)
    site.until_all_go_on(one)
    one.stop()
    after = site.leases()
    assert all(after[stream][0] == before[stream][0] + 1 for stream in before), "the same claims, made again"
    for stream, records in site.records().items():
        assert_heard_by_one_at_a_time(records)
        windows = [record for record in records if isinstance(record, Window)]
        assert len({window.session_id for window in windows}) == 1
        assert all(one.end == two.start for one, two in pairwise(windows)), "nothing is missing"
        newest = max(record.end for record in held[stream])
        assert any(record.start >= newest for record in windows if record.epoch == before[stream][0] + 1)


def test_when_the_broker_is_away_for_longer_than_the_buffer_the_dropped_seconds_are_gaps(
    tmp_path: Path, station: Station, lease_s: float
) -> None:
    (tmp_path / "kafka").mkdir()
    with running(tmp_path / "kafka") as broker:
        if broker.server is None or not broker.is_real:
            pytest.skip("only a broker of our own, that keeps its log, can be stopped")
        with _site(tmp_path, station.url, broker.bootstrap, lease_s, SHORT_BUFFER_S) as site:
            one = site.ingest()
            site.until(lambda: site.shares() == [STREAMS], one)
            site.until_all_go_on(one)
            broker.server.stop()
            time.sleep(SHORT_BUFFER_S + 4)  # the outage itself, not a wait for something
            broker.server.start()
            site.until_all_go_on(one)
            one.stop()
            assert one.events("publisher.losing_audio")
            for records in site.records().values():
                for before, behind in pairwise(records):
                    assert before.end == behind.start, "every moment is accounted for"
                dropped = [each for each in records if _is_dropped(each)]
                assert sum(each.end - each.start for each in dropped) >= SAMPLE_RATE_HZ
                assert_heard_by_one_at_a_time(records)
                for gap in dropped:
                    behind = next(each for each in records if isinstance(each, Window) and each.start >= gap.end)
                    assert behind.is_discontinuous
            # By the clock of the audio, not by how long the outage took: a busy machine restarts a broker in a minute.
            for record, published_s in asyncio.run(published(site.kafka)):
                if _is_dropped(record):
                    kept_s = published_s - record.end / SAMPLE_RATE_HZ
                    assert kept_s > SHORT_BUFFER_S - 2 * WINDOW_S, "the newest is kept: as much as the buffer holds"


def _is_dropped(record: Record) -> bool:
    return isinstance(record, Gap) and record.reason is GapReason.DROPPED
