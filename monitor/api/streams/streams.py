"""Streams: add, list, read, remove. Ingest processes notice changes within seconds."""

from __future__ import annotations

from fastapi import APIRouter

from ingest.sources import urls
from monitor.api.dependencies import App
from monitor.api.streams import schemas
from monitor.errors import Conflict, NotFound

router = APIRouter(prefix="/streams", tags=["streams"])


@router.post("", summary="Add a stream", status_code=201)
async def add(airtrace: App, stream: schemas.NewStream) -> schemas.Stream:
    """Starts monitoring a stream."""
    urls.check(stream.url)
    if await airtrace.storage.streams.add(stream.name, stream.url) is None:
        raise Conflict(f"there is already a stream named {stream.name!r}: remove it first, or choose another name")
    return await read(airtrace, stream.name)


@router.get("", summary="List streams")
async def list_streams(airtrace: App) -> list[schemas.Stream]:
    """Lists the monitored streams and their state."""
    now = schemas.utc_now()
    return [schemas.Stream.of(stream, now) for stream in await airtrace.storage.streams.list()]


@router.get("/{name}", summary="Read a stream")
async def read(airtrace: App, name: str) -> schemas.Stream:
    """Returns a stream and its state."""
    for stream in await list_streams(airtrace):
        if stream.name == name:
            return stream
    raise NotFound(f"there is no stream named {name!r}")


@router.delete("/{name}", summary="Remove a stream", status_code=204)
async def remove(airtrace: App, name: str) -> None:
    """Stops monitoring a stream. Its matches and coverage are kept."""
    if "\x00" in name or not await airtrace.storage.streams.remove(name):
        raise NotFound(f"there is no stream named {name!r}")
