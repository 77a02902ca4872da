"""Where a stream's samples lie in time: anchors, lags, gaps, windows. Pure: `now` is always an argument.

    Anchor   finds when a session's sample 0 sounded, behind the burst of past audio
    Lag      notices that a source lost audio without breaking the connection
    Ledger   one stream: up to where its time is accounted for, and why what follows was not heard
    Session  one connection: PCM in, windows and gaps out, which tile the time line without overlap or hole

All instants are stream clock values (`ingest.timeline`), all durations samples.
"""

from __future__ import annotations

import uuid

from ingest.reading.gap_ledger import GapLedger
from ingest.reading.live_edge import LiveEdge, LostAudioDetector
from ingest.wire import BYTES_PER_SAMPLE, GapReason, Record, Window


class Session:
    """What one connection gives. A connection that lost audio goes on as a new session, with a new id and anchor."""

    def __init__(self, ledger: GapLedger, window: int, max_burst: int) -> None:
        """`window`: the length of a window."""
        self.received = 0
        self.lost = 0  # by the source, without breaking the connection
        self._ledger = ledger
        self._window_bytes = window * BYTES_PER_SAMPLE
        self._finding = LiveEdge(max_burst)
        self._lag = LostAudioDetector()
        self._id = uuid.uuid4()
        self._sequence = 0
        self._first = 0  # sample of the session that `_waiting` begins with
        self._waiting = bytearray()

    @property
    def is_live(self) -> bool:
        """Whether the live edge was found: until then nothing is published."""
        return self._finding.value is not None

    def ahead(self, now: int) -> int:
        """How far in the future the next sample lies; negative behind the present, 0 before the live edge was found."""
        return 0 if self._finding.value is None else self._end(self._finding.value) - now

    def feed(self, now: int, pcm: bytes) -> list[Record]:
        """Takes whole samples in; the records that are due. Without samples: time has passed."""
        self._waiting += pcm
        self.received += len(pcm) // BYTES_PER_SAMPLE
        self._finding.feed(now, self.received)
        anchor = self._finding.value
        if anchor is None:
            return []
        records = self._cut(anchor)
        if pcm and (lost := self._lag.feed(now, now - self._end(anchor))):
            records += self._restart(anchor, lost)
        return records

    def flush(self) -> list[Record]:
        """The rest, as a last and shorter window."""
        self._finding.settle()
        anchor = self._finding.value
        if anchor is None:
            return []
        return [*self._cut(anchor), *self._take(anchor, len(self._waiting))]

    def _end(self, anchor: int) -> int:
        return anchor + self._first + len(self._waiting) // BYTES_PER_SAMPLE

    def _cut(self, anchor: int) -> list[Record]:
        """The whole windows, without what was accounted for before, behind the gap that they end."""
        accounted = self._ledger.heard_until - (anchor + self._first)
        if accounted > 0:
            self._skip(min(accounted * BYTES_PER_SAMPLE, len(self._waiting)))
        records: list[Record] = []
        if self._waiting:
            records += self._ledger.gaps(anchor + self._first)
        while len(self._waiting) >= self._window_bytes:
            records += self._take(anchor, self._window_bytes)
        return records

    def _take(self, anchor: int, n_bytes: int) -> list[Record]:
        if n_bytes == 0:
            return []
        pcm = bytes(self._waiting[:n_bytes])
        window = Window(self._ledger.stream_id, self._id, self._sequence, anchor, self._first, pcm)
        self._sequence += 1
        self._skip(n_bytes)
        self._ledger.heard(window.end)
        return [window]

    def _skip(self, n_bytes: int) -> None:
        del self._waiting[:n_bytes]
        self._first += n_bytes // BYTES_PER_SAMPLE

    def _restart(self, anchor: int, lost: int) -> list[Record]:
        """The next sample sounds `lost` later than the clock says: the clock is set anew, the hole becomes a gap."""
        records = self._take(anchor, len(self._waiting))
        self._ledger.open_gap(self._ledger.heard_until, GapReason.STALLED)
        self._finding.value = anchor + self._first + lost
        self.lost += lost
        self._lag = LostAudioDetector()
        self._id = uuid.uuid4()
        self._sequence = self._first = 0
        return records
