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
from monitor.errors import DependencyError, HomeTooNew, StaleProgress
from monitor.storage import matches as store_module
from monitor.storage.matches import Store, migrate
from monitor.storage.records import Batch, Fingerprint, Interval, Metadata, Progress
from monitor.storage.sql import migrations

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


async def ready_track(store: Store, seed: int = 1, metadata: Metadata = SONG, info: DetectorInfo = INFO) -> int:
    track = await store.add_track(bytes([seed]) * 32, 5 * SECOND, metadata, Fingerprint(info, vectors(seed=seed)))
    assert track is not None
    await store.mark(track, "ready")
    return track


async def a_stream(store: Store, name: str = "radio-one") -> int:
    stream = await store.add_stream(name, "http://radio.example/a.mp3")
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


async def test_what_is_stored_survives_the_newer_migrations(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = await asyncpg.connect(empty_dsn)
    with monkeypatch.context() as older:
        older.setattr(store_module, "migrations", lambda: migrations()[:1])
        await migrate(connection)
    await connection.execute("insert into streams (name, url) values ('radio-one', 'http://radio.example/')")
    await migrate(connection)
    await connection.close()
    async with store_module.open_storage(empty_dsn, 2) as store:
        assert [stream.name for stream in await store.streams()] == ["radio-one"]


async def test_a_database_of_a_newer_version_is_refused(empty_dsn: str) -> None:
    await rows(empty_dsn, "create table schema_version (version integer primary key)")
    await rows(empty_dsn, "insert into schema_version values (9999)")
    with pytest.raises(HomeTooNew, match="schema 9999"):
        async with store_module.open_storage(empty_dsn, 2):
            pass


async def test_a_user_that_may_not_make_tables_is_told_so(empty_dsn: str) -> None:
    await rows(empty_dsn, "revoke create on schema public from public")
    role = f"reader_{uuid.uuid4().hex[:12]}"
    await rows(empty_dsn, f"create role {role} login password 'pw'")
    try:
        host = empty_dsn.rpartition("@")[2]
        with pytest.raises(DependencyError, match="permission denied"):
            async with store_module.open_storage(f"postgresql://{role}:pw@{host}", 2):
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
        async with store_module.open_storage(dsn, 2):
            pass
    for secret in ("hunter2", "hun", "ter2"):
        assert secret not in str(caught.value)


async def test_a_wrong_password_is_said_and_not_shown(postgresql: str) -> None:
    user, _, rest = postgresql.partition("//")[2].partition(":")
    wrong = f"postgresql://{user}:hunter2@{rest.rpartition('@')[2]}"
    with pytest.raises(DependencyError, match="password authentication failed") as caught:
        async with store_module.open_storage(wrong, 2):
            pass
    assert "hunter2" not in str(caught.value)


# One transaction


async def test_a_batch_writes_match_alert_coverage_and_progress(store: Store) -> None:
    track, stream = await ready_track(store), await a_stream(store)
    new = play(track)
    end = START + 6 * SECOND
    await store.write(batch(stream, None, end, Interval(START, end), opened=(new,), open=(new,)), INFO)
    [match] = await store.matches()
    assert (match.id, match.state, match.starts, match.ends) == (new.id, "open", new.start, new.end)
    assert (match.track_start_s, match.score) == (pytest.approx(7 + 3 / SECOND), pytest.approx(new.score))
    assert await store.progress(stream) == Progress(end, 0, 10, 4)
    [covered] = await store.coverage()
    assert (covered.starts, covered.ends, covered.state, covered.reason) == (START, end, "covered", None)
    [alert] = await store.alerts()
    assert (alert.match_id, alert.severity, alert.state, alert.stream_name) == (new.id, "warning", "open", "radio-one")


async def test_an_alert_carries_the_metadata_of_the_track(store: Store) -> None:
    track, stream = await ready_track(store), await a_stream(store)
    new = play(track)
    await store.write(batch(stream, None, new.end, opened=(new,), open=(new,)), INFO)
    expected = {
        "id": track,
        "title": SONG.title,
        "artist": SONG.artist,
        "album": SONG.album,
        "isrc": SONG.isrc,
        "source": SONG.source,
    }
    assert (await store.alerts())[0].track == (await store.matches())[0].track == expected


async def test_a_batch_written_twice_changes_nothing(store: Store, dsn: str) -> None:
    track, stream = await ready_track(store), await a_stream(store)
    new, end = play(track), START + 6 * SECOND
    first = batch(stream, None, end, Interval(START, end), opened=(new,), open=(new,))
    await store.write(first, INFO)
    before = await everything(dsn)
    with pytest.raises(StaleProgress):
        await store.write(first, INFO)
    assert await everything(dsn) == before


async def test_of_two_workers_with_the_same_batch_one_writes_and_the_other_is_stale(store: Store, dsn: str) -> None:
    track, stream = await ready_track(store), await a_stream(store)
    await store.write(batch(stream, None, START, Interval(START - SECOND, START)), INFO)
    new, end = play(track), START + 6 * SECOND
    same = batch(stream, START, end, Interval(START, end), opened=(new,), open=(new,))
    outcomes = await asyncio.gather(*(store.write(same, INFO) for _ in range(4)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", *["StaleProgress"] * 3]
    assert len(await store.matches()) == len(await store.alerts()) == 1
    assert [row[1:3] for row in await rows(dsn, "select * from coverage")] == [(START - SECOND, end)]


async def test_of_a_batch_that_fails_nothing_is_there(store: Store, dsn: str) -> None:
    track, stream = await ready_track(store), await a_stream(store)
    new = play(track)
    broken = batch(stream, None, new.end, Interval(START, new.end), Interval(START, START), opened=(new,), open=(new,))
    with pytest.raises(asyncpg.CheckViolationError):
        await store.write(broken, INFO)
    assert await everything(dsn) == {"matches": [], "coverage": [], "alerts": []}
    assert await store.progress(stream) is None


async def test_a_match_is_extended_and_closed_and_has_one_alert(store: Store) -> None:
    track, stream = await ready_track(store), await a_stream(store)
    new = play(track)
    longer = replace(new, end=new.end + 2 * SECOND, score_sum=12.5, scored=15)
    await store.write(batch(stream, None, new.end, opened=(new,), open=(new,)), INFO)
    await store.write(batch(stream, new.end, longer.end, open=(longer,)), INFO)
    await store.write(batch(stream, longer.end, longer.end + SECOND, closed=(longer,), opened=(new,)), INFO)
    [match] = await store.matches()
    assert (match.state, match.ends, match.score) == ("closed", longer.end, pytest.approx(12.5 / 15))
    assert len(await store.alerts()) == 1


# Coverage


async def test_coverage_tiles_the_time_and_joins_what_is_alike(store: Store) -> None:
    stream = await a_stream(store)
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
        await store.write(batch(stream, position, piece[-1].ends, *piece), INFO)
        position = piece[-1].ends
    ledger = [(c.starts, c.ends, c.reason) for c in reversed(await store.coverage("radio-one"))]
    assert ledger == [(s[0], s[2], None), (s[2], s[4], "stalled"), (s[4], s[5], "ended"), (s[5], s[7], None)]
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ledger))


async def test_coverage_of_one_stream_is_not_joined_to_another_s(store: Store) -> None:
    one, two = await a_stream(store), await a_stream(store, "radio-two")
    await store.write(batch(one, None, START + SECOND, Interval(START, START + SECOND)), INFO)
    await store.write(batch(two, None, START + 2 * SECOND, Interval(START + SECOND, START + 2 * SECOND)), INFO)
    assert {c.stream_name: (c.starts, c.ends) for c in await store.coverage()} == {
        "radio-one": (START, START + SECOND),
        "radio-two": (START + SECOND, START + 2 * SECOND),
    }


async def test_a_stream_with_many_gaps_leaves_room_for_the_others(store: Store) -> None:
    one, two = await a_stream(store), await a_stream(store, "radio-two")
    s = [START + i * SECOND for i in range(8)]
    many = (
        Interval(before, after, "ended" if i % 2 else "stalled")
        for i, (before, after) in enumerate(itertools.pairwise(s))
    )
    await store.write(batch(one, None, s[7], *many), INFO)
    await store.write(batch(two, None, s[7], Interval(s[5], s[7])), INFO)
    newest = [(c.stream_name, c.starts) for c in await store.coverage(limit=3)]
    assert newest == [("radio-one", s[6]), ("radio-one", s[5]), ("radio-two", s[5])]


# Deleting and removing


async def test_the_matches_of_a_deleted_track_stay_with_its_metadata_and_close(store: Store) -> None:
    track, stream = await ready_track(store), await a_stream(store)
    new = play(track)
    await store.write(batch(stream, None, new.end, opened=(new,), open=(new,)), INFO)
    assert await store.delete_track(track)
    assert await store.references([track], INFO) == {}
    await store.close_orphans()
    [match] = await store.matches()
    assert (match.state, match.track["title"], match.track["id"]) == ("closed", SONG.title, track)
    assert (await store.alerts())[0].track["title"] == SONG.title
    assert await store.open_plays(stream, INFO) == ()


async def test_a_play_of_a_track_that_was_deleted_meanwhile_is_closed_and_no_new_one_is_made(store: Store) -> None:
    track, stream = await ready_track(store), await a_stream(store)
    old, new = play(track), play(track, START + 20 * SECOND, START + 25 * SECOND, 2)
    await store.write(batch(stream, None, old.end, opened=(old,), open=(old,)), INFO)
    await store.delete_track(track)
    await store.write(batch(stream, old.end, new.end, opened=(new,), open=(new,), closed=(old,)), INFO)
    assert [(match.id, match.state) for match in await store.matches()] == [(old.id, "closed")]
    assert len(await store.alerts()) == 1


async def test_a_track_that_goes_while_a_batch_is_written_is_no_deadlock(store: Store) -> None:
    tracks, stream = [await ready_track(store, seed) for seed in range(1, 9)], await a_stream(store)
    plays = tuple(play(track, number=track) for track in tracks)
    await store.write(batch(stream, None, START, opened=plays[:4], open=plays[:4]), INFO)
    later = batch(stream, START, START + SECOND, opened=plays[4:], open=plays)
    outcomes = await asyncio.gather(
        store.write(later, INFO), *(store.delete_track(track) for track in reversed(tracks)), return_exceptions=True
    )
    assert outcomes[1:] == [True] * 8
    assert outcomes[0] is None or isinstance(outcomes[0], asyncpg.ForeignKeyViolationError), outcomes[0]


async def test_the_open_matches_of_a_removed_stream_close_once_its_worker_is_done(store: Store, dsn: str) -> None:
    track, stream = await ready_track(store), await a_stream(store)
    new = play(track)
    await store.write(batch(stream, None, new.end, opened=(new,), open=(new,)), INFO)
    await store.remove_stream("radio-one")
    await store.close_orphans()
    assert [match.state for match in await store.matches()] == ["open"]
    await rows(dsn, "update streams set removed_at = removed_at - interval '31 s' returning 1")
    await rows(dsn, "update progress set updated_at = updated_at - interval '31 s' returning 1")
    await store.close_orphans()
    assert [match.state for match in await store.matches()] == ["closed"]
    assert await store.open_counts() == {}


async def test_the_name_of_a_removed_stream_is_free_again(store: Store) -> None:
    first = await a_stream(store)
    assert await store.add_stream("radio-one", "http://elsewhere.example/") is None
    assert await store.remove_stream("radio-one")
    assert not await store.remove_stream("radio-one")
    assert await a_stream(store) != first


# What a worker recalls


async def test_open_plays_are_recalled_exactly(store: Store) -> None:
    track, stream = await ready_track(store), await a_stream(store)
    new = replace(
        play(track), score_sum=0.1 + 0.2, scored=3, llr=0.1 + 0.7, speed=1.0 / 3, bridged=7, is_ambiguous=True
    )
    await store.write(batch(stream, None, new.end, opened=(new,), open=(new,)), INFO)
    assert await store.open_plays(stream, INFO) == (new,)
    assert await store.open_plays(stream, replace(INFO, name="panns")) == ()


async def test_plays_that_a_stop_closed_are_recalled_as_long_as_they_may_go_on(store: Store) -> None:
    track, stream = await ready_track(store), await a_stream(store)
    new = play(track)
    await store.write(batch(stream, None, new.end + SECOND, opened=(new,), open=(new,)), INFO)
    await store.write(batch(stream, new.end + SECOND, new.end + SECOND, closed=(new,)), INFO)  # the stop
    assert [match.state for match in await store.matches()] == ["closed"]
    assert await store.open_plays(stream, INFO) == ()
    assert await store.open_plays(stream, INFO, SECOND) == ()
    assert await store.open_plays(stream, INFO, SECOND + 1) == (new,)
    await store.write(batch(stream, new.end + SECOND, new.end + 2 * SECOND, open=(new,)), INFO)
    await store.write(batch(stream, new.end + 2 * SECOND, new.end + 3 * SECOND, closed=(new,)), INFO)  # no stop
    assert await store.open_plays(stream, INFO, 60 * SECOND) == ()
    assert await store.ended_plays(stream, INFO, new.end) == (new,)
    assert await store.ended_plays(stream, INFO, new.end + 1) == ()


async def test_a_play_that_turns_out_to_be_another_tracks_keeps_its_row_and_its_alert(store: Store) -> None:
    first, second = await ready_track(store), await ready_track(store, 2)
    stream = await a_stream(store)
    old = play(first)
    await store.write(batch(stream, None, old.end, opened=(old,), open=(old,)), INFO)
    moved = replace(old, track=second, end=old.end + SECOND)
    await store.write(batch(stream, old.end, moved.end, open=(moved,)), INFO)
    [match] = await store.matches()
    assert (match.id, match.track["id"]) == (old.id, second)
    assert [(alert.match_id, alert.track["id"]) for alert in await store.alerts()] == [(old.id, second)]


async def test_a_play_that_gave_way_to_another_of_its_track_is_not_recalled(store: Store) -> None:
    track, stream = await ready_track(store), await a_stream(store)
    old, new = play(track), play(track, START + 5 * SECOND, START + 9 * SECOND, 2)
    await store.write(batch(stream, None, old.end, opened=(old,), open=(old,)), INFO)
    await store.write(batch(stream, old.end, new.end, opened=(new,), open=(new,), closed=(old,)), INFO)
    assert await store.open_plays(stream, INFO, 60 * SECOND) == (new,)


async def test_a_replay_begins_where_the_first_stream_has_its_last_minute(store: Store) -> None:
    for name, partition, replay in (("a", 0, 70), ("b", 0, 50), ("c", 1, 20)):
        stream = await a_stream(store, name)
        await store.write(replace(batch(stream, None, START), progress=Progress(START, partition, 99, replay)), INFO)
    assert [await store.replay_from(partition) for partition in (0, 1, 2)] == [50, 20, None]


@pytest.mark.parametrize("what", ["removed", "silent"])
async def test_a_replay_does_not_wait_for_a_stream_that_is_gone(store: Store, dsn: str, what: str) -> None:
    for name, replay in (("here", 5_000), ("gone", 3)):
        stream = await a_stream(store, name)
        await store.write(replace(batch(stream, None, START), progress=Progress(START, 0, 9_000, replay)), INFO)
    if what == "silent":
        await rows(
            dsn, f"update progress set updated_at = now() - interval '6 min' where stream_id = {stream} returning 1"
        )
    else:
        await store.remove_stream("gone")
        assert await store.replay_from(0) == 3  # its last records may still be on their way
        await rows(dsn, "update streams set removed_at = now() - interval '6 min' where name = 'gone' returning 1")
    assert await store.replay_from(0) == 5_000


async def test_after_an_outage_of_everything_the_replay_begins_where_it_must(store: Store, dsn: str) -> None:
    for name, replay in (("one", 500), ("two", 300)):
        stream = await a_stream(store, name)
        await store.write(replace(batch(stream, None, START), progress=Progress(START, 0, 900, replay)), INFO)
    await rows(dsn, "update progress set updated_at = updated_at - interval '9 hours' returning 1")
    assert await store.replay_from(0) == 300


# The catalog


async def test_the_same_audio_is_stored_once(store: Store) -> None:
    await ready_track(store)
    assert await store.add_track(bytes([1]) * 32, 1, Metadata("x", "y"), Fingerprint(INFO, vectors())) is None
    assert len(await store.tracks()) == 1


async def test_vectors_come_back_as_they_were_up_to_half_precision(store: Store) -> None:
    track = await ready_track(store)
    reference = (await store.references([track], INFO))[track]
    assert reference.vectors.dtype == np.float32
    assert reference.vectors == pytest.approx(vectors(), abs=1e-3)


async def test_a_pending_track_is_not_matched(store: Store) -> None:
    track = await ready_track(store)
    assert await store.mark_pending(track)
    assert (await store.references([track], INFO), await store.revisions([track])) == ({}, {})
    assert await store.pending_tracks() == [track]
    assert not await store.mark_pending(track + 1)


async def test_silence_is_not_counted_among_the_vectors_that_the_index_must_hold(store: Store) -> None:
    with_silence = vectors()
    with_silence[3:7] = 0
    track = await store.add_track(b"s" * 32, SECOND, SONG, Fingerprint(INFO, with_silence))
    assert track is not None
    assert await store.audible_segments(INFO) == 0
    await store.mark(track, "ready")
    assert await store.audible_segments(INFO) == 6
    assert await store.audible_segments(OTHER) == 0


async def test_tracks_of_another_model_are_found(store: Store) -> None:
    mine, other = await ready_track(store, 1), await ready_track(store, 2, info=OTHER)
    assert [track.id for track in await store.tracks_of_other_models(INFO)] == [other]
    assert [track.id for track in await store.tracks_of_other_models(OTHER)] == [mine]
    assert (await store.references([mine, other], INFO)).keys() == {mine}


@pytest.mark.parametrize(
    ("text", "found"),
    [("owls", {1}), ("100%", {2}), ("_", {3}), ("%", {2}), ("\\", {3}), ("ZWÖLF", {3}), (None, {1, 2, 3})],
)
async def test_a_search_takes_the_text_as_it_is(store: Store, text: str | None, found: set[int]) -> None:
    await ready_track(store, 1)
    await ready_track(store, 2, Metadata("100% Pure", "a"))
    await ready_track(store, 3, Metadata("zwölf_mal\\", "b"))
    assert {track.id for track in await store.tracks(text)} == found
