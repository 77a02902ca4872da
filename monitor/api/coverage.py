"""Coverage: when a stream was listened to, and why not."""

from __future__ import annotations

from fastapi import APIRouter

from ingest import timeline
from monitor.api import shapes
from monitor.api.heard import sounds_of
from monitor.api.matches import Since, StreamName
from monitor.api.parts import Limit, Parts

router = APIRouter(prefix="/coverage", tags=["coverage"])


@router.get("")
async def list_coverage(
    parts: Parts, stream: StreamName = None, since: Since = None, limit: Limit = 1000
) -> list[shapes.Coverage]:
    """Intervals per stream, newest first; every second that a stream was monitored is in exactly one."""
    after = None if since is None else timeline.to_clock(since)
    found = await parts.store.coverage(stream, after, limit)
    sounds = await sounds_of(parts.store, found)
    return [shapes.Coverage.of(interval, sound) for interval, sound in zip(found, sounds, strict=True)]
