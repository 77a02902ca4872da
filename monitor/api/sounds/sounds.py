"""Sounds: what streams sound like, and which tracks sound like a clip."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Depends, File, Query, UploadFile
from fastapi.responses import StreamingResponse

from ingest import timeline
from monitor.api.dependencies import App, Limit, Since, StreamName
from monitor.api.ndjson import lines
from monitor.api.sounds import schemas
from monitor.api.uploads import on_disk
from monitor.errors import ModelUnavailable
from monitor.similarity.panns_service import PannsService

router = APIRouter(prefix="/sounds", tags=["sounds"])


def _sounds(parts: App) -> PannsService:
    if parts.sounds is None:
        raise ModelUnavailable("this process has no PANNs")
    return parts.sounds


Panns = Annotated[PannsService, Depends(_sounds)]


@router.get("")
async def list_passages(
    parts: App, stream: StreamName = None, since: Since = None, limit: Limit = 1000
) -> list[schemas.Passage]:
    """What streams sounded like, ten seconds by ten seconds: by stream, newest first."""
    after = None if since is None else timeline.to_clock(since)
    return [schemas.Passage.of(each) for each in await parts.storage.sounds.list_passages(stream, after, limit)]


@router.post("/search")
async def search(
    sounds: Panns,
    file: Annotated[UploadFile, File(description="Any clip; a short sound effect will do.")],
    limit: Annotated[int, Query(ge=1, le=100, description="Most tracks.")] = 10,
) -> schemas.SearchResult:
    """The tracks that sound most like a clip, with scores, and what it sounds like. Nothing is stored."""
    async with on_disk(file) as path:
        return schemas.SearchResult.of(await sounds.search(path, limit))


@router.post("/enroll")
async def enroll(sounds: Panns) -> StreamingResponse:
    """Gives tracks that have none their PANNs vectors, from the files they came from; a JSON line a track."""
    await sounds.loaded()  # a problem before the first line is an answer of its own

    async def steps() -> AsyncGenerator[schemas.Enrolled, None]:
        async for each in sounds.enroll_all():
            yield schemas.Enrolled(track=each.track.id, source=each.track.metadata.source, error=each.error)

    return lines(steps())
