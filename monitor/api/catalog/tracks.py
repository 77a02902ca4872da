"""Tracks: add, list, read, edit, replace, exclude from, retire, restore, delete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Body, File, Form, Path, Query, Response, UploadFile
from fastapi.responses import StreamingResponse

from monitor.api.catalog import schemas
from monitor.api.dependencies import App, Limit
from monitor.api.ndjson import lines
from monitor.api.uploads import on_disk, safe_name
from monitor.catalog import tags
from monitor.catalog.metadata import MetadataFields, validate_metadata
from monitor.core.families import families
from monitor.errors import MetadataError, NotFound
from monitor.parts import Airtrace
from monitor.storage.records import Metadata, Track

router = APIRouter(prefix="/tracks", tags=["tracks"])

TrackId = Annotated[int, Path(ge=1, le=2**63 - 1)]
Text = Annotated[str | None, Form(max_length=500, pattern=r"^[^\x00]*$")]
Upload = Annotated[UploadFile, File(description="An audio file of any kind that ffmpeg or libsndfile reads.")]
Source = Annotated[str | None, Form(max_length=4000, pattern=r"^[^\x00]*$")]
MAX_EXCLUDED = 1000


@router.post("", status_code=201)
async def add(
    parts: App,
    response: Response,
    file: Upload,
    title: Text = None,
    artist: Text = None,
    album: Text = None,
    label: Text = None,
    rights_holder: Text = None,
    isrc: Annotated[str | None, Form(max_length=100, examples=["DEA622100001"])] = None,
    iswc: Annotated[str | None, Form(max_length=100, examples=["T-034.524.680-1"])] = None,
    upc: Annotated[str | None, Form(max_length=100, examples=["036000291452"])] = None,
    territories: Annotated[str | None, Form(max_length=2000, examples=["DE, AT, CH"])] = None,
    valid_from: Annotated[str | None, Form(max_length=100, examples=["2026-01-31"])] = None,
    valid_until: Annotated[str | None, Form(max_length=100)] = None,
    own_id: Text = None,
    fields: Annotated[
        str | None, Form(max_length=200_000, description="A JSON object of texts.", examples=['{"genre": "Jazz"}'])
    ] = None,
    source: Source = None,
) -> schemas.Registered:
    """Registers a recording. The same audio again is recognised (200), not doubled, and keeps what is known of it.

    What is not said is read from the file's tags; without a title there either, the file's name is taken.
    """
    said = {
        "title": title,
        "artist": artist,
        "album": album,
        "label": label,
        "rights_holder": rights_holder,
        "isrc": isrc,
        "iswc": iswc,
        "upc": upc,
        "territories": territories,
        "valid_from": valid_from,
        "valid_until": valid_until,
        "own_id": own_id,
        "fields": _object(fields) if fields else None,
    }
    details = validate_metadata({name: value for name, value in said.items() if value})
    name = safe_name(file.filename)
    async with on_disk(file) as path:
        known: dict[str, Any] = {"title": path.stem, **await asyncio.to_thread(tags.read, path), **details.given()}
        registered = await parts.catalog.add(path, Metadata(source=source or name, **known))
    if registered.known:
        response.status_code = 200
    return schemas.Registered(known=registered.known, track=await _with_family(parts, registered.track))


@router.get("")
async def list_tracks(
    parts: App,
    query: Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")] = None,
    status: Annotated[
        Literal["pending", "ready", "failed", "retiring", "retired"] | None, Query(description="Only those.")
    ] = None,
    limit: Limit = 100,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> list[schemas.Track]:
    """Tracks in the order of registration; `query` looks into names, rights holders, codes and own ids."""
    found = await parts.storage.tracks.list(query, limit, offset, status)
    kin = await parts.storage.families.members_of({track.id for track in found})
    return [schemas.Track.of(track, kin.get(track.id, ())) for track in found]


@router.get("/families")
async def list_families(parts: App, limit: Limit = 100) -> list[schemas.Family]:
    """Tracks near-identical to one another, in whole or in part; one that holds several may be in several families."""
    found = families(await parts.storage.families.relations())[:limit]
    members = await parts.storage.families.as_members({track for family in found for track in family})
    named = [[members[track] for track in family if track in members] for family in found]
    return [schemas.Family(tracks=schemas.FamilyMember.all_of(family)) for family in named if len(family) > 1]


@router.post("/rebuild")
async def rebuild(parts: App) -> StreamingResponse:
    """Re-embeds tracks of other models from their files and fills the index anew; a JSON line a re-embedded track."""

    async def steps() -> AsyncGenerator[schemas.Rebuilt, None]:
        async with aclosing(parts.catalog.rebuild()) as rebuilding:
            async for rebuilt in rebuilding:
                yield schemas.Rebuilt(track=schemas.Track.of(rebuilt.track), error=rebuilt.error)

    return lines(steps())


@router.get("/{track_id}")
async def read(parts: App, track_id: TrackId) -> schemas.Track:
    """One track."""
    track = await parts.storage.tracks.get(track_id)
    if track is None:
        raise NotFound(f"there is no track {track_id}")
    return await _with_family(parts, track)


@router.patch("/{track_id}")
async def edit(parts: App, track_id: TrackId, details: MetadataFields) -> schemas.Track:
    """Changes what is known of a track: what is said, and nothing else. Past matches keep what they had."""
    return await _with_family(parts, await parts.catalog.edit(track_id, details.given()))


@router.put("/{track_id}/audio")
async def replace(parts: App, track_id: TrackId, file: Upload, source: Source = None) -> schemas.Track:
    """Gives a track another recording. Its excluded intervals go, past matches stay as they were reported."""
    name = safe_name(file.filename)
    async with on_disk(file) as path:
        return await _with_family(parts, await parts.catalog.replace(track_id, path, source or name))


@router.put("/{track_id}/excluded")
async def exclude(
    parts: App, track_id: TrackId, excluded: Annotated[list[schemas.Excluded], Body(max_length=MAX_EXCLUDED)]
) -> schemas.Track:
    """Sets the intervals that never match, instead of those that were set. Takes effect at once, also on air."""
    return await _with_family(parts, await parts.catalog.exclude(track_id, [each.record() for each in excluded]))


@router.post("/{track_id}/retire")
async def retire(parts: App, track_id: TrackId) -> schemas.Track:
    """Takes a track out of matching and keeps all else: past matches stay, one on air ends, it can be restored."""
    return await _with_family(parts, await parts.catalog.retire(track_id))


@router.post("/{track_id}/restore")
async def restore(parts: App, track_id: TrackId) -> schemas.Track:
    """Takes a retired track back into matching, without its audio."""
    return await _with_family(parts, await parts.catalog.restore(track_id))


@router.delete("/{track_id}", status_code=204)
async def delete(parts: App, track_id: TrackId) -> None:
    """Takes a track out of the catalog. Its past matches stay, with the metadata they had."""
    await parts.catalog.delete(track_id)


async def _with_family(parts: Airtrace, track: Track) -> schemas.Track:
    found = await parts.storage.families.members_of({track.id})
    return schemas.Track.of(track, found.get(track.id, ()))


def _object(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MetadataError("fields", f"fields: a JSON object of texts is needed ({error})") from error
