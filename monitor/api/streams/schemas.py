"""The JSON of streams and their coverage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from ingest import timeline
from ingest.redact import redact
from monitor.api.similarity.intervals import IntervalSound, OptionalSound
from monitor.api.streams.running import Running
from monitor.matching.load.advice import Streams
from monitor.storage import records

State = Literal["listening", "behind", "gap", "waiting", "not_running"]

# Audio at most this old is live: two windows, a batch and a slow transaction.
FRESH_S = 15
# A stream with older audio is behind if it was processed within this time: a worker that is behind takes its streams in
# batches of many seconds.
ADVANCES_S = 15
# A gap in progress is recorded only when the next connection's burst of past audio (`max_burst_s`, 45 s by default)
# can no longer cover it, and then every few seconds. If both are exceeded, nothing reads the stream.
GAP_DELAY_S = 60


class NewStream(BaseModel):
    """A stream to monitor."""

    # The name is part of URL paths, where "." and ".." have another meaning.
    name: Annotated[str, StringConstraints(strip_whitespace=True)] = Field(
        min_length=1, max_length=100, pattern=r"^\.*[^\x00-\x1f\x7f/.][^\x00-\x1f\x7f/]*$", examples=["radio-one"]
    )
    url: str = Field(min_length=1, max_length=2000, examples=["https://radio.example/live.mp3"])


class Stream(BaseModel):
    """A monitored stream. Credentials in its URL are never shown."""

    id: int
    name: str
    url: str
    state: State = Field(
        description="listening; behind (matched late, or not yet); gap (not heard, see reason); waiting (for audio); "
        "not_running (nothing reads it, or nothing matches it)."
    )
    reason: str | None
    heard_until: datetime | None
    behind_s: float | None = Field(None, description="Age of the newest audio that was matched, in seconds.")

    @classmethod
    def of(cls, stream: records.StreamStatus, now: datetime, running: Running) -> Stream:
        """From the stored stream; its state depends on the time, and on what is running."""
        heard_until = None if stream.position is None else timeline.to_utc(stream.position)
        return cls(
            id=stream.id,
            name=stream.name,
            url=redact(stream.url),
            state=_state(stream, now, running),
            reason=stream.reason,
            heard_until=heard_until,
            behind_s=max(0.0, round((now - heard_until).total_seconds(), 1)) if heard_until else None,
        )


class AddedStream(Stream):
    """A stream that was just added."""

    warning: str | None = Field(None, description="Whether matching has no room for it, and what to change.")


class Coverage(BaseModel):
    """An interval in which a stream was monitored, or a gap with its reason."""

    stream: str
    start: datetime
    end: datetime
    state: Literal["covered", "gap"]
    reason: str | None
    sound: OptionalSound = None

    @classmethod
    def of(cls, coverage: records.Coverage, sound: IntervalSound | None = None) -> Coverage:
        """From the stored interval."""
        return cls(
            stream=coverage.stream_name,
            start=timeline.to_utc(coverage.starts),
            end=timeline.to_utc(coverage.ends),
            state="covered" if coverage.state == "covered" else "gap",
            reason=coverage.reason,
            sound=sound,
        )


class StreamName(BaseModel):
    """A stream's id and name; both are kept when the stream is removed."""

    id: int
    name: str


def utc_now() -> datetime:
    """The current time of this machine's clock."""
    return datetime.now(UTC)


def summary(streams: Sequence[Stream]) -> Streams:
    """How many streams there are, and how many of them are behind."""
    late_s = [stream.behind_s or 0.0 for stream in streams if stream.state == "behind"]
    return Streams(total=len(streams), behind=len(late_s), behind_s=max(late_s, default=0.0))


def _state(stream: records.StreamStatus, now: datetime, running: Running) -> State:
    if not running.is_matching:
        return "not_running"
    if stream.position is None:
        if not running.is_reading:
            return "not_running"
        return "behind" if running.is_behind else "waiting"
    age_s = (now - timeline.to_utc(stream.position)).total_seconds()
    fresh_s = FRESH_S if stream.state == "covered" else FRESH_S + GAP_DELAY_S
    if age_s <= fresh_s:
        return "listening" if stream.state == "covered" else "gap"
    if _is_advancing(stream, age_s, now, running):
        return "behind"
    return "waiting" if running.is_reading else "not_running"


def _is_advancing(stream: records.StreamStatus, age_s: float, now: datetime, running: Running) -> bool:
    """Whether a stream with old audio is being processed, or waits only because its worker is behind."""
    if stream.advanced_at is not None and (now - stream.advanced_at).total_seconds() <= ADVANCES_S:
        return True
    load = running.load
    return load is not None and running.is_behind and age_s <= FRESH_S + load.behind_s + GAP_DELAY_S
