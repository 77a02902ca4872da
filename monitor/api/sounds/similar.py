"""Similar: stretches of streams that resemble tracks, for somebody to listen to. Apart from matches."""

from __future__ import annotations

import uuid

from fastapi import APIRouter

from monitor.api.dependencies import App, Limit, StreamName
from monitor.api.sounds import schemas
from monitor.errors import NotFound

router = APIRouter(prefix="/similar", tags=["similar"])


@router.get("")
async def list_similar(
    parts: App, stream: StreamName = None, review: schemas.Review | None = None, limit: Limit = 100
) -> list[schemas.Similar]:
    """Newest first."""
    return [schemas.Similar.of(each) for each in await parts.storage.sounds.list_similar(stream, review, limit)]


@router.get("/{similar_id}")
async def read(parts: App, similar_id: uuid.UUID) -> schemas.Similar:
    """One of them."""
    similar = await parts.storage.sounds.get_similar(similar_id)
    if similar is None:
        raise NotFound(f"there is no similar match {similar_id}")
    return schemas.Similar.of(similar)


@router.put("/{similar_id}")
async def review(parts: App, similar_id: uuid.UUID, said: schemas.Reviewed) -> schemas.Similar:
    """Stores what somebody who listened says; what is confirmed or dismissed stays."""
    if not await parts.storage.sounds.review(similar_id, said.review, said.note):
        raise NotFound(f"there is no similar match {similar_id}")
    return await read(parts, similar_id)
