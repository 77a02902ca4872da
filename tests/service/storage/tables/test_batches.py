"""A batch is written in one transaction, and writing it again changes nothing."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

import pytest

from monitor.errors import RejectedValue, RowDeleted, StaleProgress
from monitor.storage.records import Interval, Progress
from monitor.storage.storage import Storage
from tests.service.storage.samples import INFO, SECOND, SONG, START, a_stream, batch, play, ready_track, rows


async def everything(dsn: str) -> dict[str, list[tuple[object, ...]]]:
    return {
        table: await rows(dsn, f"select * from {table} order by 1, 2") for table in ("matches", "coverage", "alerts")
    }


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


async def test_of_several_workers_with_the_same_batch_one_writes_and_the_others_are_stale(
    storage: Storage, dsn: str
) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    await storage.batches.write(batch(stream, None, START, Interval(START - SECOND, START)), INFO)
    new, end = play(track), START + 6 * SECOND
    same = batch(stream, START, end, Interval(START, end), opened=(new,), open=(new,))
    outcomes = await asyncio.gather(*(storage.batches.write(same, INFO) for _ in range(4)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", *["StaleProgress"] * 3]
    assert len(await storage.matches.list()) == len(await storage.alerts.list()) == 1
    assert [row[1:3] for row in await rows(dsn, "select * from coverage")] == [(START - SECOND, end)]


async def test_a_batch_that_fails_writes_nothing(storage: Storage, dsn: str) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    new = play(track)
    broken = batch(stream, None, new.end, Interval(START, new.end), Interval(START, START), opened=(new,), open=(new,))
    with pytest.raises(RejectedValue):
        await storage.batches.write(broken, INFO)
    assert await everything(dsn) == {"matches": [], "coverage": [], "alerts": []}
    assert await storage.progress.get(stream) is None


async def test_batches_of_several_streams_are_written_together_and_a_stale_one_does_not_spoil_the_others(
    storage: Storage,
) -> None:
    track = await ready_track(storage)
    streams = [await a_stream(storage, f"radio-{i}") for i in range(3)]
    new = play(track)
    firsts = [batch(stream, None, START, Interval(START - SECOND, START)) for stream in streams]
    assert await storage.batches.write_all(firsts, INFO) == [True] * 3
    stale = batch(streams[1], START - SECOND, new.end, Interval(START, new.end), opened=(new,), open=(new,))
    plays = {stream: replace(new, id=uuid.uuid4()) for stream in streams}
    good = [
        batch(stream, START, new.end, Interval(START, new.end), opened=(plays[stream],), open=(plays[stream],))
        for stream in (streams[2], streams[0])
    ]
    assert await storage.batches.write_all([good[0], stale, good[1]], INFO) == [True, False, True]
    found = {match.stream_id: match.id for match in await storage.matches.list()}
    assert found == {stream: plays[stream].id for stream in (streams[0], streams[2])}
    assert len(await storage.alerts.list()) == 2
    assert {(c.stream_id, c.ends) for c in await storage.coverage.list()} == {
        (streams[0], new.end),
        (streams[1], START),
        (streams[2], new.end),
    }


async def test_of_batches_that_are_written_together_a_bad_one_leaves_nothing_written(
    storage: Storage, dsn: str
) -> None:
    one, two = await a_stream(storage), await a_stream(storage, "radio-two")
    good = batch(one, None, START, Interval(START - SECOND, START))
    with pytest.raises(RejectedValue):
        await storage.batches.write_all([good, batch(two, None, START, Interval(START, START))], INFO)
    assert await everything(dsn) == {"matches": [], "coverage": [], "alerts": []}
    assert await storage.progress.get(one) is None


async def test_a_match_is_extended_and_closed_with_one_alert(storage: Storage) -> None:
    track, stream = await ready_track(storage), await a_stream(storage)
    new = play(track)
    longer = replace(new, end=new.end + 2 * SECOND, score_sum=12.5, scored=15)
    await storage.batches.write(batch(stream, None, new.end, opened=(new,), open=(new,)), INFO)
    await storage.batches.write(batch(stream, new.end, longer.end, open=(longer,)), INFO)
    await storage.batches.write(batch(stream, longer.end, longer.end + SECOND, closed=(longer,), opened=(new,)), INFO)
    [match] = await storage.matches.list()
    assert (match.state, match.ends, match.score) == ("closed", longer.end, pytest.approx(12.5 / 15))
    assert len(await storage.alerts.list()) == 1


async def test_deleting_tracks_while_a_batch_is_written_does_not_deadlock(storage: Storage) -> None:
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
