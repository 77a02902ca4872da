"""Streams and where the replay of a partition begins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monitor.storage.records import Progress
from monitor.storage.storage import Storage
from tests.service.storage.samples import INFO, START, a_stream, batch, rows


async def test_the_name_of_a_removed_stream_can_be_used_again(storage: Storage) -> None:
    first = await a_stream(storage)
    assert await storage.streams.add("radio-one", "http://elsewhere.example/") is None
    assert await storage.streams.remove("radio-one")
    assert not await storage.streams.remove("radio-one")
    assert await a_stream(storage) != first


async def test_a_replay_begins_at_the_earliest_last_minute_of_the_partition(storage: Storage) -> None:
    for name, partition, replay in (("a", 0, 70), ("b", 0, 50), ("c", 1, 20)):
        stream = await a_stream(storage, name)
        await storage.batches.write(
            replace(batch(stream, None, START), progress=Progress(START, partition, 99, replay)), INFO
        )
    assert [await storage.progress.replay_offset(partition) for partition in (0, 1, 2)] == [50, 20, None]


@pytest.mark.parametrize("what", ["removed", "silent"])
async def test_a_replay_ignores_a_stream_that_is_gone(storage: Storage, dsn: str, what: str) -> None:
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


async def test_after_a_long_outage_of_everything_no_stream_is_ignored(storage: Storage, dsn: str) -> None:
    for name, replay in (("one", 500), ("two", 300)):
        stream = await a_stream(storage, name)
        await storage.batches.write(replace(batch(stream, None, START), progress=Progress(START, 0, 900, replay)), INFO)
    await rows(dsn, "update progress set updated_at = updated_at - interval '9 hours' returning 1")
    assert await storage.progress.replay_offset(0) == 300
