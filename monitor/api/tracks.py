"""Tracks: add, list, read, delete."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, File, Form, Path, Query, Response, UploadFile
from fastapi.responses import StreamingResponse

from monitor.api import shapes
from monitor.api.parts import Limit, Parts
from monitor.api.uploads import on_disk, safe_name
from monitor.errors import NotFound
from monitor.records import Metadata

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
    return shapes.Registered(known=registered.known, track=shapes.Track.of(registered.track))


@router.get("")
async def list_tracks(
    parts: Parts,
    query: Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")] = None,
    limit: Limit = 100,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> list[shapes.Track]:
    """Tracks in the order of registration; `query` looks into title, artist, album and ISRC."""
    return [shapes.Track.of(track) for track in await parts.store.tracks(query, limit, offset)]


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
    return shapes.Track.of(track)


@router.delete("/{track_id}", status_code=204)
async def delete(parts: Parts, track_id: TrackId) -> None:
    """Takes a track out of the catalog. Its past matches stay, with the metadata they had."""
    await parts.catalog.delete(track_id)
