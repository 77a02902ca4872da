"""The full mode's servers, shared by the kill tests, and broadcasts of known content that are fed into Kafka.

A broadcast is published as ingest would, several times faster than real time, while a test does its worst. Afterwards
PostgreSQL must hold what an undisturbed run of the same broadcast left there.

AIRTRACE_TEST_STREAMS and AIRTRACE_TEST_MINUTES set its size, AIRTRACE_TEST_SPEED and AIRTRACE_TEST_SEED the rest.
AIRTRACE_TEST_AWAY_S is how long a stopped server stays away.
"""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from anyio.from_thread import BlockingPortal, start_blocking_portal
from numpy.typing import NDArray

from ingest.backoff import Backoff
from ingest.bus.kafka import KafkaBus
from ingest.errors import BusError
from ingest.settings import KafkaSettings
from ingest.wire import SAMPLE_RATE_HZ, Gap, GapReason, Record, Window
from monitor.audio import decode
from monitor.demo.program import Recording
from monitor.local import servers
from monitor.local.servers import Server
from tests.acceptance.command import Airtrace, Running, until

Pcm = NDArray[np.int16]

SECOND = SAMPLE_RATE_HZ
ANCHOR = 1_700_000_000 * SECOND  # start of all broadcasts: a day in 2023
WINDOW_S = 2.0
STREAMS = int(os.environ.get("AIRTRACE_TEST_STREAMS", "4"))
LENGTH_S = 60 * float(os.environ.get("AIRTRACE_TEST_MINUTES", "1"))
SPEED = float(os.environ.get("AIRTRACE_TEST_SPEED", "15"))  # times real time; two busy cores match about 60
AWAY_S = float(os.environ.get("AIRTRACE_TEST_AWAY_S", "3"))  # how long a stopped server stays away
SEED = int(os.environ.get("AIRTRACE_TEST_SEED", "1"))
PARTITIONS = 4
SESSION_S = 6.0  # the shortest that brokers allow by default
PATIENCE_S = 120 + STREAMS * LENGTH_S / 8  # enough if only a twentieth of a core is left
TIMEOUT_S = 600 + 4 * PATIENCE_S  # the first test starts the servers as well
NEAR_S = 1.0  # allowed distance from the truth if nothing is killed
END_S = 14.0  # of unknown music, by whose end every play is closed


@dataclass(frozen=True, slots=True)
class Play:
    """The truth: an interval of a stream, in seconds, plays a track from a position."""

    stream: int
    title: str
    start_s: float
    end_s: float
    position_s: float


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Records of all streams in order of arrival, what was played, and the coverage that must be stored."""

    records: tuple[Record, ...]
    truth: tuple[Play, ...]
    coverage: tuple[tuple[int, int, int, str | None], ...]  # stream, from, to, reason of a gap
    streams: int

    def ends(self) -> dict[int, int]:
        """The clock at the end of each stream."""
        ends: dict[int, int] = {}
        for record in self.records:
            ends[record.stream_id] = max(record.end, ends.get(record.stream_id, 0))
        return ends


@dataclass(frozen=True, slots=True)
class Found:
    """What PostgreSQL holds of a broadcast: plays and coverage in stream clock values, and the plays with alerts."""

    plays: tuple[tuple[int, str, int, int, int, int, str], ...]
    coverage: tuple[tuple[int, int, int, str | None], ...]
    alerts: int


@dataclass
class _Mix:
    """One stream's program while it is built."""

    stream: int
    chance: random.Random
    clock: int = ANCHOR
    first: int = 0
    sequence: int = 0
    session: int = 1
    records: list[Record] = field(default_factory=list)

    @property
    def at_s(self) -> float:
        return (self.clock - ANCHOR) / SECOND

    def play(self, pcm: Pcm) -> None:
        window = round(WINDOW_S * SECOND)
        for begin in range(0, len(pcm), window):
            piece = pcm[begin : begin + window]
            session = uuid.UUID(int=self.stream << 32 | self.session)
            anchor = self.clock - self.first
            self.records.append(Window(self.stream, session, self.sequence, anchor, self.first, piece.tobytes()))
            self.clock += len(piece)
            self.first += len(piece)
            self.sequence += 1

    def gap(self, length_s: float, reason: GapReason) -> None:
        """A break in the connection: another session follows."""
        start = self.clock
        self.clock += round(length_s * SECOND)
        self.records.append(Gap(self.stream, start, self.clock, reason))
        self.session, self.first, self.sequence = self.session + 1, 0, 0


def broadcast(known: dict[str, Pcm], unknown: Pcm, streams: int, length_s: float, seed: int) -> Broadcast:
    """Known music, unknown music, silence and breaks, in a different order on each stream."""
    mixes, truth = [], []
    for stream in range(1, streams + 1):
        mix = _Mix(stream, random.Random(f"{seed}/{stream}"))
        decks = _shuffled(mix.chance, sorted(known))
        while mix.at_s < length_s - END_S:
            title = next(decks)
            max_s = len(known[title]) / SECOND - 4
            length = min(round(mix.chance.uniform(14, 24), 2), max_s)
            position = round(mix.chance.uniform(2, max(2, max_s - length)), 2)
            begin = round(position * SECOND)
            start_s = mix.at_s
            mix.play(known[title][begin : begin + round(length * SECOND)])
            truth.append(Play(stream, title, start_s, mix.at_s, position))
            between = mix.chance.choice(("unknown", "silence", "gap"))
            if between == "unknown":
                mix.play(_piece(unknown, mix.chance, 12))
            elif between == "silence":
                mix.play(np.zeros(round(10.5 * SECOND), np.int16))
            else:
                mix.gap(round(mix.chance.uniform(9, 12), 3), mix.chance.choice((GapReason.STALLED, GapReason.ENDED)))
        mix.play(_piece(unknown, mix.chance, END_S))
        mixes.append(mix)
    records = sorted((record for mix in mixes for record in mix.records), key=lambda record: record.end)
    return Broadcast(tuple(records), tuple(truth), tuple(_coverage(mixes)), streams)


def _shuffled(chance: random.Random, titles: Sequence[str]) -> Iterator[str]:
    while True:
        yield from chance.sample(titles, len(titles))


def _piece(pcm: Pcm, chance: random.Random, length_s: float) -> Pcm:
    begin = chance.randrange(len(pcm) - round(length_s * SECOND))
    return pcm[begin : begin + round(length_s * SECOND)]


def _coverage(mixes: Sequence[_Mix]) -> Iterator[tuple[int, int, int, str | None]]:
    for mix in mixes:
        joined: list[tuple[int, int, int, str | None]] = []
        for record in mix.records:
            reason = record.reason.value if isinstance(record, Gap) else None
            if joined and joined[-1][3] == reason:
                joined[-1] = (mix.stream, joined[-1][1], record.end, reason)
            else:
                joined.append((mix.stream, record.start, record.end, reason))
        yield from joined


@dataclass
class Feed:
    """Publishes a broadcast to Kafka, at SPEED times real time."""

    settings: KafkaSettings
    records: Sequence[Record]
    speed: float = SPEED
    published: int = 0

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        begun_s = clock()
        async with KafkaBus(self.settings) as bus:
            for record in self.records:
                due_s = begun_s + (record.end - ANCHOR) / SECOND / self.speed
                if (early_s := due_s - clock()) > 0:
                    await asyncio.sleep(early_s)
                await self._publish(bus, record)
                self.published += 1

    async def _publish(self, bus: KafkaBus, record: Record) -> None:
        backoff = Backoff(0.2, 1)
        while True:
            try:
                await bus.publish(record)
                return
            except BusError:
                await asyncio.sleep(backoff.next_s())

    def wait_for(self, share: float) -> None:
        """Waits until this share of the broadcast is published."""
        until(lambda: self.published >= share * len(self.records), PATIENCE_S, lambda: str(self.published))


@dataclass
class Cluster:
    """The servers, and a database with the catalog."""

    kafka: str
    broker: Server | None  # if this process started it
    milvus: Server
    milvus_uri: str
    postgres: Server
    dsn: str
    portal: BlockingPortal

    def stage(self, folder: Path, streams: int) -> Stage:
        """A database and topics for one test, with this number of streams."""
        own = uuid.uuid4().hex[:12]
        dsn = self.database(own)
        settings = self.settings(dsn, own)
        names = ("windows_topic", "rejected_topic", "matches_topic", "group")
        named = {name: settings[f"AIRTRACE_KAFKA__{name.upper()}"] for name in names}
        kafka = KafkaSettings(bootstrap=self.kafka, partitions=PARTITIONS, **named)
        stage = Stage(self, Airtrace(folder / "no home", folder, settings), dsn, kafka)
        stage.add_streams(streams)
        return stage

    def settings(self, dsn: str, own: str, partitions: int = PARTITIONS) -> dict[str, str]:
        """Settings of processes that share only the servers with other tests."""
        return {
            "AIRTRACE_DATABASE__DSN": dsn,
            "AIRTRACE_MILVUS__URI": self.milvus_uri,
            "AIRTRACE_KAFKA__BOOTSTRAP": self.kafka,
            "AIRTRACE_KAFKA__WINDOWS_TOPIC": f"windows-{own}",
            "AIRTRACE_KAFKA__REJECTED_TOPIC": f"rejected-{own}",
            "AIRTRACE_KAFKA__MATCHES_TOPIC": f"matches-{own}",
            "AIRTRACE_KAFKA__GROUP": f"workers-{own}",
            "AIRTRACE_KAFKA__PARTITIONS": str(partitions),
            "AIRTRACE_KAFKA__SESSION_TIMEOUT_S": str(SESSION_S),
            "AIRTRACE_METRICS__PORT": "0",
            "AIRTRACE_API__PORT": "0",
        }

    def database(self, own: str) -> str:
        """The DSN of a new database with the catalog and nothing else."""
        run(_execute(self.dsn, f"create database t_{own} template stocked"))
        return urlsplit(self.dsn)._replace(path=f"/t_{own}").geturl()


@dataclass
class Stage:
    """One test's database, topics and processes."""

    cluster: Cluster
    airtrace: Airtrace
    dsn: str
    kafka: KafkaSettings
    workers: list[Running] = field(default_factory=list)

    def add_streams(self, n: int) -> None:
        """Adds streams 1 to n, which no ingest reads."""
        statement = f"""
            insert into streams (name, url, enabled)
            select 'radio-' || n, 'http://127.0.0.1/' || n, false from generate_series(1, {n}) n
        """
        run(_execute(self.dsn, statement))

    def worker(self, **settings: str) -> Running:
        """Starts another worker and waits until the group has admitted it."""
        started = self.airtrace.start("worker", **settings)
        started.wait_for(lambda: started.events("kafka.assigned"))
        self.workers.append(started)
        return started

    @contextmanager
    def fed(self, broadcast: Broadcast, speed: float = SPEED) -> Iterator[Feed]:
        """Publishes a broadcast while the context lasts; at its end all of it is published."""
        feed = Feed(self.kafka, broadcast.records, speed)
        task = self.cluster.portal.start_task_soon(feed.run)
        try:
            yield feed
        except BaseException:
            task.cancel()
            raise
        task.result(PATIENCE_S + LENGTH_S / speed)

    def poison(self, stream: int) -> None:
        """Adds an unreadable record to a stream."""
        self.cluster.portal.call(_send, self.kafka, str(stream).encode(), b"from the future")

    def dead_letters(self) -> list[tuple[bytes, bytes, str]]:
        """Key, value and error of each rejected record."""
        return self.cluster.portal.call(_letters, self.kafka)

    def wait_until_done(self, broadcast: Broadcast, patience_s: float = PATIENCE_S) -> None:
        """Waits until PostgreSQL has all of it."""
        ends = broadcast.ends()
        until(lambda: self.positions() == ends, patience_s, lambda: f"{self.positions()} {self.logs()}")

    def positions(self) -> dict[int, int]:
        """The position of each stream; empty while PostgreSQL is away."""
        try:
            return dict(run(_rows(self.dsn, "select stream_id, position from progress")))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return {}

    def found(self) -> Found:
        plays = """
            select stream_id, track ->> 'source', starts, ends, track_starts, track_ends, state from matches
            order by stream_id, starts, track_starts
        """
        coverage = "select stream_id, starts, ends, reason from coverage order by stream_id, starts"
        alerts = "select count(distinct match_id) from alerts"
        rows = [run(_rows(self.dsn, query)) for query in (plays, coverage, alerts)]
        named = tuple((stream, Path(source).stem, *rest) for stream, source, *rest in rows[0])
        return Found(named, tuple(map(tuple, rows[1])), rows[2][0][0])

    def logs(self) -> str:
        return "\n".join(worker.log[-1500:] for worker in self.workers)

    def stop(self) -> None:
        """Asks every worker that still runs to end; each must end with exit code 0."""
        for worker in self.workers:
            worker.stop()


def run(coroutine):
    """Runs a coroutine to its end."""
    return asyncio.run(coroutine)


async def _rows(dsn: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=30)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _send(kafka: KafkaSettings, key: bytes, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        await producer.send_and_wait(kafka.windows_topic, value, key=key, headers=[("airtrace", b"99")])


async def _letters(kafka: KafkaSettings) -> list[tuple[bytes, bytes, str]]:
    topic = TopicPartition(kafka.rejected_topic, 0)
    async with AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap) as consumer:
        consumer.assign([topic])
        end = (await consumer.end_offsets([topic]))[topic]
        consumer.seek(topic, 0)
        letters = [await consumer.getone() for _ in range(end)]
    return [(letter.key, letter.value, dict(letter.headers)["error"].decode()) for letter in letters]


def check(found: Found, broadcast: Broadcast, undisturbed: Found) -> None:
    """Every play once and no other, each end within a window of the undisturbed run's, and complete coverage."""
    names, expected = (
        [(stream, title, state) for stream, title, *_, state in each.plays] for each in (found, undisturbed)
    )
    assert names == expected
    for play, good in zip(found.plays, undisturbed.plays, strict=True):
        assert all(abs(here - there) <= WINDOW_S * SECOND for here, there in zip(play[2:6], good[2:6], strict=True)), (
            f"{play} instead of {good}"
        )
    assert found.coverage == broadcast.coverage
    assert found.alerts == len(found.plays)


@contextmanager
def raised(folder: Path, kafka: str, broker: Server | None, tracks: Sequence[Path]) -> Iterator[Cluster]:
    """Starts a Milvus server and PostgreSQL beside a Kafka, with a catalog of these tracks."""
    milvus, uri = servers.milvus(folder)
    postgresql, dsn = servers.postgresql(folder)
    with servers.serving(milvus, postgresql), start_blocking_portal() as portal:
        cluster = Cluster(kafka, broker, milvus, uri, postgresql, dsn, portal)
        _stock(cluster, folder, tracks)
        yield cluster


def _stock(cluster: Cluster, folder: Path, tracks: Sequence[Path]) -> None:
    """Creates the catalog in the database `stocked` and in Milvus."""
    run(_execute(cluster.dsn, "create database stocked"))
    dsn = urlsplit(cluster.dsn)._replace(path="/stocked").geturl()
    airtrace = Airtrace(folder / "no home", folder, cluster.settings(dsn, "stock"))
    try:
        assert f"{len(tracks)} added" in airtrace("tracks", "add", *tracks).out
    finally:
        airtrace.end()


def decoded(tracks: Sequence[Recording]) -> dict[str, Pcm]:
    """By title, as 32 kHz mono PCM."""

    async def whole(path: Path) -> Pcm:
        return np.concatenate([block async for block in decode.blocks(path)])

    return {track.path.stem: run(whole(track.path)) for track in tracks}
