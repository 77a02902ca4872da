"""The store on a real PostgreSQL: the schema, the one transaction, the coverage ledger, and what a worker recalls."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from dataclasses import replace

import asyncpg
import numpy as np
import pytest

from ingest.wire import SAMPLE_RATE_HZ
from monitor.core.play import Play
from monitor.detect.detector import DetectorInfo
from monitor.errors import DependencyError, HomeTooNew, RejectedValue, RowDeleted, StaleProgress
from monitor.storage.database import migrate
from monitor.storage.records import Batch, Fingerprint, Interval, Metadata, Progress
from monitor.storage.sql import migrations
from monitor.storage.storage import Storage, open_storage

INFO = DetectorInfo("fingerprint", "test-1", "c0ffee", 4)
OTHER = DetectorInfo("fingerprint", "test-2", "decade", 4)
SECOND = SAMPLE_RATE_HZ
START = 1_700_000_000 * SECOND
SONG = Metadata("Nocturne", "/music/nocturne.flac", "The Owls", "Night", "DEA622100001")


async def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def everything(dsn: str) -> dict[str, list[tuple[object, ...]]]:
    return {
        table: await rows(dsn, f"select * from {table} order by 1, 2") for table in ("matches", "coverage", "alerts")
    }


def vectors(n: int = 10, seed: int = 1) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(n, INFO.dimensions)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


async def ready_track(storage: Storage, seed: int = 1, metadata: Metadata = SONG, info: DetectorInfo = INFO) -> int:
    track = await storage.tracks.add(bytes([seed]) * 32, 5 * SECOND, metadata, Fingerprint(info, vectors(seed=seed)))
    assert track is not None
    await storage.tracks.set_status(track, "ready")
    return track


async def a_stream(storage: Storage, name: str = "radio-one") -> int:
    stream = await storage.streams.add(name, "http://radio.example/a.mp3")
    assert stream is not None
    return stream


def play(track: int, start: int = START, end: int = START + 5 * SECOND, number: int = 1) -> Play:
    at = 7 * SECOND + 3
    return Play(uuid.UUID(int=number), track, start, end, at, at + end - start, 1.0, 9.123456789012345, 11, 30.5)


def batch(stream: int, expected: int | None, position: int, *coverage: Interval, **plays: tuple[Play, ...]) -> Batch:
    known = {"opened": (), "open": (), "closed": (), **plays}
    return Batch(stream, expected, Progress(position, 0, 10, 4), coverage, severity="warning", **known)


# The schema


async def test_migrating_twice_changes_nothing(empty_dsn: str) -> None:
    for _ in range(2):
        connection = await asyncpg.connect(empty_dsn)
        await migrate(connection)
        await connection.close()
    assert await rows(empty_dsn, "select version from schema_version order by 1") == [(n,) for n, _ in migrations()]


async def test_two_processes_may_migrate_at_the_same_moment(empty_dsn: str) -> None:
    connections = [await asyncpg.connect(empty_dsn) for _ in range(4)]
    await asyncio.gather(*(migrate(connection) for connection in connections))
    assert await rows(empty_dsn, "select version from schema_version order by 1") == [(n,) for n, _ in migrations()]
    for connection in connections:
        await connection.close()


async def test_stored_rows_survive_the_newer_migrations(empty_dsn: str) -> None:
    connection = await asyncpg.connect(empty_dsn)
    await migrate(connection, migrations()[:1])
    await connection.execute("insert into streams (name, url) values ('radio-one', 'http://radio.example/')")
    await migrate(connection)
    await connection.close()
    async with open_storage(empty_dsn, 2) as storage:
        assert [stream.name for stream in await storage.streams.list()] == ["radio-one"]


async def test_a_database_of_a_newer_version_is_refused(empty_dsn: str) -> None:
    await rows(empty_dsn, "create table schema_version (version integer primary key)")
    await rows(empty_dsn, "insert into schema_version values (9999)")
    with pytest.raises(HomeTooNew, match="schema 9999"):
        async with open_storage(empty_dsn, 2):
            pass


async def test_a_user_that_may_not_make_tables_is_told_so(empty_dsn: str) -> None:
    await rows(empty_dsn, "revoke create on schema public from public")
    role = f"reader_{uuid.uuid4().hex[:12]}"
    await rows(empty_dsn, f"create role {role} login password 'pw'")
    try:
        host = empty_dsn.rpartition("@")[2]
        with pytest.raises(DependencyError, match="permission denied"):
            async with open_storage(f"postgresql://{role}:pw@{host}", 2):
                pass
    finally:
        await rows(empty_dsn, f"drop role {role}")


# What is never shown


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://someone:hunter2@127.0.0.1:1/db",  # nobody listens there
        "postgresql://someone:hun/ter2@127.0.0.1:1/db",  # what follows the colon is taken for a port
        "postgresql://someone:hunter2@127.0.0.1:hunter2/db",
        "mysql://someone:hunter2@127.0.0.1/db",
        "hunter2",
    ],
)
async def test_the_password_of_a_dsn_is_never_in_the_error(dsn: str) -> None:
    with pytest.raises(DependencyError, match="PostgreSQL cannot be reached") as caught:
        async with open_storage(dsn, 2):
            pass
    for secret in ("hunter2", "hun", "ter2"):
        assert secret not in str(caught.value)


async def test_a_wrong_password_is_said_and_not_shown(postgresql: str) -> None:
    user, _, rest = postgresql.partition("//")[2].partition(":")
    wrong = f"postgresql://{user}:hunter2@{rest.rpartition('@')[2]}"
    with pytest.raises(DependencyError, match="password authentication failed") as caught:
        async with open_storage(wrong, 2):
            pass
    assert "hunter2" not in str(caught.value)


# One transaction


async def test_a_batch_writes_match_alert_coverage_and_progress(storage: Storage) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    new = play(track)
    end = START + 6 * SECOND
    await storage.batches.write(batch(stream, None, end, Interval(START, end), opened=(new,), open=(new,)), INFO)
    [match] = await storage.matches.list()
    assert (match.id, match.state, match.starts, match.ends) == (new.id, "open", new.start, new.end)
    assert (match.track_start_s, match.score) == (pytest.approx(7 + 3 / SECOND), pytest.approx(new.score))
    assert await storage.progress.get(stream) == Progress(end, 0, 10, 4)
    [covered] = await storage.coverage.list()
    assert (covered.starts, covered.ends, covered.state, covered.reason) == (START, end, "covered", None)
    [alert] = await storage.alerts.list()
    assert (alert.match_id, alert.severity, alert.state, alert.stream_name) == (new.id, "warning", "open", "radio-one")


async def test_an_alert_carries_the_metadata_of_the_track(storage: Storage) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    new = play(track)
    await storage.batches.write(batch(stream, None, new.end, opened=(new,), open=(new,)), INFO)
    expected = {
        "id": track,
        "title": SONG.title,
        "artist": SONG.artist,
        "album": SONG.album,
        "isrc": SONG.isrc,
        "source": SONG.source,
    }
    assert (await storage.alerts.list())[0].track == (await storage.matches.list())[0].track == expected


async def test_a_batch_written_twice_changes_nothing(storage: Storage, dsn: str) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    new, end = play(track), START + 6 * SECOND
    first = batch(stream, None, end, Interval(START, end), opened=(new,), open=(new,))
    await storage.batches.write(first, INFO)
    before = await everything(dsn)
    with pytest.raises(StaleProgress):
        await storage.batches.write(first, INFO)
    assert await everything(dsn) == before


async def test_of_two_workers_with_the_same_batch_one_writes_and_the_other_is_stale(storage: Storage, dsn: str) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    await storage.batches.write(batch(stream, None, START, Interval(START - SECOND, START)), INFO)
    new, end = play(track), START + 6 * SECOND
    same = batch(stream, START, end, Interval(START, end), opened=(new,), open=(new,))
    outcomes = await asyncio.gather(*(storage.batches.write(same, INFO) for _ in range(4)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", *["StaleProgress"] * 3]
    assert len(await storage.matches.list()) == len(await storage.alerts.list()) == 1
    assert [row[1:3] for row in await rows(dsn, "select * from coverage")] == [(START - SECOND, end)]


async def test_of_a_batch_that_fails_nothing_is_there(storage: Storage, dsn: str) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    new = play(track)
    broken = batch(stream, None, new.end, Interval(START, new.end), Interval(START, START), opened=(new,), open=(new,))
    with pytest.raises(RejectedValue):
        await storage.batches.write(broken, INFO)
    assert await everything(dsn) == {"matches": [], "coverage": [], "alerts": []}
    assert await storage.progress.get(stream) is None


async def test_a_match_is_extended_and_closed_and_has_one_alert(storage: Storage) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    new = play(track)
    longer = replace(new, end=new.end + 2 * SECOND, score_sum=12.5, scored=15)
    await storage.batches.write(batch(stream, None, new.end, opened=(new,), open=(new,)), INFO)
    await storage.batches.write(batch(stream, new.end, longer.end, open=(longer,)), INFO)
    await storage.batches.write(batch(stream, longer.end, longer.end + SECOND, closed=(longer,), opened=(new,)), INFO)
    [match] = await storage.matches.list()
    assert (match.state, match.ends, match.score) == ("closed", longer.end, pytest.approx(12.5 / 15))
    assert len(await storage.alerts.list()) == 1


# Coverage


async def test_coverage_tiles_the_time_and_joins_what_is_alike(storage: Storage) -> None:
    stream = await a_stream(storage)
    s = [START + i * SECOND for i in range(8)]
    pieces = [
        (Interval(s[0], s[1]), Interval(s[1], s[2])),
        (Interval(s[2], s[3], "stalled"),),
        (Interval(s[3], s[4], "stalled"), Interval(s[4], s[5], "ended")),
        (Interval(s[5], s[6]),),
        (Interval(s[6], s[7]),),
    ]
    position: int | None = None
    for piece in pieces:
        await storage.batches.write(batch(stream, position, piece[-1].ends, *piece), INFO)
        position = piece[-1].ends
    ledger = [(c.starts, c.ends, c.reason) for c in reversed(await storage.coverage.list("radio-one"))]
    assert ledger == [(s[0], s[2], None), (s[2], s[4], "stalled"), (s[4], s[5], "ended"), (s[5], s[7], None)]
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ledger))


async def test_coverage_of_one_stream_is_not_joined_to_another_s(storage: Storage) -> None:
    one, two = await a_stream(storage), await a_stream(storage, "radio-two")
    await storage.batches.write(batch(one, None, START + SECOND, Interval(START, START + SECOND)), INFO)
    await storage.batches.write(
        batch(two, None, START + 2 * SECOND, Interval(START + SECOND, START + 2 * SECOND)), INFO
    )
    assert {c.stream_name: (c.starts, c.ends) for c in await storage.coverage.list()} == {
        "radio-one": (START, START + SECOND),
        "radio-two": (START + SECOND, START + 2 * SECOND),
    }


async def test_a_stream_with_many_gaps_leaves_room_for_the_others(storage: Storage) -> None:
    one, two = await a_stream(storage), await a_stream(storage, "radio-two")
    s = [START + i * SECOND for i in range(8)]
    many = (
        Interval(before, after, "ended" if i % 2 else "stalled")
        for i, (before, after) in enumerate(itertools.pairwise(s))
    )
    await storage.batches.write(batch(one, None, s[7], *many), INFO)
    await storage.batches.write(batch(two, None, s[7], Interval(s[5], s[7])), INFO)
    newest = [(c.stream_name, c.starts) for c in await storage.coverage.list(limit=3)]
    assert newest == [("radio-one", s[6]), ("radio-one", s[5]), ("radio-two", s[5])]


# Deleting and removing


async def test_the_matches_of_a_deleted_track_stay_with_its_metadata_and_close(storage: Storage) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    new = play(track)
    await storage.batches.write(batch(stream, None, new.end, opened=(new,), open=(new,)), INFO)
    assert await storage.tracks.delete(track)
    assert await storage.vectors.references([track], INFO) == {}
    await storage.matches.close_orphans()
    [match] = await storage.matches.list()
    assert (match.state, match.track["title"], match.track["id"]) == ("closed", SONG.title, track)
    assert (await storage.alerts.list())[0].track["title"] == SONG.title
    assert await storage.matches.open_plays(stream, INFO) == ()


async def test_a_play_of_a_track_that_was_deleted_meanwhile_is_closed_and_no_new_one_is_made(storage: Storage) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    old, new = play(track), play(track, START + 20 * SECOND, START + 25 * SECOND, 2)
    await storage.batches.write(batch(stream, None, old.end, opened=(old,), open=(old,)), INFO)
    await storage.tracks.delete(track)
    await storage.batches.write(batch(stream, old.end, new.end, opened=(new,), open=(new,), closed=(old,)), INFO)
    assert [(match.id, match.state) for match in await storage.matches.list()] == [(old.id, "closed")]
    assert len(await storage.alerts.list()) == 1


async def test_a_track_that_goes_while_a_batch_is_written_is_no_deadlock(storage: Storage) -> None:
    tracks, stream = [await ready_track(storage, seed) for seed in range(1, 9)], await a_stream(storage)
    plays = tuple(play(track, number=track) for track in tracks)
    await storage.batches.write(batch(stream, None, START, opened=plays[:4], open=plays[:4]), INFO)
    later = batch(stream, START, START + SECOND, opened=plays[4:], open=plays)
    outcomes = await asyncio.gather(
        storage.batches.write(later, INFO),
        *(storage.tracks.delete(track) for track in reversed(tracks)),
        return_exceptions=True,
    )
    assert outcomes[1:] == [True] * 8
    assert outcomes[0] is None or isinstance(outcomes[0], RowDeleted), outcomes[0]


async def test_the_open_matches_of_a_removed_stream_close_once_its_worker_is_done(storage: Storage, dsn: str) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    new = play(track)
    await storage.batches.write(batch(stream, None, new.end, opened=(new,), open=(new,)), INFO)
    await storage.streams.remove("radio-one")
    await storage.matches.close_orphans()
    assert [match.state for match in await storage.matches.list()] == ["open"]
    await rows(dsn, "update streams set removed_at = removed_at - interval '31 s' returning 1")
    await rows(dsn, "update progress set updated_at = updated_at - interval '31 s' returning 1")
    await storage.matches.close_orphans()
    assert [match.state for match in await storage.matches.list()] == ["closed"]
    assert await storage.matches.open_counts() == {}


async def test_the_name_of_a_removed_stream_is_free_again(storage: Storage) -> None:
    first = await a_stream(storage)
    assert await storage.streams.add("radio-one", "http://elsewhere.example/") is None
    assert await storage.streams.remove("radio-one")
    assert not await storage.streams.remove("radio-one")
    assert await a_stream(storage) != first


# What a worker recalls


async def test_open_plays_are_recalled_exactly(storage: Storage) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    new = replace(
        play(track), score_sum=0.1 + 0.2, scored=3, llr=0.1 + 0.7, speed=1.0 / 3, bridged=7, is_ambiguous=True
    )
    await storage.batches.write(batch(stream, None, new.end, opened=(new,), open=(new,)), INFO)
    assert await storage.matches.open_plays(stream, INFO) == (new,)
    assert await storage.matches.open_plays(stream, replace(INFO, name="panns")) == ()


async def test_plays_that_a_stop_closed_are_recalled_as_long_as_they_may_go_on(storage: Storage) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    new = play(track)
    await storage.batches.write(batch(stream, None, new.end + SECOND, opened=(new,), open=(new,)), INFO)
    await storage.batches.write(batch(stream, new.end + SECOND, new.end + SECOND, closed=(new,)), INFO)  # the stop
    assert [match.state for match in await storage.matches.list()] == ["closed"]
    assert await storage.matches.open_plays(stream, INFO) == ()
    assert await storage.matches.open_plays(stream, INFO, SECOND) == ()
    assert await storage.matches.open_plays(stream, INFO, SECOND + 1) == (new,)
    await storage.batches.write(batch(stream, new.end + SECOND, new.end + 2 * SECOND, open=(new,)), INFO)
    await storage.batches.write(
        batch(stream, new.end + 2 * SECOND, new.end + 3 * SECOND, closed=(new,)), INFO
    )  # no stop
    assert await storage.matches.open_plays(stream, INFO, 60 * SECOND) == ()
    assert await storage.matches.ended_plays(stream, INFO, new.end) == (new,)
    assert await storage.matches.ended_plays(stream, INFO, new.end + 1) == ()


async def test_a_play_that_turns_out_to_be_another_tracks_keeps_its_row_and_its_alert(storage: Storage) -> None:
    first, second = await ready_track(storage), await ready_track(storage, 2)
    stream = await a_stream(storage)
    old = play(first)
    await storage.batches.write(batch(stream, None, old.end, opened=(old,), open=(old,)), INFO)
    moved = replace(old, track=second, end=old.end + SECOND)
    await storage.batches.write(batch(stream, old.end, moved.end, open=(moved,)), INFO)
    [match] = await storage.matches.list()
    assert (match.id, match.track["id"]) == (old.id, second)
    assert [(alert.match_id, alert.track["id"]) for alert in await storage.alerts.list()] == [(old.id, second)]


async def test_a_play_that_gave_way_to_another_of_its_track_is_not_recalled(storage: Storage) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    old, new = play(track), play(track, START + 5 * SECOND, START + 9 * SECOND, 2)
    await storage.batches.write(batch(stream, None, old.end, opened=(old,), open=(old,)), INFO)
    await storage.batches.write(batch(stream, old.end, new.end, opened=(new,), open=(new,), closed=(old,)), INFO)
    assert await storage.matches.open_plays(stream, INFO, 60 * SECOND) == (new,)


async def test_a_replay_begins_where_the_first_stream_has_its_last_minute(storage: Storage) -> None:
    for name, partition, replay in (("a", 0, 70), ("b", 0, 50), ("c", 1, 20)):
        stream = await a_stream(storage, name)
        await storage.batches.write(
            replace(batch(stream, None, START), progress=Progress(START, partition, 99, replay)), INFO
        )
    assert [await storage.progress.replay_offset(partition) for partition in (0, 1, 2)] == [50, 20, None]


@pytest.mark.parametrize("what", ["removed", "silent"])
async def test_a_replay_does_not_wait_for_a_stream_that_is_gone(storage: Storage, dsn: str, what: str) -> None:
    for name, replay in (("here", 5_000), ("gone", 3)):
        stream = await a_stream(storage, name)
        await storage.batches.write(
            replace(batch(stream, None, START), progress=Progress(START, 0, 9_000, replay)), INFO
        )
    if what == "silent":
        await rows(
            dsn, f"update progress set updated_at = now() - interval '6 min' where stream_id = {stream} returning 1"
        )
    else:
        await storage.streams.remove("gone")
        assert await storage.progress.replay_offset(0) == 3  # its last records may still be on their way
        await rows(dsn, "update streams set removed_at = now() - interval '6 min' where name = 'gone' returning 1")
    assert await storage.progress.replay_offset(0) == 5_000


async def test_after_an_outage_of_everything_the_replay_begins_where_it_must(storage: Storage, dsn: str) -> None:
    for name, replay in (("one", 500), ("two", 300)):
        stream = await a_stream(storage, name)
        await storage.batches.write(replace(batch(stream, None, START), progress=Progress(START, 0, 900, replay)), INFO)
    await rows(dsn, "update progress set updated_at = updated_at - interval '9 hours' returning 1")
    assert await storage.progress.replay_offset(0) == 300


# The catalog


async def test_the_same_audio_is_stored_once(storage: Storage) -> None:
    await ready_track(storage)
    assert await storage.tracks.add(bytes([1]) * 32, 1, Metadata("x", "y"), Fingerprint(INFO, vectors())) is None
    assert len(await storage.tracks.list()) == 1


async def test_vectors_come_back_as_they_were_up_to_half_precision(storage: Storage) -> None:
    track = await ready_track(storage)
    reference = (await storage.vectors.references([track], INFO))[track]
    assert reference.vectors.dtype == np.float32
    assert reference.vectors == pytest.approx(vectors(), abs=1e-3)


async def test_a_pending_track_is_not_matched(storage: Storage) -> None:
    track = await ready_track(storage)
    assert await storage.tracks.set_pending(track)
    assert (await storage.vectors.references([track], INFO), await storage.tracks.revisions([track])) == ({}, {})
    assert await storage.tracks.pending() == [track]
    assert not await storage.tracks.set_pending(track + 1)


async def test_silence_is_not_counted_among_the_vectors_that_the_index_must_hold(storage: Storage) -> None:
    with_silence = vectors()
    with_silence[3:7] = 0
    track = await storage.tracks.add(b"s" * 32, SECOND, SONG, Fingerprint(INFO, with_silence))
    assert track is not None
    assert await storage.vectors.count_indexable(INFO) == 0
    await storage.tracks.set_status(track, "ready")
    assert await storage.vectors.count_indexable(INFO) == 6
    assert await storage.vectors.count_indexable(OTHER) == 0


async def test_tracks_of_another_model_are_found(storage: Storage) -> None:
    mine, other = await ready_track(storage, 1), await ready_track(storage, 2, info=OTHER)
    assert [track.id for track in await storage.vectors.tracks_of_other_models(INFO)] == [other]
    assert [track.id for track in await storage.vectors.tracks_of_other_models(OTHER)] == [mine]
    assert (await storage.vectors.references([mine, other], INFO)).keys() == {mine}


@pytest.mark.parametrize(
    ("text", "found"),
    [("owls", {1}), ("100%", {2}), ("_", {3}), ("%", {2}), ("\\", {3}), ("ZWÖLF", {3}), (None, {1, 2, 3})],
)
async def test_a_search_takes_the_text_as_it_is(storage: Storage, text: str | None, found: set[int]) -> None:
    await ready_track(storage, 1)
    await ready_track(storage, 2, Metadata("100% Pure", "a"))
    await ready_track(storage, 3, Metadata("zwölf_mal\\", "b"))
    assert {track.id for track in await storage.tracks.list(text)} == found
