"""Finds the position in time of a session's samples, and detects audio that the source lost. Pure.

Instants are stream clock values (`ingest.timeline`), durations are samples; `now` is always an argument.
"""

from __future__ import annotations

from collections import deque

from ingest import timeline

# The burst is over once this long passes with no more audio than a live source sends. It is longer than the pauses
# within a burst on a usual network, and short enough not to be noticed.
SETTLE = timeline.samples(0.5)
LIVE_RATE = 1.5  # times real time; bursts come at many times that, a live source with jitter stays below

# A lag is permanent if even its minimum over this time exceeds MAX_LAG: HLS delivers up to 12 s at once.
LAG_WATCH = timeline.samples(20)
MAX_LAG = timeline.samples(2)


class LiveEdge:
    """Finds the stream clock of a session's sample 0.

    Servers send up to 40 s of past audio on connect, as fast as possible. No sample can arrive before it sounded, so
    each arrival bounds the anchor from above. Once the burst is over, the lowest bound is the anchor: `value`, which is
    None until then.
    """

    def __init__(self, max_burst: int) -> None:
        """`max_burst`: samples of past audio after which the search for the edge ends in any case."""
        self.value: int | None = None
        self._max_burst = max_burst
        self._bound: int | None = None
        self._marks: deque[tuple[int, int]] = deque()

    def feed(self, now: int, received: int) -> None:
        """Takes the number of samples received so far. Call it a few times a second, even while nothing arrives."""
        if received == 0 or self.value is not None:
            return
        self._bound = now - received if self._bound is None else min(self._bound, now - received)
        self._marks.append((now, received))
        while len(self._marks) > 1 and self._marks[1][0] <= now - SETTLE:
            self._marks.popleft()
        since, before = self._marks[0]
        settled = now - since >= SETTLE and received - before < LIVE_RATE * (now - since)
        if settled or received > self._max_burst:
            self.settle()

    def settle(self) -> None:
        """Ends the search with what is known: no more audio will arrive."""
        if self.value is None:
            self.value = self._bound


class LostAudioDetector:
    """Watches how far a session's clock lies behind the present."""

    def __init__(self) -> None:
        self._since: int | None = None
        self._lows: deque[tuple[int, int]] = (
            deque()
        )  # (now, lag), ascending: the first is the minimum of the watched time

    def feed(self, now: int, lag: int) -> int:
        """Takes the current lag; returns how many samples the source has permanently lost, 0 if none."""
        if self._since is None:
            self._since = now
        while self._lows and self._lows[-1][1] >= lag:
            self._lows.pop()
        self._lows.append((now, lag))
        while self._lows[0][0] < now - LAG_WATCH:
            self._lows.popleft()
        minimum = self._lows[0][1]
        return minimum if now - self._since >= LAG_WATCH and minimum > MAX_LAG else 0
