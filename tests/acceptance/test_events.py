"""Kafka gets an event for every match that PostgreSQL has, in order, whichever process is killed."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from ingest import timeline
from ingest.settings import KafkaSettings
from monitor.alerts.events import Event
from tests.acceptance import cluster as full
from tests.acceptance.cluster import Broadcast, Stage
from tests.acceptance.command import until
from tests.broker import messages

pytestmark = pytest.mark.timeout(full.TIMEOUT_S)
WAITING = "select count(*) from outbox"


async def _told(settings: KafkaSettings) -> list[Event]:
    """All events of the topic, each partition in its order."""
    told: list[Event] = []
    for message in await messages(settings, settings.matches_topic):
        told.append(Event.model_validate_json(message.value))
        assert json.loads(message.value)["match"]["stream"]["id"] == int(message.key)
    return told


def _once(told: list[Event]) -> list[Event]:
    """Without duplicates, by their id."""
    seen: dict[Any, Event] = {}
    for event in told:
        assert seen.setdefault(event.id, event) == event, "an id stands for one event"
    return list(seen.values())


def test_every_match_has_events_from_its_opening_to_its_end_although_workers_are_killed(
    stage: Stage, broadcast: Broadcast, chance: random.Random
) -> None:
    first, second = stage.worker(), stage.worker()
    with stage.fed(broadcast) as feed:
        for worker in (first, second):
            feed.wait_for(chance.uniform(0.2, 0.3) if worker is first else chance.uniform(0.5, 0.6))
            worker.kill()
            stage.worker()
    stage.wait_until_done(broadcast)
    until(lambda: full.run(full._rows(stage.dsn, WAITING))[0][0] == 0, full.PATIENCE_S, stage.logs)
    stage.stop()
    told = _once(full.run(_told(stage.kafka)))
    plays = full.run(full._rows(stage.dsn, "select id, stream_id, starts, ends, track ->> 'title' from matches"))
    assert len(plays) >= len(broadcast.truth) - broadcast.streams, "something was found"
    assert {event.match.id for event in told} == {play["id"] for play in plays}
    for identity, stream, starts, ends, title in plays:
        events = [event for event in told if event.match.id == identity]
        kinds = [event.type for event in events if event.type != "match.changed"]
        assert kinds == ["match.opened", "alert.raised", "match.closed"]
        closed = events[-1].match
        assert (closed.stream.id, closed.track.title) == (stream, title)
        assert (closed.start, closed.end) == (timeline.to_utc(starts), timeline.to_utc(ends))
