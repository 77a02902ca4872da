"""The JSON of streams."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from ingest import timeline
from ingest.redact import redact
from monitor.storage import records

# Audio at most this old is live: two windows, a batch and a slow transaction.
FRESH_S = 15
# A gap in progress is only booked once the burst of the next connection cannot cover it any more (`burst_most_s`, 45 s
# by default), and then every few seconds: what is older than both has nobody who listens.
GAP_DELAY_S = 60


class NewStream(BaseModel):
    """A feed to monitor."""

    # It is part of paths, where dots alone mean something else.
    name: Annotated[str, StringConstraints(strip_whitespace=True)] = Field(
        min_length=1, max_length=100, pattern=r"^\.*[^\x00-\x1f\x7f/.][^\x00-\x1f\x7f/]*$", examples=["radio-one"]
    )
    url: str = Field(min_length=1, max_length=2000, examples=["https://radio.example/live.mp3"])


class Stream(BaseModel):
    """A feed that is monitored; credentials in its URL are never shown."""

    id: int
    name: str
    url: str
    state: Literal["listening", "gap", "waiting", "not_running"]
    reason: str | None
    heard_until: datetime | None
    behind_s: float | None = Field(
        None, description="How long ago the newest sound was that plays were looked for in, in seconds."
    )

    @classmethod
    def of(cls, stream: records.StreamStatus, now: datetime) -> Stream:
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


class StreamName(BaseModel):
    id: int
    name: str


def utc_now() -> datetime:
    """The time by this machine's clock."""
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
