"""The coverage of one batch: monitored intervals, and gaps with their reasons. Pure."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace

from ingest.wire import GapReason, Record
from monitor.core.tracking.play import Play
from monitor.storage.records import Interval


@dataclass(slots=True)
class BatchLedger:
    """What one batch adds to the coverage ledger and to the plays while it is processed. Times are stream clock values.

    position: up to where the stream has been accounted for; None if it is new.
    epoch: the newest lease epoch under which the stream was published.
    opened, closed: plays by id.
    windows: number of windows matched.
    skipped: samples that were too late to be matched.
    fenced: number of records of a reader whose lease had ended.
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
        """Whether a record ends after what has been accounted for."""
        return self.position is None or record.end > self.position

    def account(self, starts: int, ends: int, reason: str | None) -> None:
        """Adds [starts, ends), with the reason if it is a gap. A hole before it is a gap of lost audio."""
        if self.position is not None and starts > self.position:
            self._append(self.position, starts, GapReason.LOST)
        self._append(starts if self.position is None else max(starts, self.position), ends, reason)

    def _append(self, starts: int, ends: int, reason: str | None) -> None:
        if self.coverage and self.coverage[-1].ends == starts and self.coverage[-1].reason == reason:
            self.coverage[-1] = replace(self.coverage[-1], ends=ends)
        else:
            self.coverage.append(Interval(starts, ends, reason))
        self.position = ends
