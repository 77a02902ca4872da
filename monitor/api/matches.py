"""Matches: what was played where."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from ingest import timeline
from monitor.api import shapes
from monitor.api.heard import sounds_of
from monitor.api.parts import Limit, Parts
from monitor.errors import NotFound

router = APIRouter(prefix="/matches", tags=["matches"])

StreamName = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$", description="Only this stream's.")]
Since = Annotated[AwareDatetime | None, Query(description="Only what ended later, with its time zone.")]


@router.get("")
async def list_matches(
    parts: Parts,
    stream: StreamName = None,
    state: Literal["open", "closed"] | None = None,
    since: Since = None,
    limit: Limit = 100,
) -> list[shapes.Match]:
    """Newest first."""
    after = None if since is None else timeline.to_clock(since)
    found = await parts.store.matches(stream, state, after, limit)
    families = await parts.store.families({match.track_id for match in found})
    sounds = await sounds_of(parts.store, found)
    return [shapes.Match.of(match, families, sound) for match, sound in zip(found, sounds, strict=True)]


@router.get("/{match_id}")
async def read(parts: Parts, match_id: uuid.UUID) -> shapes.Match:
    """One match."""
    match = await parts.store.match(match_id)
    if match is None:
        raise NotFound(f"there is no match {match_id}")
    (sound,) = await sounds_of(parts.store, [match])
    return shapes.Match.of(match, await parts.store.families({match.track_id}), sound)
