"""Streams: add, list, remove. Readers notice within seconds."""

from __future__ import annotations

from fastapi import APIRouter

from ingest.sources import urls
from monitor.api.dependencies import App
from monitor.api.streams import schemas
from monitor.errors import Conflict, NotFound

router = APIRouter(prefix="/streams", tags=["streams"])


@router.post("", status_code=201)
async def add(parts: App, stream: schemas.NewStream) -> schemas.Stream:
    """Starts to monitor a feed."""
    urls.check(stream.url)
    if await parts.storage.streams.add(stream.name, stream.url) is None:
        raise Conflict(f"there is a stream named {stream.name!r} already: remove it first, or choose another name")
    return await read(parts, stream.name)


@router.get("")
async def list_streams(parts: App) -> list[schemas.Stream]:
    """All streams that are monitored, and how they are now."""
    now = schemas.utc_now()
    return [schemas.Stream.of(stream, now) for stream in await parts.storage.streams.list()]


@router.get("/{name}")
async def read(parts: App, name: str) -> schemas.Stream:
    """One stream."""
    for stream in await list_streams(parts):
        if stream.name == name:
            return stream
    raise NotFound(f"there is no stream named {name!r}")


@router.delete("/{name}", status_code=204)
async def remove(parts: App, name: str) -> None:
    """Stops to monitor a feed. Its matches and coverage stay."""
    if "\x00" in name or not await parts.storage.streams.remove(name):
        raise NotFound(f"there is no stream named {name!r}")
