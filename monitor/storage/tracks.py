"""The catalog in PostgreSQL: tracks, their vectors, what the index has of them, and their families.

A base of monitor/storage/matches.py's Store, which opens the pool and has everything else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray

from monitor.core.families import FamilyRelation, RelatedTrack
from monitor.core.reference import Reference
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.detect.detector import DetectorInfo
from monitor.errors import IdTaken, SameAudio
from monitor.storage.records import Excluded, FamilyMember, Fingerprint, Metadata, Track, mask_excluded
from monitor.storage.sql import queries

CATALOG_LOCK = 1095324242  # any constant but the one of migrations
MAX_FAMILY = 50  # members that are named beside a track; who has more versions of one recording knows
LOCK_TIMEOUT_S = 3600  # for locks and migrations: another process may be filling a large index


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A track's vectors as the index must have them, float32 (k, dimensions), zero where nothing is to match.

    revision: of the track; indexed: the revision that the index has, 0 for none.
    """

    track: int
    vectors: NDArray[np.float32]
    revision: int
    indexed: int


class CatalogStore:
    """Tracks and their vectors, behind a pool."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._sql = queries()

    # Tracks

    async def add_track(
        self,
        sha256: bytes,
        n_samples: int,
        metadata: Metadata,
        fingerprint: Fingerprint,
        excluded: Sequence[Excluded] = (),
        others: Sequence[Fingerprint] = (),
        status: str = "pending",
    ) -> int | None:
        """Stores a new track, with `others`: vectors of other models; None when audio with this hash is there already.

        Raises:
            IdTaken: another track has the metadata's own_id.
        """
        async with self._pool.acquire() as connection:
            try:
                async with connection.transaction():
                    values = (sha256, status, n_samples, *_columns(metadata))
                    track: int | None = await connection.fetchval(self._sql["track_insert"], *values)
                    if track is not None:
                        await self._exclude(connection, track, excluded)
                        for one in (fingerprint, *others):
                            await connection.execute(self._sql["fingerprint_upsert"], track, *_blob(one, excluded))
                    return track
            except asyncpg.UniqueViolationError as error:
                raise IdTaken(metadata.own_id) from error

    async def set_metadata(self, track: int, metadata: Metadata) -> bool:
        """Stores what is known of a track besides its sound; False when there is no such track.

        Raises:
            IdTaken: another track has the metadata's own_id.
        """
        try:
            return await self._pool.fetchval(self._sql["track_update"], track, *_columns(metadata)) is not None
        except asyncpg.UniqueViolationError as error:
            raise IdTaken(metadata.own_id) from error

    async def replace_fingerprint(self, track: int, fingerprint: Fingerprint) -> None:
        """Stores a model's vectors of a track beside other models'; the index has to get them, kin are to be sought."""
        async with self._pool.acquire() as connection, connection.transaction():
            excluded = _excluded(await connection.fetchval(self._sql["track_excluded"], track))
            await connection.execute(self._sql["family_relations_delete"], track)
            await connection.execute(self._sql["fingerprint_upsert"], track, *_blob(fingerprint, excluded))
            await connection.execute(self._sql["track_mended"], track)

    async def replace_audio(
        self, track: int, sha256: bytes, n_samples: int, source: str, fingerprint: Fingerprint
    ) -> None:
        """Gives a track another recording; vectors of other models, exclusions and kin were of the old one and go.

        Raises:
            SameAudio: another track has this audio.
        """
        async with self._pool.acquire() as connection:
            try:
                async with connection.transaction():
                    await connection.execute(self._sql["track_replace"], track, sha256, n_samples, source)
                    for query in (
                        "exclusions_delete",
                        "files_delete",
                        "fingerprints_delete",
                        "family_relations_delete",
                    ):
                        await connection.execute(self._sql[query], track)
                    await connection.execute(self._sql["fingerprint_upsert"], track, *_blob(fingerprint))
            except asyncpg.UniqueViolationError as error:
                raise SameAudio(await connection.fetchval(self._sql["track_of_audio"], sha256)) from error

    async def exclude(self, track: int, excluded: Sequence[Excluded]) -> None:
        """Sets the intervals that never match; the index has to follow, kin are to be sought anew."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(self._sql["exclusions_delete"], track)
            await self._exclude(connection, track, excluded)
            for row in await connection.fetch(self._sql["fingerprints"], track):
                left = int(mask_excluded(_vectors(row), excluded, row["detector"]).any(axis=1).sum())
                await connection.execute(
                    self._sql["fingerprint_audible"], track, row["detector"], row["checksum"], left
                )
            await connection.execute(self._sql["family_relations_delete"], track)
            await connection.execute(self._sql["track_revise"], track)

    async def _exclude(self, connection: Any, track: int, excluded: Sequence[Excluded]) -> None:
        rows = [(track, each.starts, each.ends, each.note) for each in excluded]
        await connection.executemany(self._sql["exclusion_insert"], rows)

    async def know_file(self, sha256: bytes, track: int) -> None:
        """Remembers that a file's bytes are a track's audio."""
        await self._pool.execute(self._sql["file_insert"], sha256, track)

    async def track_of_file(self, sha256: bytes) -> Track | None:
        """The track whose audio a file's bytes are, if that is known."""
        row = await self._pool.fetchrow(self._sql["track_of_file"], sha256)
        return _track(row) if row else None

    async def track(self, track: int) -> Track | None:
        row = await self._pool.fetchrow(self._sql["track"], track)
        return _track(row) if row else None

    async def track_by_sha256(self, sha256: bytes) -> Track | None:
        row = await self._pool.fetchrow(self._sql["track_by_sha256"], sha256)
        return _track(row) if row else None

    async def tracks(
        self, text: str | None = None, limit: int = 100, offset: int = 0, status: str | None = None
    ) -> list[Track]:
        return [_track(row) for row in await self._pool.fetch(self._sql["tracks"], text, limit, offset, status)]

    async def tracks_after(self, track: int, limit: int) -> list[Track]:
        """The next tracks in the order of their ids."""
        return [_track(row) for row in await self._pool.fetch(self._sql["tracks_after"], track, limit)]

    async def delete_track(self, track: int) -> bool:
        deleted: str = await self._pool.execute(self._sql["track_delete"], track)
        return deleted != "DELETE 0"

    async def count_tracks(self) -> int:
        return int(await self._pool.fetchval(self._sql["tracks_count"]))

    async def count_by_status(self) -> dict[str, int]:
        return {row["status"]: row["count"] for row in await self._pool.fetch(self._sql["tracks_by_status"])}

    # Where a track stands

    @asynccontextmanager
    async def catalog_lock(self) -> AsyncIterator[None]:
        """Held while index and catalog are brought into step, by one process at a time."""
        async with self._pool.acquire() as connection:  # whose release gives the lock back, whatever happened
            await connection.execute("select pg_advisory_lock($1)", CATALOG_LOCK, timeout=LOCK_TIMEOUT_S)
            yield

    async def mark(self, track: int, status: str, error: str | None = None) -> bool:
        """Sets where a track stands: one that is not ready is not matched; False when there is no such track."""
        return await self._pool.fetchval(self._sql["track_status"], track, status, error) is not None

    async def mark_pending(self, track: int) -> bool:
        """Takes a track out of matching until the index has it; False when there is no such track."""
        return await self.mark(track, "pending")

    async def mark_indexed(self, done: IndexRow, info: DetectorInfo) -> None:
        """Says that the index has a track as it was given; one that waited for that is ready."""
        await self.mark_vectors_indexed(done, info)
        await self._pool.execute(self._sql["track_indexed"], done.track)

    async def pending_tracks(self) -> list[int]:
        return [row["id"] for row in await self._pool.fetch(self._sql["tracks_pending"])]

    async def retiring_tracks(self) -> list[int]:
        return [row["id"] for row in await self._pool.fetch(self._sql["tracks_retiring"])]

    async def ready_tracks(self, info: DetectorInfo) -> list[int]:
        rows = await self._pool.fetch(self._sql["tracks_ready"], info.name, info.checksum)
        return [row["id"] for row in rows]

    async def unindexed_tracks(self, info: DetectorInfo) -> list[int]:
        """Ready tracks that the index has not as they are now."""
        rows = await self._pool.fetch(self._sql["tracks_unindexed"], info.name, info.checksum)
        return [row["id"] for row in rows]

    # Vectors

    async def tracks_of_other_models(self, info: DetectorInfo, *, failed: bool = False) -> list[Track]:
        """Tracks that have no vectors of this model; those that failed only if asked for."""
        rows = await self._pool.fetch(self._sql["tracks_other_model"], info.name, info.version, info.checksum, failed)
        return [_track(row) for row in rows]

    async def audible_segments(self, info: DetectorInfo) -> int:
        """How many vectors the index must hold."""
        return int(await self._pool.fetchval(self._sql["audible_segments"], info.name, info.checksum))

    async def references(self, tracks: Collection[int], info: DetectorInfo) -> dict[int, Reference]:
        """The exact vectors of those of the tracks that are in the catalog, silent where nothing is to match."""
        rows = await self._pool.fetch(self._sql["fingerprints_ready"], list(tracks), info.name, info.checksum)
        return {
            row["track_id"]: Reference(mask_excluded(_vectors(row), _excluded(row["excluded"]), info.name))
            for row in rows
        }

    async def indexables(self, tracks: Collection[int], info: DetectorInfo) -> list[IndexRow]:
        """What the index must have of tracks, ready or not; those without vectors of this model are left out."""
        rows = await self._pool.fetch(self._sql["fingerprints_of"], list(tracks), info.name, info.checksum)
        return [
            IndexRow(
                row["track_id"],
                mask_excluded(_vectors(row), _excluded(row["excluded"]), info.name),
                row["revision"],
                row["indexed"],
            )
            for row in rows
        ]

    async def fingerprints(self, track: int) -> list[tuple[Fingerprint, bytes]]:
        """All vectors that are stored of a track, and how they are stored: float16, little endian."""
        rows = await self._pool.fetch(self._sql["fingerprints"], track)
        return [(Fingerprint(_info(row), _vectors(row)), row["vectors"]) for row in rows]

    async def heads(self, first: int, limit: int, info: DetectorInfo) -> list[tuple[int, int]]:
        """The next tracks from `first` on, each with how many vectors of the model are stored."""
        rows = await self._pool.fetch(self._sql["tracks_heads"], first, limit, info.name, info.checksum)
        return [(row["id"], row["n_segments"]) for row in rows]

    async def models(self) -> list[tuple[DetectorInfo, int, int]]:
        """The models of which vectors are stored, of how many tracks, and how many vectors."""
        rows = await self._pool.fetch(self._sql["models"])
        return [(_info(row), row["n"], row["vectors"]) for row in rows]

    async def add_vectors(self, track: int, fingerprint: Fingerprint) -> None:
        """Stores a further detector's vectors of a track, whose standing and kin do not depend on them."""
        async with self._pool.acquire() as connection, connection.transaction():
            excluded = _excluded(await connection.fetchval(self._sql["track_excluded"], track))
            await connection.execute(self._sql["fingerprint_upsert"], track, *_blob(fingerprint, excluded))

    async def mark_vectors_indexed(self, done: IndexRow, info: DetectorInfo) -> None:
        """Says that the index has a further detector's vectors of a track as they were given."""
        values = (done.track, info.name, info.checksum, done.revision)
        await self._pool.execute(self._sql["fingerprint_indexed"], *values)

    async def tracks_without_vectors(self, info: DetectorInfo, after: int, limit: int) -> list[Track]:
        """Ready tracks that have no vectors of this model, in the order of their ids, those behind `after`."""
        rows = await self._pool.fetch(self._sql["tracks_without_vectors"], info.name, info.checksum, after, limit)
        return [_track(row) for row in rows]

    async def prune(self, info: DetectorInfo) -> int:
        """Deletes what other models of this detector left of tracks that have this one's; how many vectors' blobs."""
        deleted: str = await self._pool.execute(self._sql["fingerprints_prune"], info.name, info.checksum)
        return int(deleted.split()[-1])

    async def revisions(self, tracks: Collection[int]) -> dict[int, int]:
        """Those of the tracks that are ready, each with its revision: other vectors have another."""
        rows = await self._pool.fetch(self._sql["tracks_revisions"], list(tracks))
        return {row["id"]: row["revision"] for row in rows}

    # Families

    async def unrelated_tracks(self, info: DetectorInfo, limit: int | None = None) -> list[int]:
        """Tracks whose kin have not been looked for, at most `limit`."""
        rows = await self._pool.fetch(self._sql["tracks_without_known_family"], info.name, info.checksum, limit)
        return [row["id"] for row in rows]

    async def relate(self, track: int, kin: Collection[RelatedTrack], info: DetectorInfo) -> None:
        """Stores what was found when a track's kin were looked for; what others found of it stays."""
        rows: list[tuple[int, int, float, float, bool]] = []
        for each in kin:
            rows.append((track, each.track, each.share, each.speed, each.is_part))
            rows.append((each.track, track, each.kin_share, 1 / each.speed, each.is_part))
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.executemany(self._sql["family_relation_upsert"], rows)
            await connection.execute(self._sql["fingerprint_family_known"], track, info.name, info.checksum)

    async def families(self, tracks: Collection[int]) -> dict[int, list[FamilyMember]]:
        """The other members of each track's family, of those that have one; the first MAX_FAMILY."""
        found: defaultdict[int, list[FamilyMember]] = defaultdict(list)
        if tracks:
            for row in await self._pool.fetch(self._sql["families"], list(tracks), MAX_FAMILY):
                found[row["root"]].append(_member(row))
        return dict(found)

    async def kinships(self) -> list[FamilyRelation]:
        """All pairs of kin."""
        rows = await self._pool.fetch(self._sql["family_relations"])
        return [FamilyRelation(row["track_id"], row["member_id"], row["part"]) for row in rows]

    async def members(self, tracks: Collection[int]) -> dict[int, FamilyMember]:
        """Tracks by their ids, those that are there."""
        rows = await self._pool.fetch(self._sql["tracks_named"], list(tracks))
        return {row["id"]: _member(row) for row in rows}


def _columns(known: Metadata) -> Sequence[object]:
    named = (known.title, known.artist, known.album, known.isrc, known.source, known.label, known.rights_holder)
    when = (known.iswc, known.upc, list(known.territories), known.valid_from, known.valid_until)
    return *named, *when, known.own_id, dict(known.fields)


def _blob(fingerprint: Fingerprint, excluded: Sequence[Excluded] = ()) -> Sequence[object]:
    info, vectors = fingerprint.info, fingerprint.vectors
    audible = int(mask_excluded(vectors, excluded, info.name).any(axis=1).sum())
    blob = vectors.astype("<f2").tobytes()
    return info.name, info.version, info.checksum, len(vectors), audible, info.dimensions, blob


def _info(row: Any) -> DetectorInfo:
    return DetectorInfo(row["detector"], row["version"], row["checksum"], row["dimensions"])


def _vectors(row: Any) -> NDArray[np.float32]:
    shape = (row["n_segments"], row["dimensions"])
    return np.frombuffer(row["vectors"], "<f2").reshape(shape).astype(np.float32)


def _excluded(rows: Sequence[Sequence[Any]]) -> tuple[Excluded, ...]:
    return tuple(Excluded(*row) for row in rows)


def _track(row: Any) -> Track:
    return Track(
        id=row["id"],
        status=row["status"],
        metadata=Metadata(
            title=row["title"],
            source=row["source"],
            artist=row["artist"],
            album=row["album"],
            isrc=row["isrc"],
            label=row["label"],
            rights_holder=row["rights_holder"],
            iswc=row["iswc"],
            upc=row["upc"],
            territories=tuple(row["territories"]),
            valid_from=row["valid_from"],
            valid_until=row["valid_until"],
            own_id=row["own_id"],
            fields=row["fields"],
        ),
        duration_s=row["n_samples"] / SAMPLE_RATE_HZ,
        added_at=row["added_at"],
        sha256=row["audio_sha256"],
        excluded=_excluded(row["excluded"]),
        detectors=tuple(row["detectors"]),
        error=row["error"],
    )


def _member(row: Any) -> FamilyMember:
    return FamilyMember(row["id"], row["title"], row["artist"], row["source"])
