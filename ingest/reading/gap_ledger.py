"""Accounts for one stream's time: how far it is covered, and why the rest is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from ingest import timeline
from ingest.wire import Gap, GapReason

# In samples: a gap in progress grows in steps of this, often enough for the live page, rarely enough for the database.
GAP_STEP = timeline.samples(5)


class GapLedger:
    """Tracks how far windows and gaps account for one stream's time. All instants are stream clock values."""

    def __init__(self, stream_id: int, heard_until: int, step: int = GAP_STEP) -> None:
        """`heard_until`: where the account starts. `step`: samples by which a gap in progress grows."""
        self.stream_id = stream_id
        self.heard_until = heard_until
        self._step = step
        self._reasons: list[tuple[int, GapReason]] = []  # since when there is no audio, and why

    def open_gap(self, since: int, reason: GapReason) -> None:
        """Starting at `since`, and until the next call of `open_gap` or `heard`, there is no audio for this reason."""
        since = max(since, self.heard_until)
        self._reasons = [entry for entry in self._reasons if entry[0] < since]
        self._reasons.append((since, reason))

    def gaps(self, until: int) -> list[Gap]:
        """Accounts for the time up to `until` as not heard: one gap per reason, in order."""
        gaps: list[Gap] = []
        while self.heard_until < until:
            reason, changes = self._reason()
            end = min(until, changes) if changes is not None else until
            if gaps and gaps[-1].reason is reason:
                gaps[-1] = Gap(self.stream_id, gaps[-1].start, end, reason)
            else:
                gaps.append(Gap(self.stream_id, self.heard_until, end, reason))
            self.heard_until = end
        self._reasons = [entry for entry, after in self._spans() if after is None or after > self.heard_until]
        return gaps

    def close_gap(self, until: int, reason: GapReason) -> list[Gap]:
        """Accounts for the time up to `until` as not heard for this one reason, and forgets all reasons."""
        self._reasons = [(self.heard_until, reason)]
        gaps = self.gaps(until)
        self._reasons.clear()
        return gaps

    def gaps_in_progress(self, until: int) -> list[Gap]:
        """Same as `gaps`, but only once the gap is long enough for a record of its own."""
        return self.gaps(until) if until - self.heard_until >= self._step else []

    def heard(self, until: int) -> None:
        """Accounts for the time up to `until` as heard."""
        self.heard_until = until
        self._reasons.clear()

    def _reason(self) -> tuple[GapReason, int | None]:
        """Why there is no audio at `heard_until`, and when that changes."""
        for (_, reason), until in self._spans():
            if until is None or until > self.heard_until:
                return reason, until
        return GapReason.CONNECTING, None

    def _spans(self) -> Iterator[tuple[tuple[int, GapReason], int | None]]:
        """Each reason with its start, and the moment at which the next one takes over."""
        for entry, after in pairwise([*self._reasons, None]):
            if entry is not None:
                yield entry, None if after is None else after[0]
