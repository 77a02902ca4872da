"""Everything that Airtrace stores in PostgreSQL: one table object for each noun, over one database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from monitor.storage.database import CONNECT_TIMEOUT_S, IDLE_TRANSACTION_S, Database, open_database
from monitor.storage.tables.alerts import AlertTable
from monitor.storage.tables.batches import BatchWriter
from monitor.storage.tables.calibrations import CalibrationTable
from monitor.storage.tables.coverage import CoverageTable
from monitor.storage.tables.families import FamilyTable
from monitor.storage.tables.matches import MatchTable
from monitor.storage.tables.outbox import Outbox
from monitor.storage.tables.progress import ProgressTable
from monitor.storage.tables.sounds import SoundTable
from monitor.storage.tables.streams import StreamTable
from monitor.storage.tables.tracks import TrackTable
from monitor.storage.tables.vectors import VectorTable
from monitor.storage.tables.workers import WorkerTable


@dataclass(frozen=True, slots=True)
class Storage:
    """The tables. All of their methods raise what `monitor.storage.database.QueryRunner` raises.

    outbox: where events wait for the EventPublisher; None if no events are published.
    """

    database: Database
    streams: StreamTable
    progress: ProgressTable
    batches: BatchWriter
    matches: MatchTable
    coverage: CoverageTable
    alerts: AlertTable
    tracks: TrackTable
    vectors: VectorTable
    families: FamilyTable
    sounds: SoundTable
    calibrations: CalibrationTable
    workers: WorkerTable
    outbox: Outbox | None = None

    @classmethod
    def over(cls, database: Database, *, with_outbox: bool = False) -> Storage:
        """The tables of a database; `with_outbox`: events are written for the EventPublisher to send."""
        outbox = Outbox(database) if with_outbox else None
        return cls(
            database=database,
            streams=StreamTable(database),
            progress=ProgressTable(database),
            batches=BatchWriter(database, outbox),
            matches=MatchTable(database, with_events=with_outbox),
            coverage=CoverageTable(database),
            alerts=AlertTable(database),
            tracks=TrackTable(database),
            vectors=VectorTable(database),
            families=FamilyTable(database),
            sounds=SoundTable(database),
            calibrations=CalibrationTable(database),
            workers=WorkerTable(database),
            outbox=outbox,
        )


@asynccontextmanager
async def open_storage(
    dsn: str,
    max_connections: int,
    *,
    with_outbox: bool = False,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    idle_transaction_s: float = IDLE_TRANSACTION_S,
) -> AsyncIterator[Storage]:
    """Connects to PostgreSQL, brings the schema up to date, and yields the tables.

    Raises:
        DependencyError: PostgreSQL is unreachable (the message never contains the password).
        HomeTooNew: a newer version of Airtrace created this database.
    """
    async with open_database(
        dsn, max_connections, connect_timeout_s=connect_timeout_s, idle_transaction_s=idle_transaction_s
    ) as database:
        yield Storage.over(database, with_outbox=with_outbox)
