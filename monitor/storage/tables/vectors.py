"""The table of fingerprints: each track's exact vectors, for each model, and which of them are indexed."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from monitor.core.reference import Reference
from monitor.detect.detector import DetectorInfo
from monitor.storage import rows
from monitor.storage.database import Database, QueryRunner
from monitor.storage.records import Fingerprint, IndexRow, Track


class VectorTable:
    """Vectors by track and model, stored as float16. A model is identified by detector name and checksum."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def replace(self, track: int, fingerprint: Fingerprint) -> None:
        """Stores a model's vectors of a track beside those of other models.

        The track must be indexed again, and its relations searched again. A failed track becomes pending.
        """
        async with self._database.transaction() as connection:
            await connection.execute("family_relations_delete", track)
            await self._upsert(connection, track, fingerprint)
            await connection.execute("track_unfail", track)

    async def add(self, track: int, fingerprint: Fingerprint) -> None:
        """Stores a second detector's vectors of a track, which its status and family do not depend on."""
        async with self._database.transaction() as connection:
            await self._upsert(connection, track, fingerprint)

    async def _upsert(self, connection: QueryRunner, track: int, fingerprint: Fingerprint) -> None:
        excluded = rows.to_excluded(await connection.fetchval("track_excluded", track))
        await connection.execute("fingerprint_upsert", track, *rows.from_fingerprint(fingerprint, excluded))

    async def references(self, tracks: Collection[int], info: DetectorInfo) -> dict[int, Reference]:
        """The exact vectors of those tracks that are ready, zero in excluded intervals."""
        found = await self._database.fetch("fingerprints_ready", list(tracks), info.name, info.checksum)
        # As exact as float32: they are stored as float16.
        return {row["track_id"]: Reference(rows.to_masked_vectors(row, info.name).astype(np.float16)) for row in found}

    async def index_rows(self, tracks: Collection[int], info: DetectorInfo) -> list[IndexRow]:
        """What the index must contain of tracks, ready or not; tracks without vectors of this model are left out."""
        found = await self._database.fetch("fingerprints_of", list(tracks), info.name, info.checksum)
        return [
            IndexRow(row["track_id"], rows.to_masked_vectors(row, info.name), row["revision"], row["indexed"])
            for row in found
        ]

    async def fingerprints(self, track: int) -> list[tuple[Fingerprint, bytes]]:
        """A track's vectors of all models, each with the bytes as stored: float16, little endian."""
        found = await self._database.fetch("fingerprints", track)
        return [(Fingerprint(rows.to_info(row), rows.to_vectors(row)), row["vectors"]) for row in found]

    async def models(self) -> list[tuple[DetectorInfo, int, int]]:
        """The models that have vectors, each with the number of tracks and of vectors to index."""
        return [(rows.to_info(row), row["n"], row["vectors"]) for row in await self._database.fetch("models")]

    async def count_indexable(self, info: DetectorInfo) -> int:
        """The number of vectors that the index of a model must contain."""
        return int(await self._database.fetchval("vectors_indexable", info.name, info.checksum))

    async def segment_counts(self, first: int, limit: int, info: DetectorInfo) -> list[tuple[int, int]]:
        """The next tracks with an id of at least `first`, each with its number of vectors of the model."""
        found = await self._database.fetch("segment_counts", first, limit, info.name, info.checksum)
        return [(row["id"], row["n_segments"]) for row in found]

    async def set_indexed(self, row: IndexRow, info: DetectorInfo) -> None:
        """Stores that the index has a second detector's vectors of a track as in `row`."""
        await self._database.execute("fingerprint_indexed", row.track, info.name, info.checksum, row.revision)

    async def ready_tracks(self, info: DetectorInfo) -> list[int]:
        """Ids of the ready tracks that have vectors of a model."""
        return [row["id"] for row in await self._database.fetch("tracks_ready", info.name, info.checksum)]

    async def searchable_tracks(self, info: DetectorInfo) -> dict[int, int]:
        """The revision of each ready track that has vectors of a model, by its id, in the order of the ids."""
        found = await self._database.fetch("searchable_tracks", info.name, info.checksum)
        return {row["id"]: row["revision"] for row in found}

    async def searchable_state(self, info: DetectorInfo) -> str:
        """A text that changes whenever `searchable_tracks` changes."""
        return str(await self._database.fetchval("searchable_state", info.name, info.checksum))

    async def unindexed_tracks(self, info: DetectorInfo) -> list[int]:
        """Ids of the ready tracks whose current vectors are not indexed."""
        return [row["id"] for row in await self._database.fetch("tracks_unindexed", info.name, info.checksum)]

    async def tracks_without(self, info: DetectorInfo, after: int, limit: int) -> list[Track]:
        """The next ready tracks after an id that have no vectors of a model, in the order of their ids."""
        found = await self._database.fetch("tracks_without_vectors", info.name, info.checksum, after, limit)
        return [rows.to_track(row) for row in found]

    async def tracks_of_other_models(self, info: DetectorInfo, *, failed: bool = False) -> list[Track]:
        """Tracks without vectors of a model; those that failed or are retired only with `failed`."""
        found = await self._database.fetch("tracks_other_model", info.name, info.version, info.checksum, failed)
        return [rows.to_track(row) for row in found]

    async def prune(self, info: DetectorInfo) -> int:
        """Deletes the vectors of a detector's other models for tracks that have those of `info`.

        Returns the number of deleted fingerprints.
        """
        return await self._database.execute("fingerprints_prune", info.name, info.checksum)
