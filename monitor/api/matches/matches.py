"""Matches: what was played where."""

from __future__ import annotations

import uuid
from typing import Literal

from fastapi import APIRouter

from ingest import timeline
from monitor.api.dependencies import App, Limit, Since, StreamName
from monitor.api.matches import schemas
from monitor.api.similarity.intervals import sounds_of
from monitor.errors import NotFound

router = APIRouter(prefix="/matches", tags=["matches"])


@router.get("", summary="List matches")
async def list_matches(
    airtrace: App,
    stream: StreamName = None,
    state: Literal["open", "closed"] | None = None,
    since: Since = None,
    limit: Limit = 100,
) -> list[schemas.Match]:
    """Lists matches, newest first."""
    after = None if since is None else timeline.to_clock(since)
    found = await airtrace.storage.matches.list(stream, state, after, limit)
    families = await airtrace.storage.families.members_of({match.track_id for match in found})
    sounds = await sounds_of(airtrace.storage.sounds, found)
    return [schemas.Match.of(match, families, sound) for match, sound in zip(found, sounds, strict=True)]


@router.get("/{match_id}", summary="Read a match")
async def read(airtrace: App, match_id: uuid.UUID) -> schemas.Match:
    """Returns a match."""
    match = await airtrace.storage.matches.get(match_id)
    if match is None:
        raise NotFound(f"there is no match {match_id}")
    (sound,) = await sounds_of(airtrace.storage.sounds, [match])
    return schemas.Match.of(match, await airtrace.storage.families.members_of({match.track_id}), sound)
