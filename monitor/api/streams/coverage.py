"""Coverage: when a stream was listened to, and why not."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from ingest import timeline
from monitor.api.dependencies import App, Limit, Since, StreamName
from monitor.api.sounds.schemas import Sound, Sounding, sounds_of
from monitor.storage import records

router = APIRouter(prefix="/coverage", tags=["coverage"])


@router.get("")
async def list_coverage(
    parts: App, stream: StreamName = None, since: Since = None, limit: Limit = 1000
) -> list[Coverage]:
    """Intervals per stream, newest first; every second that a stream was monitored is in exactly one."""
    after = None if since is None else timeline.to_clock(since)
    found = await parts.storage.coverage.list(stream, after, limit)
    sounds = await sounds_of(parts.storage, found)
    return [Coverage.of(interval, sound) for interval, sound in zip(found, sounds, strict=True)]


class Coverage(BaseModel):
    """An interval that was listened to, or a gap with its reason."""

    stream: str
    start: datetime
    end: datetime
    state: Literal["covered", "gap"]
    reason: str | None
    sound: Sounding = None

    @classmethod
    def of(cls, coverage: records.Coverage, sound: Sound | None = None) -> Coverage:
        return cls(
            stream=coverage.stream_name,
            start=timeline.to_utc(coverage.starts),
            end=timeline.to_utc(coverage.ends),
            state="covered" if coverage.state == "covered" else "gap",
            reason=coverage.reason,
            sound=sound,
        )
