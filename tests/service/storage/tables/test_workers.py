"""Workers: those that run are listed, those that stopped or died are not."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from monitor.errors import RejectedValue
from monitor.storage.records import WorkerLoad, WorkerState
from monitor.storage.storage import Storage
from tests.service.storage.samples import rows

LOAD = WorkerLoad(WorkerState.FULL, 10, 11.5, "search", 0.6, 1, 2.5, 0.9)


async def test_a_worker_replaces_its_row_and_deletes_it_when_it_stops(storage: Storage) -> None:
    one, two = uuid.uuid4(), uuid.uuid4()
    await storage.workers.write(one, "host/1", WorkerLoad(WorkerState.OK))
    await storage.workers.write(two, "host/2", WorkerLoad(WorkerState.OK))
    await storage.workers.write(one, "host/1", LOAD)
    running = await storage.workers.running()
    assert [(each.id, each.name) for each in running] == [(one, "host/1"), (two, "host/2")]
    assert [each.load for each in running] == [LOAD, WorkerLoad(WorkerState.OK)]
    await storage.workers.delete(one)
    assert [each.id for each in await storage.workers.running()] == [two]


async def test_a_worker_that_died_is_not_running_and_is_deleted_later(storage: Storage, dsn: str) -> None:
    await storage.workers.write(uuid.uuid4(), "host/1", LOAD)
    await rows(dsn, "update workers set seen_at = now() - interval '40 s' returning 1")
    assert await storage.workers.running() == []
    assert len(await storage.workers.running(timedelta(minutes=1))) == 1
    await rows(dsn, "update workers set seen_at = now() - interval '2 hours' returning 1")
    await storage.workers.write(uuid.uuid4(), "host/2", LOAD)
    assert await rows(dsn, "select name from workers") == [("host/2",)]


async def test_ingest_runs_while_one_of_its_processes_is_alive(storage: Storage, dsn: str) -> None:
    assert not await storage.workers.is_ingest_running()
    await rows(
        dsn,
        "insert into ingest_processes values (gen_random_uuid(), 'host/3', now() + interval '10 s') returning 1",
    )
    assert await storage.workers.is_ingest_running()
    await rows(dsn, "update ingest_processes set expires_at = now() returning 1")
    assert not await storage.workers.is_ingest_running()


async def test_a_negative_number_of_streams_is_refused(storage: Storage) -> None:
    with pytest.raises(RejectedValue):
        await storage.workers.write(uuid.uuid4(), "host/1", replace(LOAD, streams=-1))
