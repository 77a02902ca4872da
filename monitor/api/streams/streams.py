"""Streams: add, list, read, remove. Ingest processes notice changes within seconds."""

from __future__ import annotations

from fastapi import APIRouter

from ingest.sources import urls
from monitor.api.dependencies import App
from monitor.api.streams import schemas
from monitor.api.streams.running import Now
from monitor.errors import Conflict, NotFound

router = APIRouter(prefix="/streams", tags=["streams"])


@router.post("", summary="Add a stream", status_code=201)
async def add(airtrace: App, now: Now, stream: schemas.NewStream) -> schemas.AddedStream:
    """Starts monitoring a stream, even if matching has no room for it; the answer then carries a warning."""
    urls.check(stream.url)
    if await airtrace.storage.streams.add(stream.name, stream.url) is None:
        raise Conflict(f"there is already a stream named {stream.name!r}: remove it first, or choose another name")
    streams = await list_streams(airtrace, now)
    added = _named(streams, stream.name)
    return schemas.AddedStream(**added.model_dump(), warning=now.warning_at(schemas.summary(streams)))


@router.get("", summary="List streams")
async def list_streams(airtrace: App, now: Now) -> list[schemas.Stream]:
    """Lists the monitored streams and their state."""
    instant = schemas.utc_now()
    return [schemas.Stream.of(stream, instant, now) for stream in await airtrace.storage.streams.list()]


@router.get("/{name}", summary="Read a stream")
async def read(airtrace: App, now: Now, name: str) -> schemas.Stream:
    """Returns a stream and its state."""
    return _named(await list_streams(airtrace, now), name)


@router.delete("/{name}", summary="Remove a stream", status_code=204)
async def remove(airtrace: App, name: str) -> None:
    """Stops monitoring a stream. Its matches and coverage are kept."""
    if "\x00" in name or not await airtrace.storage.streams.remove(name):
        raise NotFound(f"there is no stream named {name!r}")


def _named(streams: list[schemas.Stream], name: str) -> schemas.Stream:
    for stream in streams:
        if stream.name == name:
            return stream
    raise NotFound(f"there is no stream named {name!r}")
