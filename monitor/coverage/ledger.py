"""A batch's coverage: intervals listened to, and gaps with their reasons. Pure."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace

from ingest.wire import GapReason, Record
from monitor.core.play import Play
from monitor.storage.records import Interval


@dataclass(slots=True)
class BatchLedger:
    """What one batch adds to the coverage ledger and to the plays, while it is being heard.

    epoch: the newest of the claims under which the stream was published.
    """

    position: int | None
    epoch: int = 0
    coverage: list[Interval] = field(default_factory=list)
    opened: dict[uuid.UUID, Play] = field(default_factory=dict)
    closed: dict[uuid.UUID, Play] = field(default_factory=dict)
    windows: int = 0
    skipped: int = 0
    fenced: int = 0

    def is_new(self, record: Record) -> bool:
        """Whether it was not decided on before."""
        return self.position is None or record.end > self.position

    def account(self, starts: int, ends: int, reason: str | None) -> None:
        """Books [starts, ends) behind what is booked; what is missing in between was lost."""
        if self.position is not None and starts > self.position:
            self._book(self.position, starts, GapReason.LOST)
        self._book(starts if self.position is None else max(starts, self.position), ends, reason)

    def _book(self, starts: int, ends: int, reason: str | None) -> None:
        if self.coverage and self.coverage[-1].ends == starts and self.coverage[-1].reason == reason:
            self.coverage[-1] = replace(self.coverage[-1], ends=ends)
        else:
            self.coverage.append(Interval(starts, ends, reason))
        self.position = ends
