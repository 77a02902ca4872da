"""Sounds: what streams sound like, and which tracks sound like a clip."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Depends, File, Query, UploadFile
from fastapi.responses import StreamingResponse

from ingest import timeline
from monitor.api.dependencies import App, Limit, Since, StreamName
from monitor.api.ndjson import lines
from monitor.api.similarity import schemas
from monitor.api.uploads import on_disk
from monitor.errors import ModelUnavailable
from monitor.similarity.enrollment import Enrollment
from monitor.similarity.panns_service import PannsService
from monitor.similarity.search import SimilaritySearch

router = APIRouter(prefix="/sounds", tags=["sounds"])


def _panns(airtrace: App) -> PannsService:
    if airtrace.panns is None:
        raise ModelUnavailable("PANNs is not part of this process")
    return airtrace.panns


Panns = Annotated[PannsService, Depends(_panns)]


@router.get("", summary="List labeled passages of streams")
async def list_passages(
    airtrace: App, stream: StreamName = None, since: Since = None, limit: Limit = 1000
) -> list[schemas.Passage]:
    """Lists what streams sounded like in each ten seconds: by stream, newest first."""
    after = None if since is None else timeline.to_clock(since)
    return [schemas.Passage.of(each) for each in await airtrace.storage.sounds.list_passages(stream, after, limit)]


@router.post("/search", summary="Search tracks that sound like a clip")
async def search(
    airtrace: App,
    panns: Panns,
    file: Annotated[UploadFile, File(description="An audio clip; a short sound effect is enough.")],
    limit: Annotated[int, Query(ge=1, le=100, description="Maximum number of tracks.")] = 10,
) -> schemas.SearchResult:
    """Finds the tracks that sound most like a clip, and labels the clip. Stores nothing."""
    async with on_disk(file) as path:
        return schemas.SearchResult.of(await SimilaritySearch(panns, airtrace.storage).search(path, limit))


@router.post("/enroll", summary="Compute missing PANNs vectors of tracks")
async def enroll(airtrace: App, panns: Panns) -> StreamingResponse:
    """Computes the missing PANNs vectors, from the tracks' files. Streams a line per track."""
    await panns.loaded()  # so that a failure is an error response and not a broken stream

    async def steps() -> AsyncGenerator[schemas.EnrolledTrack, None]:
        async for each in Enrollment(panns, airtrace.storage).enroll_all():
            yield schemas.EnrolledTrack(track=each.track.id, source=each.track.metadata.source, error=each.error)

    return lines(steps())
