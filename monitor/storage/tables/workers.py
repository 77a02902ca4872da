"""The table of workers: which are running, and how well each keeps up."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta

from monitor.storage import rows
from monitor.storage.database import Database
from monitor.storage.records import WorkerLoad, WorkerStatus

RUNNING = timedelta(seconds=35)  # three writes of a worker, and a slow transaction
EXPIRED = timedelta(hours=1)


class WorkerTable:
    """The workers. Each writes its own row."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, worker: uuid.UUID, name: str, load: WorkerLoad) -> None:
        """Says that a worker is running, and how well it keeps up. Deletes workers that ended long ago."""
        await self._database.execute("worker_upsert", worker, name, *rows.from_load(load))
        await self._database.execute("workers_expire", EXPIRED)

    async def delete(self, worker: uuid.UUID) -> None:
        """Says that a worker has stopped."""
        await self._database.execute("worker_delete", worker)

    async def running(self, within: timedelta = RUNNING) -> Sequence[WorkerStatus]:
        """The workers that wrote their row within this time, oldest first."""
        return [rows.to_worker(row) for row in await self._database.fetch("workers_running", within)]

    async def is_ingest_running(self) -> bool:
        """Whether an ingest process is running. The embedded mode has none of its own: its worker's process reads."""
        return bool(await self._database.fetchval("ingest_is_running"))
