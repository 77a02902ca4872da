"""The JSON of streams and their coverage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from ingest import timeline
from ingest.redact import redact
from monitor.api.similarity.intervals import IntervalSound, OptionalSound
from monitor.storage import records

# Audio at most this old is live: two windows, a batch and a slow transaction.
FRESH_S = 15
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
    state: Literal["listening", "gap", "waiting", "not_running"]
    reason: str | None
    heard_until: datetime | None
    behind_s: float | None = Field(None, description="Age of the newest audio that was matched, in seconds.")

    @classmethod
    def of(cls, stream: records.StreamStatus, now: datetime) -> Stream:
        """From the stored stream; its state depends on the time."""
        heard_until = None if stream.position is None else timeline.to_utc(stream.position)
        return cls(
            id=stream.id,
            name=stream.name,
            url=redact(stream.url),
            state=_state(stream.state, heard_until, now),
            reason=stream.reason,
            heard_until=heard_until,
            behind_s=max(0.0, round((now - heard_until).total_seconds(), 1)) if heard_until else None,
        )


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


def _state(
    state: str | None, heard_until: datetime | None, now: datetime
) -> Literal["listening", "gap", "waiting", "not_running"]:
    if heard_until is None:
        return "waiting"
    age_s = (now - heard_until).total_seconds()
    if age_s > FRESH_S + GAP_DELAY_S:
        return "not_running"
    if state == "covered":
        return "listening" if age_s <= FRESH_S else "waiting"
    return "gap"
