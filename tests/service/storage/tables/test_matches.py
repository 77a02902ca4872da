"""Matches and the plays that a worker continues."""

from __future__ import annotations

from dataclasses import replace

from monitor.storage.storage import Storage
from tests.service.storage.samples import INFO, SECOND, SONG, START, a_stream, batch, play, ready_track, rows


async def test_matches_of_a_deleted_track_close_and_keep_its_metadata(storage: Storage) -> None:
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


async def test_a_deleted_track_has_its_play_closed_and_gets_no_new_one(storage: Storage) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    old, new = play(track), play(track, START + 20 * SECOND, START + 25 * SECOND, 2)
    await storage.batches.write(batch(stream, None, old.end, opened=(old,), open=(old,)), INFO)
    await storage.tracks.delete(track)
    await storage.batches.write(batch(stream, old.end, new.end, opened=(new,), open=(new,), closed=(old,)), INFO)
    assert [(match.id, match.state) for match in await storage.matches.list()] == [(old.id, "closed")]
    assert len(await storage.alerts.list()) == 1


async def test_open_matches_of_a_removed_stream_close_once_its_worker_is_done(storage: Storage, dsn: str) -> None:
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


async def test_open_plays_are_read_back_exactly(storage: Storage) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    new = replace(
        play(track), score_sum=0.1 + 0.2, scored=3, llr=0.1 + 0.7, speed=1.0 / 3, bridged=7, is_ambiguous=True
    )
    await storage.batches.write(batch(stream, None, new.end, opened=(new,), open=(new,)), INFO)
    assert await storage.matches.open_plays(stream, INFO) == (new,)
    assert await storage.matches.open_plays(stream, replace(INFO, name="panns")) == ()


async def test_plays_that_a_shutdown_closed_count_as_open_while_they_may_continue(storage: Storage) -> None:
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


async def test_a_play_that_moves_to_another_track_keeps_its_row_and_its_alert(storage: Storage) -> None:
    first, second = await ready_track(storage), await ready_track(storage, 2)
    stream = await a_stream(storage)
    old = play(first)
    await storage.batches.write(batch(stream, None, old.end, opened=(old,), open=(old,)), INFO)
    moved = replace(old, track=second, end=old.end + SECOND)
    await storage.batches.write(batch(stream, old.end, moved.end, open=(moved,)), INFO)
    [match] = await storage.matches.list()
    assert (match.id, match.track["id"]) == (old.id, second)
    assert [(alert.match_id, alert.track["id"]) for alert in await storage.alerts.list()] == [(old.id, second)]


async def test_a_play_replaced_by_another_of_its_track_is_not_open(storage: Storage) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    old, new = play(track), play(track, START + 5 * SECOND, START + 9 * SECOND, 2)
    await storage.batches.write(batch(stream, None, old.end, opened=(old,), open=(old,)), INFO)
    await storage.batches.write(batch(stream, old.end, new.end, opened=(new,), open=(new,), closed=(old,)), INFO)
    assert await storage.matches.open_plays(stream, INFO, 60 * SECOND) == (new,)
