"""Tracks: add, list, read, delete."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, File, Form, Path, Query, Response, UploadFile
from fastapi.responses import StreamingResponse

from monitor.api import shapes
from monitor.api.parts import Limit, Parts
from monitor.api.uploads import on_disk, safe_name
from monitor.app import Airtrace
from monitor.core.families import families
from monitor.errors import NotFound
from monitor.records import Metadata, Track

router = APIRouter(prefix="/tracks", tags=["tracks"])

TrackId = Annotated[int, Path(ge=1, le=2**63 - 1)]
Text = Annotated[str | None, Form(max_length=500, pattern=r"^[^\x00]*$")]


@router.post("", status_code=201)
async def add(
    parts: Parts,
    response: Response,
    file: Annotated[UploadFile, File(description="An audio file of any kind that ffmpeg or libsndfile reads.")],
    title: Text = None,
    artist: Text = None,
    album: Text = None,
    isrc: Annotated[str | None, Form(pattern=r"^[A-Z]{2}[A-Z0-9]{3}\d{7}$", examples=["DEA622100001"])] = None,
    source: Annotated[str | None, Form(max_length=4000, pattern=r"^[^\x00]*$")] = None,
) -> shapes.Registered:
    """Registers a recording. The same audio again is recognised (200), not doubled."""
    name = safe_name(file.filename)
    async with on_disk(file) as path:
        metadata = Metadata(title or path.stem, source or name, artist, album, isrc)
        registered = await parts.catalog.add(path, metadata)
    if registered.known:
        response.status_code = 200
    return shapes.Registered(known=registered.known, track=await _with_family(parts, registered.track))


@router.get("")
async def list_tracks(
    parts: Parts,
    query: Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")] = None,
    limit: Limit = 100,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> list[shapes.Track]:
    """Tracks in the order of registration; `query` looks into title, artist, album and ISRC."""
    found = await parts.store.tracks(query, limit, offset)
    kin = await parts.store.families({track.id for track in found})
    return [shapes.Track.of(track, kin.get(track.id, ())) for track in found]


@router.get("/families")
async def list_families(parts: Parts, limit: Limit = 100) -> list[shapes.Family]:
    """Tracks near-identical to one another, in whole or in part; one that holds several may be in several families."""
    found = families(await parts.store.kinships())[:limit]
    members = await parts.store.members({track for family in found for track in family})
    named = [[members[track] for track in family if track in members] for family in found]
    return [shapes.Family(tracks=shapes.Relative.all_of(family)) for family in named if len(family) > 1]


@router.post("/rebuild")
async def rebuild(parts: Parts) -> StreamingResponse:
    """Re-embeds tracks of other models from their files and fills the index anew; a JSON line a re-embedded track."""

    async def lines() -> AsyncIterator[str]:
        async for rebuilt in parts.catalog.rebuild():
            yield shapes.Rebuilt(track=shapes.Track.of(rebuilt.track), error=rebuilt.error).model_dump_json() + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@router.get("/{track_id}")
async def read(parts: Parts, track_id: TrackId) -> shapes.Track:
    """One track."""
    track = await parts.store.track(track_id)
    if track is None:
        raise NotFound(f"there is no track {track_id}")
    return await _with_family(parts, track)


@router.delete("/{track_id}", status_code=204)
async def delete(parts: Parts, track_id: TrackId) -> None:
    """Takes a track out of the catalog. Its past matches stay, with the metadata they had."""
    await parts.catalog.delete(track_id)


async def _with_family(parts: Airtrace, track: Track) -> shapes.Track:
    found = await parts.store.families({track.id})
    return shapes.Track.of(track, found.get(track.id, ()))
