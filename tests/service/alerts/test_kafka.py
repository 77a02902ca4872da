"""Events report the rows of their batch, are sent over a real Kafka at least once and in order, and fit the schema."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import jsonschema
import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import REGISTRY

from ingest.bus.kafka import KafkaBus
from ingest.errors import BusError
from ingest.settings import KafkaSettings
from ingest.wire import SAMPLE_RATE_HZ, Encoded
from monitor.alerts.events import event
from monitor.alerts.kafka import EventPublisher, events_topic
from monitor.core.tracking.play import Play
from monitor.detect.detector import DetectorInfo
from monitor.errors import RejectedValue, StaleProgress
from monitor.storage.records import Batch, Fingerprint, Metadata, Progress
from monitor.storage.storage import Storage, open_storage
from monitor.storage.tables.outbox import SENDING_LOCK, Outbox, OutboxEvent
from tests.broker import Broker, kafka_settings

SCHEMA = Path(__file__).parents[3] / "configs" / "events.schema.json"
INFO = DetectorInfo("fingerprint", "test-1", "c0ffee", 4)
SECOND = SAMPLE_RATE_HZ
START = 1_700_000_000 * SECOND
SONG = Metadata("Nocturne", "/music/nocturne.flac", "The Owls", "Night", "DEA622100001")
DEADLINE_S = 30


@pytest.fixture
async def publishing(dsn: str) -> AsyncIterator[Storage]:
    async with open_storage(dsn, 4, with_outbox=True) as opened:
        yield opened


@pytest.fixture
async def playing(publishing: Storage) -> tuple[int, Play]:
    """A stream, and a play of a track in it that is not written yet."""
    stream = await publishing.streams.add("radio-one", "http://radio.example/a.mp3")
    assert stream is not None
    return stream, play(await a_track(publishing, SONG))


async def a_track(storage: Storage, metadata: Metadata, seed: int = 1) -> int:
    vectors = np.random.default_rng(seed).normal(size=(10, INFO.dimensions)).astype(np.float32)
    track = await storage.tracks.add(bytes([seed]) * 32, 5 * SECOND, metadata, Fingerprint(INFO, vectors))
    assert track is not None
    await storage.tracks.set_status(track, "ready")
    return track


def play(track: int, number: int = 1) -> Play:
    at = 7 * SECOND
    return Play(uuid.UUID(int=number), track, START, START + 5 * SECOND, at, at + 5 * SECOND, 1.0, 9.5, 11, 30.5)


def batch(stream: int, before: int | None, after: int, **plays: tuple[Play, ...]) -> Batch:
    known = {"opened": (), "open": (), "closed": (), **plays}
    expected = None if before is None else START + before
    return Batch(stream, expected, Progress(START + after, 0, 10, 4), (), severity="warning", **known)


async def waiting(storage: Storage) -> list[OutboxEvent]:
    """Takes all events out of the outbox."""
    written: list[OutboxEvent] = []

    async def keep(each: OutboxEvent) -> None:
        written.append(each)

    assert storage.outbox is not None
    await storage.outbox.send(keep)
    return written


async def test_a_play_has_events_when_it_opens_with_its_alert_and_when_it_closes(
    publishing: Storage, playing: tuple[int, Play]
) -> None:
    stream, one = playing
    longer = replace(one, end=one.end + 3 * SECOND, track_end=one.track_end + 3 * SECOND)
    await publishing.batches.write(batch(stream, None, 1, opened=(one,), open=(one,)), INFO)
    await publishing.batches.write(batch(stream, 1, 2, open=(longer,)), INFO)
    await publishing.batches.write(batch(stream, 2, 3, closed=(longer,)), INFO)
    opened, alert, closed = [event(written) for written in await waiting(publishing)]
    assert [each.type for each in (opened, alert, closed)] == ["match.opened", "alert.raised", "match.closed"]
    assert len({opened.id, alert.id, closed.id}) == 3
    assert opened.match.id == alert.match.id == closed.match.id == one.id
    assert opened.match.start.isoformat() == "2023-11-14T22:13:20+00:00"
    assert (opened.match.end - opened.match.start).total_seconds() == 5
    assert (closed.match.end - closed.match.start).total_seconds() == 8
    assert (closed.match.track_start_s, closed.match.track_end_s, closed.match.speed) == (7, 15, 1)
    assert opened.match.stream.name == "radio-one"
    assert (opened.match.track.title, opened.match.track.isrc) == ("Nocturne", "DEA622100001")
    assert alert.alert is not None
    assert alert.alert.severity == "warning"
    assert opened.alert is closed.alert is None


async def test_a_play_that_moves_to_another_track_has_an_event(publishing: Storage, playing: tuple[int, Play]) -> None:
    stream, one = playing
    await publishing.batches.write(batch(stream, None, 1, opened=(one,), open=(one,)), INFO)
    await waiting(publishing)
    other = await a_track(publishing, replace(SONG, title="Aubade"), seed=2)
    await publishing.batches.write(batch(stream, 1, 2, open=(replace(one, track=other),)), INFO)
    await publishing.batches.write(batch(stream, 2, 3, open=(replace(one, track=other),)), INFO)
    (changed,) = [event(written) for written in await waiting(publishing)]
    assert (changed.type, changed.match.id, changed.match.track.title) == ("match.changed", one.id, "Aubade")


async def test_a_batch_that_is_not_written_has_no_events(publishing: Storage, playing: tuple[int, Play]) -> None:
    stream, one = playing
    await publishing.batches.write(batch(stream, None, 1, opened=(one,), open=(one,)), INFO)
    await waiting(publishing)
    with pytest.raises(StaleProgress):
        await publishing.batches.write(batch(stream, None, 1, opened=(one,), open=(one,)), INFO)
    bad = replace(one, id=uuid.UUID(int=2), scored=0)  # rejected by the database
    with pytest.raises(RejectedValue):
        await publishing.batches.write(batch(stream, 1, 2, opened=(bad,), open=(bad,), closed=(one,)), INFO)
    assert await waiting(publishing) == []


async def test_a_match_that_closes_without_a_worker_has_an_event_too(
    publishing: Storage, playing: tuple[int, Play]
) -> None:
    stream, one = playing
    await publishing.batches.write(batch(stream, None, 1, opened=(one,), open=(one,)), INFO)
    await waiting(publishing)
    assert await publishing.tracks.delete(one.track)
    await publishing.matches.close_orphans()
    await publishing.matches.close_orphans()
    (closed,) = [event(written) for written in await waiting(publishing)]
    assert (closed.type, closed.match.track.title) == ("match.closed", "Nocturne")


async def test_without_an_outbox_no_events_are_written(storage: Storage) -> None:
    stream = await storage.streams.add("radio-one", "http://radio.example/a.mp3")
    assert stream is not None
    one = play(await a_track(storage, SONG))
    await storage.batches.write(batch(stream, None, 1, opened=(one,), open=(one,)), INFO)
    await storage.tracks.delete(one.track)
    await storage.matches.close_orphans()
    assert await Outbox(storage.database).count() == 0


async def test_events_sent_before_a_failure_are_not_sent_again(publishing: Storage, playing: tuple[int, Play]) -> None:
    stream, one = playing
    await publishing.batches.write(batch(stream, None, 1, opened=(one,), open=(one,)), INFO)
    sent: list[OutboxEvent] = []

    async def once(written: OutboxEvent) -> None:
        if sent:
            raise BusError("away")
        sent.append(written)

    assert publishing.outbox is not None
    with pytest.raises(BusError):
        await publishing.outbox.send(once)
    (rest,) = await waiting(publishing)
    assert (sent[0].body["type"], rest.body["type"]) == ("match.opened", "alert.raised")


async def test_only_one_process_sends_at_a_time(publishing: Storage, playing: tuple[int, Play], dsn: str) -> None:
    stream, one = playing
    await publishing.batches.write(batch(stream, None, 1, opened=(one,), open=(one,)), INFO)
    other = await asyncpg.connect(dsn)
    try:
        async with other.transaction():
            await other.execute("select pg_advisory_xact_lock($1)", SENDING_LOCK)
            assert await waiting(publishing) == []
        assert len(await waiting(publishing)) == 2
    finally:
        await other.close()


async def messages(settings: KafkaSettings, count: int) -> list[tuple[bytes, dict[str, bytes], Any]]:
    """Key, headers and JSON of the first messages in the topic of matches."""
    async with AIOKafkaConsumer(bootstrap_servers=settings.bootstrap) as consumer:
        partitions = [TopicPartition(settings.matches_topic, number) for number in range(settings.partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        async with asyncio.timeout(DEADLINE_S):
            found = [await consumer.getone() for _ in range(count)]
    return [(each.key, dict(each.headers), json.loads(each.value)) for each in found]


async def test_events_arrive_over_kafka_and_fit_their_published_schema(
    publishing: Storage, playing: tuple[int, Play], any_kafka: Broker
) -> None:
    settings = kafka_settings(any_kafka.bootstrap, partitions=2)
    stream, one = playing
    assert publishing.outbox is not None
    topic = events_topic(settings)
    bus = KafkaBus(settings, idempotent=any_kafka.is_real, others=[topic])
    async with bus, asyncio.TaskGroup() as group:
        task = group.create_task(EventPublisher(publishing.outbox, bus, topic.name).run(), name="events")
        await publishing.batches.write(batch(stream, None, 1, opened=(one,), open=(one,)), INFO)
        await publishing.batches.write(batch(stream, 1, 2, closed=(one,)), INFO)
        written = await messages(settings, 3)
        while await publishing.outbox.count():  # noqa: ASYNC110 - the deletion follows what was read
            await asyncio.sleep(0.01)
        task.cancel()
    schema = json.loads(SCHEMA.read_text())
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    for key, headers, body in written:
        validator.validate(body)
        assert key == str(stream).encode()
        assert headers["type"].decode() == body["type"]
        assert headers["id"].decode() == body["id"]
    assert [body["type"] for _, _, body in written] == ["match.opened", "alert.raised", "match.closed"]
    spoiled = {**written[0][2], "match": {**written[0][2]["match"], "start": 5}}
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(spoiled)


async def test_while_the_brokers_are_unreachable_events_wait_and_then_arrive_in_order(
    publishing: Storage, playing: tuple[int, Play]
) -> None:
    stream, one = playing
    taken: list[str] = []
    is_away, tried = asyncio.Event(), asyncio.Event()
    is_away.set()

    async def send(topic: str, message: Encoded) -> None:
        tried.set()
        if is_away.is_set():
            await asyncio.Event().wait()  # as aiokafka waits for unreachable brokers
        taken.append(json.loads(message.value)["type"])

    def sent(kind: str) -> float:
        return REGISTRY.get_sample_value("airtrace_events_total", {"type": kind}) or 0

    before = sent("match.closed")
    assert publishing.outbox is not None
    await publishing.batches.write(batch(stream, None, 1, opened=(one,), open=(one,)), INFO)
    await publishing.batches.write(batch(stream, 1, 2, closed=(one,)), INFO)
    bus = SimpleNamespace(send=send)
    publisher = EventPublisher(publishing.outbox, bus, "matches", send_timeout_s=0.05, retry_first_s=0.01)
    task = asyncio.create_task(publisher.run(), name="events")
    async with asyncio.timeout(DEADLINE_S):
        await tried.wait()
        assert taken == []
        is_away.clear()
        while len(taken) < 3 or await publishing.outbox.count():  # noqa: ASYNC110 - a database has a part in it
            await asyncio.sleep(0.01)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert taken == ["match.opened", "alert.raised", "match.closed"]
    assert sent("match.closed") == before + 1
