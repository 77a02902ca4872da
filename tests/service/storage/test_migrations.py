"""A database that an older version left is read back right after its migration."""

from __future__ import annotations

import json
import uuid

import asyncpg
import pytest

from monitor.alerts.events import event
from monitor.core.families import FamilyRelation
from monitor.storage.database import migrate
from monitor.storage.sql import migrations
from monitor.storage.storage import open_storage
from monitor.storage.tables.outbox import OutboxEvent
from tests.service.storage.samples import INFO, SECOND, START, vectors

MATCH = uuid.UUID(int=7)
TRACK_OF_MATCH = {"id": 1, "title": "Nocturne", "artist": None, "album": None, "isrc": None, "source": "/a.flac"}


async def schema_8(dsn: str) -> None:
    """Two related tracks, an open match of one of them with its alert, a calibration, and an event that waits."""
    connection = await asyncpg.connect(dsn)
    await migrate(connection, [known for known in migrations() if known[0] <= 8])
    for number, title in ((1, "Nocturne"), (2, "Nocturne (live)")):
        await connection.execute(
            "insert into tracks (audio_sha256, status, title, source, n_samples)"
            " values ($1, 'ready', $2, '/a.flac', 9)",
            bytes([number]) * 32,
            title,
        )
        await connection.execute(
            "insert into fingerprints (track_id, detector, version, checksum, n_segments, n_audible, dimensions,"
            " vectors, related) values ($1, 'fingerprint', 'test-1', 'c0ffee', 10, 10, 4, $2, $3)",
            number,
            vectors(seed=number).astype("<f2").tobytes(),
            number == 1,
        )
    await connection.execute("insert into kinships values (1, 2, 0.5, 1.25, false), (2, 1, 0.75, 0.8, false)")
    await connection.execute("insert into streams (name, url) values ('radio-one', 'http://radio.example/a.mp3')")
    await connection.execute(
        "insert into progress (stream_id, position, log_partition, log_offset, replay_offset) values (1, $1, 0, 10, 4)",
        START + 5 * SECOND,
    )
    await connection.execute(
        "insert into matches (id, stream_id, track_id, track, detector, version, state, starts, ends, track_starts,"
        " track_ends, score_sum, scored, evidence)"
        " values ($1, 1, 1, $2, 'fingerprint', 'test-1', 'open', $3, $4, 0, $5, 9.0, 10, 30.5)",
        MATCH,
        json.dumps(TRACK_OF_MATCH),
        START,
        START + 5 * SECOND,
        5 * SECOND,
    )
    await connection.execute("insert into alerts (match_id, severity, track) select id, 'warning', track from matches")
    await connection.execute(
        "insert into calibrations (detector, version, checksum, open_evidence, fitted, fitted_low, fitted_high,"
        " rate_per_1000_h, sound_s, n_peaks, n_tail, tail_level, mean_excess, n_tracks)"
        " values ('fingerprint', 'test-1', 'c0ffee', 14.5, 13.0, 12.0, 14.0, 1, 3600, 500, 50, 4.0, 1.5, 2)"
    )
    await connection.execute(
        "insert into outbox (event, stream_id, body) select $1, 1,"
        " jsonb_build_object('type', 'match.opened', 'stream_name', 'radio-one', 'match', to_jsonb(m)) from matches m",
        uuid.UUID(int=8),
    )
    await connection.close()


async def test_a_database_of_schema_8_is_read_back_right_after_its_migration(empty_dsn: str) -> None:
    await schema_8(empty_dsn)
    async with open_storage(empty_dsn, 2, with_outbox=True) as storage:
        [match] = await storage.matches.list()
        assert (match.id, match.track, match.state, match.llr) == (MATCH, TRACK_OF_MATCH, "open", 30.5)
        assert (match.score, match.starts, match.ends) == (pytest.approx(0.9), START, START + 5 * SECOND)
        [play] = await storage.matches.open_plays(1, INFO)
        assert (play.id, play.track, play.llr) == (MATCH, 1, 30.5)
        [alert] = await storage.alerts.list()
        assert (alert.match_id, alert.track) == (MATCH, TRACK_OF_MATCH)
        calibration = await storage.calibrations.newest(INFO)
        assert calibration is not None
        assert (calibration.open_llr, calibration.fitted, calibration.n_tracks) == (14.5, 13.0, 2)


async def test_relations_of_schema_8_are_family_relations(empty_dsn: str) -> None:
    await schema_8(empty_dsn)
    async with open_storage(empty_dsn, 2) as storage:
        assert await storage.families.relations() == [FamilyRelation(1, 2, False)]
        families = await storage.families.members_of([1, 2])
        assert {track: [member.title for member in family] for track, family in families.items()} == {
            1: ["Nocturne (live)"],
            2: ["Nocturne"],
        }
        assert await storage.families.tracks_without_known_family(INFO) == [2]
        await storage.tracks.delete(2)
        assert await storage.families.relations() == []


async def test_an_event_that_waits_in_schema_8_is_sent_with_the_new_names(empty_dsn: str) -> None:
    await schema_8(empty_dsn)
    written: list[OutboxEvent] = []

    async def keep(each: OutboxEvent) -> None:
        written.append(each)

    async with open_storage(empty_dsn, 2, with_outbox=True) as storage:
        assert storage.outbox is not None
        assert await storage.outbox.send(keep) == 1
        assert await storage.outbox.count() == 0
    assert "evidence" not in written[0].body["match"]
    message = event(written[0])
    assert (message.id, message.type, message.match.id) == (uuid.UUID(int=8), "match.opened", MATCH)
    assert (message.match.llr, message.match.score, message.match.stream.name) == (30.5, 0.9, "radio-one")
