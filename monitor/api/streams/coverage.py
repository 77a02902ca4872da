"""Coverage: when each stream was monitored, and the gaps with their reasons."""

from __future__ import annotations

from fastapi import APIRouter

from ingest import timeline
from monitor.api.dependencies import App, Limit, Since, StreamName
from monitor.api.similarity.intervals import sounds_of
from monitor.api.streams import schemas

router = APIRouter(prefix="/coverage", tags=["coverage"])


@router.get("", summary="List coverage")
async def list_coverage(
    airtrace: App, stream: StreamName = None, since: Since = None, limit: Limit = 1000
) -> list[schemas.Coverage]:
    """Lists intervals by stream, newest first. Each second since a stream was added is in exactly one of them."""
    after = None if since is None else timeline.to_clock(since)
    found = await airtrace.storage.coverage.list(stream, after, limit)
    sounds = await sounds_of(airtrace.storage.sounds, found)
    return [schemas.Coverage.of(interval, sound) for interval, sound in zip(found, sounds, strict=True)]
