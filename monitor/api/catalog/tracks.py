"""Tracks: add, list, read, edit, replace, exclude, retire, restore, delete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Body, Depends, File, Form, Path, Query, Response, UploadFile
from fastapi.responses import StreamingResponse

from monitor.api.catalog import schemas
from monitor.api.dependencies import App, Limit
from monitor.api.ndjson import lines
from monitor.api.uploads import on_disk, safe_name
from monitor.catalog import tags
from monitor.catalog.metadata import MetadataFields, validate_metadata
from monitor.core.families import group_families
from monitor.errors import MetadataError, NotFound
from monitor.parts import Airtrace
from monitor.storage.records import Metadata, Track

router = APIRouter(prefix="/tracks", tags=["tracks"])

TrackId = Annotated[int, Path(ge=1, le=2**63 - 1)]
Text = Annotated[str | None, Form(max_length=500, pattern=r"^[^\x00]*$")]
Upload = Annotated[UploadFile, File(description="An audio file of any kind that ffmpeg or libsndfile reads.")]
Source = Annotated[str | None, Form(max_length=4000, pattern=r"^[^\x00]*$")]
MAX_EXCLUDED = 1000


def _metadata(
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
        str | None,
        Form(max_length=200_000, description="A JSON object whose values are strings.", examples=['{"genre": "Jazz"}']),
    ] = None,
) -> MetadataFields:
    """The metadata in a form; empty fields count as not given."""
    given = {
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
    return validate_metadata({name: value for name, value in given.items() if value})


MetadataForm = Annotated[MetadataFields, Depends(_metadata)]


@router.post("", summary="Add a track", status_code=201)
async def add(
    airtrace: App,
    response: Response,
    file: Upload,
    metadata: MetadataForm,
    source: Source = None,
) -> schemas.Registered:
    """Registers a recording. Audio that is in the catalog already returns 200 and its unchanged track.

    Missing metadata is read from the file's tags. Without a title there, the title is the file's name.
    """
    name = safe_name(file.filename)
    async with on_disk(file) as path:
        known: dict[str, Any] = {"title": path.stem, **await asyncio.to_thread(tags.read, path), **metadata.given()}
        registered = await airtrace.catalog.add(path, Metadata(source=source or name, **known))
    if registered.known:
        response.status_code = 200
    return schemas.Registered(known=registered.known, track=await _with_family(airtrace, registered.track))


@router.get("", summary="List tracks")
async def list_tracks(
    airtrace: App,
    query: Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")] = None,
    status: Annotated[
        Literal["pending", "ready", "failed", "retiring", "retired"] | None,
        Query(description="Only tracks with this status."),
    ] = None,
    limit: Limit = 100,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> list[schemas.Track]:
    """Lists tracks in the order of registration. `query` searches names, rights holders, identifiers and own ids."""
    found = await airtrace.storage.tracks.list(query, limit, offset, status)
    members = await airtrace.storage.families.members_of({track.id for track in found})
    return [schemas.Track.of(track, members.get(track.id, ())) for track in found]


@router.get("/families", summary="List families of tracks")
async def list_families(airtrace: App, limit: Limit = 100) -> list[schemas.Family]:
    """Lists groups of nearly identical tracks. A track that contains several others may be in several groups."""
    found = group_families(await airtrace.storage.families.relations())[:limit]
    members = await airtrace.storage.families.as_members({track for family in found for track in family})
    named = [[members[track] for track in family if track in members] for family in found]
    return [schemas.Family(tracks=schemas.FamilyMember.all_of(family)) for family in named if len(family) > 1]


@router.post("/rebuild", summary="Rebuild the tracks of previous models")
async def rebuild(airtrace: App) -> StreamingResponse:
    """Embeds tracks of previous models again, from their files, and rebuilds the index. Streams a line per track."""

    async def steps() -> AsyncGenerator[schemas.RebuiltTrack, None]:
        async with aclosing(airtrace.catalog.rebuild()) as rebuilding:
            async for rebuilt in rebuilding:
                yield schemas.RebuiltTrack(track=schemas.Track.of(rebuilt.track), error=rebuilt.error)

    return lines(steps())


@router.get("/{track_id}", summary="Read a track")
async def read(airtrace: App, track_id: TrackId) -> schemas.Track:
    """Returns a track."""
    track = await airtrace.storage.tracks.get(track_id)
    if track is None:
        raise NotFound(f"there is no track {track_id}")
    return await _with_family(airtrace, track)


@router.patch("/{track_id}", summary="Edit a track's metadata")
async def edit(airtrace: App, track_id: TrackId, metadata: MetadataFields) -> schemas.Track:
    """Changes the given fields of a track's metadata. Past matches keep the old metadata."""
    return await _with_family(airtrace, await airtrace.catalog.edit(track_id, metadata.given()))


@router.put("/{track_id}/audio", summary="Replace a track's audio")
async def replace(airtrace: App, track_id: TrackId, file: Upload, source: Source = None) -> schemas.Track:
    """Replaces a track's audio. Its excluded intervals are removed; past matches do not change."""
    name = safe_name(file.filename)
    async with on_disk(file) as path:
        return await _with_family(airtrace, await airtrace.catalog.replace(track_id, path, source or name))


@router.put("/{track_id}/excluded", summary="Exclude intervals of a track")
async def exclude(
    airtrace: App, track_id: TrackId, excluded: Annotated[list[schemas.ExcludedInterval], Body(max_length=MAX_EXCLUDED)]
) -> schemas.Track:
    """Sets the excluded intervals, which never match, replacing earlier ones. Takes effect at once, even on air."""
    return await _with_family(airtrace, await airtrace.catalog.exclude(track_id, [each.record() for each in excluded]))


@router.post("/{track_id}/retire", summary="Retire a track")
async def retire(airtrace: App, track_id: TrackId) -> schemas.Track:
    """Stops matching a track, until it is restored. A match on air ends; past matches are kept."""
    return await _with_family(airtrace, await airtrace.catalog.retire(track_id))


@router.post("/{track_id}/restore", summary="Restore a track")
async def restore(airtrace: App, track_id: TrackId) -> schemas.Track:
    """Matches a retired track again. Needs no audio."""
    return await _with_family(airtrace, await airtrace.catalog.restore(track_id))


@router.delete("/{track_id}", summary="Delete a track", status_code=204)
async def delete(airtrace: App, track_id: TrackId) -> None:
    """Deletes a track. Its past matches are kept with their metadata."""
    await airtrace.catalog.delete(track_id)


async def _with_family(airtrace: Airtrace, track: Track) -> schemas.Track:
    found = await airtrace.storage.families.members_of({track.id})
    return schemas.Track.of(track, found.get(track.id, ()))


def _object(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MetadataError("fields", f"fields: not a JSON object of strings ({error})") from error
