"""Similar matches: intervals of streams that resemble tracks, for someone to review. Never among the matches."""

from __future__ import annotations

import uuid

from fastapi import APIRouter

from monitor.api.dependencies import App, Limit, StreamName
from monitor.api.similarity import schemas
from monitor.errors import NotFound

router = APIRouter(prefix="/similar", tags=["similar"])


@router.get("", summary="List similar matches")
async def list_similar(
    airtrace: App, stream: StreamName = None, review: schemas.Review | None = None, limit: Limit = 100
) -> list[schemas.SimilarMatch]:
    """Lists similar matches, newest first."""
    return [schemas.SimilarMatch.of(each) for each in await airtrace.storage.sounds.list_similar(stream, review, limit)]


@router.get("/{similar_id}", summary="Read a similar match")
async def read(airtrace: App, similar_id: uuid.UUID) -> schemas.SimilarMatch:
    """Returns a similar match."""
    similar = await airtrace.storage.sounds.get_similar(similar_id)
    if similar is None:
        raise NotFound(f"there is no similar match {similar_id}")
    return schemas.SimilarMatch.of(similar)


@router.put("/{similar_id}", summary="Review a similar match")
async def review(airtrace: App, similar_id: uuid.UUID, request: schemas.ReviewRequest) -> schemas.SimilarMatch:
    """Confirms or dismisses a similar match, which is then kept."""
    if not await airtrace.storage.sounds.review(similar_id, request.review, request.note):
        raise NotFound(f"there is no similar match {similar_id}")
    return await read(airtrace, similar_id)
