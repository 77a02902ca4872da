"""The catalog as a whole: what it has, verify, rebuild, prune, export, import. Long answers are a JSON line a step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, File, Query, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from monitor.api.dependencies import App
from monitor.api.ndjson import NDJSON, lines
from monitor.api.uploads import on_disk
from monitor.catalog import transfer
from monitor.catalog.importing import import_file
from monitor.catalog.index_check import CheckProgress, Difference, IndexCheck

router = APIRouter(prefix="/catalog", tags=["catalog"])


class Model(BaseModel):
    """Weights of which vectors are stored."""

    detector: str
    version: str
    checksum: str
    tracks: int
    vectors: int


class About(BaseModel):
    """What the catalog and its index have."""

    tracks: dict[str, int] = Field(description="How many, by status.")
    models: list[Model]
    index: str = Field(description="Kind of the index.")
    collection: str
    vectors_wanted: int = Field(description="Of ready tracks, silence and excluded intervals left out.")
    vectors_indexed: int


class Pruned(BaseModel):
    """What was deleted."""

    fingerprints: int


class Import(BaseModel):
    """What became of one track of a file."""

    line: int
    title: str | None
    status: str = Field(description="added, known or failed")
    track: int | None
    reason: str | None
    error: str | None


@router.get("")
async def about(parts: App) -> About:
    """What the catalog has, and whether the index holds as many vectors."""
    info = parts.matcher.detector.info
    models = [
        Model(detector=each.name, version=each.version, checksum=each.checksum, tracks=tracks, vectors=vectors)
        for each, tracks, vectors in await parts.storage.vectors.models()
    ]
    return About(
        tracks=await parts.storage.tracks.count_by_status(),
        models=models,
        index=parts.index.kind,
        collection=parts.index.collection,
        vectors_wanted=await parts.storage.vectors.count_indexable(info),
        vectors_indexed=await parts.index.count(),
    )


@router.post("/verify")
async def check(
    parts: App, repair: Annotated[bool, Query(description="Repair what is found, from PostgreSQL.")] = False
) -> StreamingResponse:
    """Compares the index with PostgreSQL, vector by vector: lines of progress, and one for each difference."""

    async def steps() -> AsyncGenerator[dict[str, Any], None]:
        check = IndexCheck(parts.storage, parts.index, parts.catalog.index_sync, parts.matcher.detector.info)
        async for step in check.run(repair=repair):
            match step:
                case CheckProgress(done, total):
                    yield {"done": done, "total": total}
                case Difference(track, kind, vectors, repaired):
                    yield {"track": track, "difference": kind, "vectors": vectors, "repaired": repaired}

    return lines(steps())


@router.post("/rebuild")
async def rebuild(parts: App) -> StreamingResponse:
    """Builds the index anew from the stored vectors, beside the one in use; searches go on. Lines of progress."""

    async def steps() -> AsyncGenerator[dict[str, Any], None]:
        index_sync = parts.catalog.index_sync
        async with index_sync.lock():
            yield {"done": 0, "total": await parts.storage.tracks.count()}
            async for step in index_sync.rebuild():
                yield {"done": step.done, "total": step.total}
            await index_sync.resume()

    return lines(steps())


@router.post("/prune")
async def prune(parts: App) -> Pruned:
    """Deletes the vectors that models of the past have left of tracks that have the present one's."""
    return Pruned(fingerprints=await parts.storage.vectors.prune(parts.matcher.detector.info))


@router.get("/export")
async def export(parts: App) -> StreamingResponse:
    """The whole catalog with its fingerprints as one file: what `POST /catalog/import` takes, anywhere."""
    headers = {"Content-Disposition": 'attachment; filename="catalog.ndjson"'}
    return StreamingResponse(transfer.export_lines(parts.storage), media_type=NDJSON, headers=headers)


@router.post("/import")
async def import_catalog(
    parts: App, file: Annotated[UploadFile, File(description="What an export gave; gzip is understood.")]
) -> list[Import]:
    """Takes over tracks from a file, once its sum is right. Audio that is known stays as it is."""
    async with on_disk(file) as path:
        await asyncio.to_thread(transfer.check_file, path)
        found = [Import.model_validate(each, from_attributes=True) async for each in import_file(parts.catalog, path)]
    await parts.catalog.find_families(
        [each.track for each in found if each.status == "added" and each.track is not None]
    )
    await parts.catalog.count()
    return found
