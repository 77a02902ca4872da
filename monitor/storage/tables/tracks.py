"""The table of tracks: metadata, excluded intervals, and status of each reference recording."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from monitor.detect.detector import DetectorInfo
from monitor.errors import Conflict, IdTaken, SameAudio
from monitor.storage import rows
from monitor.storage.database import LOCK_TIMEOUT_S, Database, QueryRunner
from monitor.storage.records import Excluded, Fingerprint, IndexRow, Metadata, Track, mask_excluded

CATALOG_LOCK = 1095324242  # any constant that no other lock has


class TrackTable:
    """The tracks of the catalog. Their vectors are in `VectorTable`, written together with them where both change."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        sha256: bytes,
        n_samples: int,
        metadata: Metadata,
        fingerprint: Fingerprint,
        excluded: Sequence[Excluded] = (),
        others: Sequence[Fingerprint] = (),
        status: str = "pending",
    ) -> int | None:
        """Adds a track and returns its id; None if a track with this audio hash exists.

        Args:
            sha256: of the decoded audio.
            n_samples: length of the audio, in samples.
            metadata: what is known about the recording.
            fingerprint: vectors of the model in use.
            excluded: intervals that never match.
            others: vectors of other models.
            status: see `Track`.

        Raises:
            IdTaken: another track has the metadata's own_id.
        """
        try:
            async with self._database.transaction() as connection:
                values = (sha256, status, n_samples, *rows.from_metadata(metadata))
                track: int | None = await connection.fetchval("track_insert", *values)
                if track is not None:
                    await self._insert_excluded(connection, track, excluded)
                    for one in (fingerprint, *others):
                        await connection.execute("fingerprint_upsert", track, *rows.from_fingerprint(one, excluded))
                return track
        except Conflict as error:
            raise IdTaken(metadata.own_id) from error

    async def get(self, track: int) -> Track | None:
        """A track by its id."""
        row = await self._database.fetchrow("track", track)
        return rows.to_track(row) if row else None

    async def by_audio_hash(self, sha256: bytes) -> Track | None:
        """The track whose decoded audio has this SHA-256."""
        row = await self._database.fetchrow("track_by_audio_hash", sha256)
        return rows.to_track(row) if row else None

    async def by_file_hash(self, sha256: bytes) -> Track | None:
        """The track that was added from a file with this SHA-256 (see `remember_file_hash`)."""
        row = await self._database.fetchrow("track_by_file_hash", sha256)
        return rows.to_track(row) if row else None

    async def list(
        self, text: str | None = None, limit: int = 100, offset: int = 0, status: str | None = None
    ) -> Sequence[Track]:
        """Tracks whose metadata contains `text`, in the order of their ids."""
        return [rows.to_track(row) for row in await self._database.fetch("tracks", text, limit, offset, status)]

    async def list_after(self, track: int, limit: int) -> Sequence[Track]:
        """The next tracks after an id, in the order of their ids."""
        return [rows.to_track(row) for row in await self._database.fetch("tracks_after", track, limit)]

    async def count(self) -> int:
        """The number of ready tracks."""
        return int(await self._database.fetchval("tracks_count"))

    async def count_by_status(self) -> dict[str, int]:
        """The number of tracks in each status that occurs."""
        return {row["status"]: row["count"] for row in await self._database.fetch("tracks_by_status")}

    async def delete(self, track: int) -> bool:
        """Deletes a track and its vectors; False if there is none. Its matches stay, with its metadata."""
        return await self._database.execute("track_delete", track) > 0

    async def set_metadata(self, track: int, metadata: Metadata) -> bool:
        """Replaces a track's metadata; False if there is no such track.

        Raises:
            IdTaken: another track has the metadata's own_id.
        """
        try:
            return await self._database.fetchval("track_update", track, *rows.from_metadata(metadata)) is not None
        except Conflict as error:
            raise IdTaken(metadata.own_id) from error

    async def replace_audio(
        self, track: int, sha256: bytes, n_samples: int, source: str, fingerprint: Fingerprint
    ) -> None:
        """Gives a track another recording. Its excluded intervals, family and vectors of other models are deleted.

        Raises:
            SameAudio: another track has this audio.
        """
        try:
            async with self._database.transaction() as connection:
                await connection.execute("track_replace", track, sha256, n_samples, source)
                for query in ("exclusions_delete", "files_delete", "fingerprints_delete", "family_relations_delete"):
                    await connection.execute(query, track)
                await connection.execute("fingerprint_upsert", track, *rows.from_fingerprint(fingerprint))
        except Conflict as error:
            raise SameAudio(await self._database.fetchval("track_id_by_audio_hash", sha256)) from error

    async def set_excluded(self, track: int, excluded: Sequence[Excluded]) -> None:
        """Replaces the intervals that never match. The index must be updated, and relations searched again."""
        async with self._database.transaction() as connection:
            await connection.execute("exclusions_delete", track)
            await self._insert_excluded(connection, track, excluded)
            for row in await connection.fetch("fingerprints", track):
                masked = mask_excluded(rows.to_vectors(row), excluded, row["detector"])
                values = (row["detector"], row["checksum"], int(masked.any(axis=1).sum()))
                await connection.execute("fingerprint_audible", track, *values)
            await connection.execute("family_relations_delete", track)
            await connection.execute("track_increment_revision", track)

    async def _insert_excluded(self, connection: QueryRunner, track: int, excluded: Sequence[Excluded]) -> None:
        values = [(track, each.starts, each.ends, each.note) for each in excluded]
        await connection.executemany("exclusion_insert", values)

    async def remember_file_hash(self, sha256: bytes, track: int) -> None:
        """Stores that a file with this SHA-256 contains a track's audio, so that it need not be decoded again."""
        await self._database.execute("file_insert", sha256, track)

    # Status

    @asynccontextmanager
    async def catalog_lock(self, timeout_s: float = LOCK_TIMEOUT_S) -> AsyncIterator[None]:
        """Held while the index is synchronized with the catalog, by one process at a time."""
        async with self._database.connection() as connection:  # releasing it releases the lock, whatever happened
            await connection.execute("lock_session", CATALOG_LOCK, timeout_s=timeout_s)
            yield

    async def set_status(self, track: int, status: str, error: str | None = None) -> bool:
        """Sets a track's status; only ready tracks match. False if there is no such track."""
        return await self._database.fetchval("track_set_status", track, status, error) is not None

    async def set_pending(self, track: int) -> bool:
        """Excludes a track from matching until it is indexed; False if there is no such track."""
        return await self.set_status(track, "pending")

    async def set_indexed(self, row: IndexRow, info: DetectorInfo) -> None:
        """Stores that the index has a track's vectors as in `row`; a pending track becomes ready."""
        await self._database.execute("fingerprint_indexed", row.track, info.name, info.checksum, row.revision)
        await self._database.execute("track_indexed", row.track)

    async def pending(self) -> Sequence[int]:
        """Ids of the tracks that wait to be indexed."""
        return [row["id"] for row in await self._database.fetch("tracks_pending")]

    async def retiring(self) -> Sequence[int]:
        """Ids of the tracks that wait to be removed from the index."""
        return [row["id"] for row in await self._database.fetch("tracks_retiring")]

    async def revisions(self, tracks: Collection[int]) -> dict[int, int]:
        """The revisions of those tracks that are ready, by id. A track's revision changes with its vectors."""
        found = await self._database.fetch("tracks_revisions", list(tracks))
        return {row["id"]: row["revision"] for row in found}
