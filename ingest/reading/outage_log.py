"""Logs when the bus refuses records: a few lines for all streams of a process, not a few lines for each stream."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

# The longest wait between two attempts is half of this, so a stream that is still refused says so within that time.
QUIET_S = 10.0
SUMMARY_S = 60.0

AUDIO_IS_LOST = "audio is lost, oldest first, until the bus accepts records again: fix the cause named in `error`"
AUDIO_WAS_LOST = "audio was lost: its seconds are gaps with the reason dropped_under_load"
NO_ERROR = "records were not published in time: the bus is slow, or the leases of the streams have expired"


class OutageLog:
    """The publishers of a process report to it what becomes of their records; it logs, and does nothing else.

    An outage starts when the bus refuses a record, or audio is dropped. It ends with the first record that is accepted
    after neither has happened for `quiet_s`. It logs one line at the start, one when audio is first dropped, a summary
    every `summary_s`, and one line at the end.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, quiet_s: float = QUIET_S, summary_s: float = SUMMARY_S
    ) -> None:
        """`clock` returns seconds and never goes back."""
        self._clock = clock
        self._quiet_s = quiet_s
        self._summary_s = summary_s
        self._streams: set[int] = set()
        self._waiting: set[int] = set()  # streams whose last attempt was refused
        self._is_outage = False
        self._begun_s = self._failed_s = self._logged_s = 0.0  # by the clock
        self._dropped_s = 0.0
        self._error = NO_ERROR

    def add(self, stream_id: int) -> None:
        """A publisher of this stream starts."""
        self._streams.add(stream_id)

    def remove(self, stream_id: int) -> None:
        """The publisher of this stream ends, whatever has become of its records."""
        self._streams.discard(stream_id)
        self._waiting.discard(stream_id)

    def refused(self, stream_id: int, error: str) -> None:
        """The bus has refused a record of this stream; the publisher will try again."""
        now_s = self._clock()
        self._waiting.add(stream_id)
        self._error = error
        if self._is_outage:
            self._failed_s = now_s
            self._summarize_if_due(now_s)
        else:
            self._begin(now_s)
            log.warning("publisher.refused", error=error, streams=len(self._streams))

    def dropped(self, seconds: float) -> None:
        """So much audio of a stream has been replaced by a gap."""
        now_s = self._clock()
        if not self._is_outage:
            self._begin(now_s)
        self._failed_s = now_s
        is_first = not self._dropped_s
        self._dropped_s += seconds
        if is_first:
            self._summarize(now_s)
        else:
            self._summarize_if_due(now_s)

    def accepted(self, stream_id: int) -> None:
        """The bus has accepted a record of this stream."""
        if not self._is_outage:
            return
        now_s = self._clock()
        self._waiting.discard(stream_id)
        if now_s - self._failed_s >= self._quiet_s:
            self._end()
        else:
            self._summarize_if_due(now_s)

    def _begin(self, now_s: float) -> None:
        self._is_outage = True
        self._begun_s = self._failed_s = self._logged_s = now_s

    def _end(self) -> None:
        facts = {"lasted_s": round(self._failed_s - self._begun_s, 1), "dropped_s": round(self._dropped_s, 1)}
        if self._dropped_s:
            log.warning("publisher.resumed", **facts, note=AUDIO_WAS_LOST)
        else:
            log.info("publisher.resumed", **facts)
        self._is_outage = False
        self._waiting.clear()
        self._dropped_s = 0.0
        self._error = NO_ERROR

    def _summarize_if_due(self, now_s: float) -> None:
        if now_s - self._logged_s >= self._summary_s:
            self._summarize(now_s)

    def _summarize(self, now_s: float) -> None:
        self._logged_s = now_s
        facts = {"error": self._error, "streams_waiting": len(self._waiting), "dropped_s": round(self._dropped_s, 1)}
        if self._dropped_s:
            log.warning("publisher.losing_audio", **facts, next_step=AUDIO_IS_LOST)
        else:
            log.info("publisher.waiting", **facts)
