"""The table of alerts."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.storage.database import Database
from monitor.storage.records import Alert


class AlertTable:
    """The alerts. `BatchWriter` raises them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, state: str | None = None, limit: int = 100) -> Sequence[Alert]:
        """Alerts in a state, or in any, newest first."""
        return [Alert(**row) for row in await self._database.fetch("alerts", state, limit)]
