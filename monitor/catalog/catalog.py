"""The catalog: registers, edits, replaces, retires, restores, deletes and re-embeds tracks.

A track is written to PostgreSQL, then to Milvus, and only then becomes ready. An index with fewer vectors than the
ready tracks have was therefore lost or damaged. The families of new tracks are found last, for several tracks at once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import structlog

from monitor import metrics
from monitor.audio import decode
from monitor.catalog import transfer
from monitor.catalog.embedding import MAX_TRACK_S, EmbeddedFile, FileEmbedder, file_sha256
from monitor.catalog.family_finder import BATCH_TRACKS, FamilyFinder, log_and_continue
from monitor.catalog.index_sync import IndexSync
from monitor.catalog.transfer import ExportedTrack
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.detect.detector import Detector
from monitor.errors import AirtraceError, AudioError, Conflict, MetadataError, ModelMismatch, NotFound
from monitor.storage.memory_index import MemoryIndex
from monitor.storage.milvus import Index
from monitor.storage.records import Excluded, Metadata, Track
from monitor.storage.storage import Storage

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Registered:
    """A track of the catalog, and whether it was in the catalog before."""

    track: Track
    known: bool


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The result of re-embedding one track; `error` is None on success."""

    track: Track
    error: str | None


class SecondDetector(Protocol):
    """A further detector that follows the catalog (monitor/similarity). Tracks do not depend on it."""

    async def enroll_new(self, track: Track, path: Path) -> None:
        """Called when a track is new or has another recording. Never fails."""

    async def forget(self, track: int) -> None:
        """Called when a track was deleted."""


class Catalog:
    """Tracks in PostgreSQL, with their vectors in Milvus.

    All methods that change a track raise DependencyError if PostgreSQL or Milvus is unreachable.
    """

    def __init__(
        self,
        storage: Storage,
        index: Index,
        detector: Detector,
        executor: Executor,
        *,
        memory_index: MemoryIndex | None = None,
        second_detector: SecondDetector | None = None,
        max_s: float = MAX_TRACK_S,
        family_batch_tracks: int = BATCH_TRACKS,
    ) -> None:
        """Stores the parts; opens nothing.

        Args:
            storage: the tables.
            index: the open index of the detector's vectors.
            detector: makes the fingerprints.
            executor: runs the detector.
            memory_index: answers searches in place of the index.
            second_detector: follows new, replaced and deleted tracks.
            max_s: longest recording accepted, in seconds.
            family_batch_tracks: most tracks whose families are found at once.
        """
        self._storage = storage
        self._info = detector.info
        self._embedder = FileEmbedder(detector, executor, max_s)
        self._family_finder = FamilyFinder(storage, memory_index or index, detector, executor)
        self._family_batch_tracks = family_batch_tracks
        self._second_detector = second_detector
        self._adding = 0
        self._without_family: list[int] = []  # added tracks whose families have not been searched yet
        self.index_sync = IndexSync(storage, index, detector.info, memory_index)

    async def add(self, path: Path, metadata: Metadata) -> Registered:
        """Registers a file. Audio that is already in the catalog is recognized by its decoded samples.

        The track's family is known on return, unless other tracks are being added: then it may follow with theirs.

        Raises:
            AudioError: the file cannot be used; `reason` says why.
            IdTaken: another track has the metadata's own_id.
        """
        self._adding += 1
        try:
            registered = await self._add(path, metadata)
            if self._second_detector is not None and not registered.known:
                await self._second_detector.enroll_new(registered.track, path)
            return registered
        finally:
            self._adding -= 1
            if self._without_family and (self._adding == 0 or len(self._without_family) >= self._family_batch_tracks):
                tracks, self._without_family = self._without_family, []
                await self.find_families(tracks)

    async def _add(self, path: Path, metadata: Metadata) -> Registered:
        file_hash = await file_sha256(path)
        before = await self._storage.tracks.by_file_hash(file_hash)
        if before is not None and before.status in ("ready", "retiring", "retired"):
            return Registered(before, known=True)  # the same bytes need no decoding
        embedded = await self._embedder.embed(path)
        async with self.index_sync.lock():
            track = await self._storage.tracks.add(embedded.sha256, embedded.n_samples, metadata, embedded.fingerprint)
            stored = await self._storage.tracks.by_audio_hash(embedded.sha256)
            if stored is not None:
                stored = await self._make_ready(stored, embedded)
        if stored is None:
            raise NotFound(f"{path.name}: deleted while it was being registered; add it again")
        await self._storage.tracks.remember_file_hash(file_hash, stored.id)
        await self.count()
        return Registered(stored, known=track is None)

    async def _make_ready(self, stored: Track, embedded: EmbeddedFile) -> Track | None:
        """Indexes a track that is new, or left over from an attempt that failed."""
        if stored.status == "failed":
            await self._storage.vectors.replace(stored.id, embedded.fingerprint)
        if stored.status not in ("pending", "failed"):
            return stored
        await self.index_sync.add(stored.id)
        self._without_family.append(stored.id)
        return await self._storage.tracks.get(stored.id)

    async def replace(self, track: int, path: Path, source: str) -> Track:
        """Gives a track another recording, which came from `source`.

        Excluded intervals are removed, because they are positions in the old recording. Past matches stay.

        Raises:
            AudioError: the file cannot be used.
            NotFound: there is no such track.
            Conflict: the track is retired, or (SameAudio) another track has this audio.
        """
        known = await self._existing(track)
        if known.status in ("retiring", "retired"):
            raise Conflict(f"track {track} is retired: airtrace tracks restore {track}")
        file_hash, embedded = await file_sha256(path), await self._embedder.embed(path)
        if embedded.sha256 != known.sha256:
            async with self.index_sync.lock():
                values = (embedded.sha256, embedded.n_samples, source, embedded.fingerprint)
                await self._storage.tracks.replace_audio(track, *values)
                await self.index_sync.add(track)
            await self.find_families([track])
            if self._second_detector is not None:
                await self._second_detector.enroll_new(await self._existing(track), path)
        await self._storage.tracks.remember_file_hash(file_hash, track)
        return await self._existing(track)

    async def import_(self, exported: ExportedTrack) -> Registered:
        """Adds a track from another catalog's export. The caller must find its family: see `find_families`.

        Raises:
            TransferError: the track has no vectors of the model in use.
            IdTaken: another track has its own_id.
            NotFound: another process deleted the track meanwhile.
        """
        async with self.index_sync.lock():
            track, known = await transfer.import_track(self._storage, exported, self._info)
            if track is not None and not known and exported.status != "retired":
                await self.index_sync.add(track)
        if track is None or (stored := await self._storage.tracks.get(track)) is None:
            raise NotFound(f"{exported.metadata.title}: deleted while it was being imported; import it again")
        return Registered(stored, known)

    async def edit(self, track: int, changes: Mapping[str, object]) -> Track:
        """Changes a track's metadata. Past matches keep the metadata that they had.

        Raises:
            MetadataError: the track would stop being valid before it starts.
            NotFound: there is no such track.
            IdTaken: another track has the new own_id.
        """
        metadata = replace((await self._existing(track)).metadata, **changes)  # type: ignore[arg-type]
        if metadata.valid_from and metadata.valid_until and metadata.valid_until < metadata.valid_from:
            raise MetadataError(
                "dates", f"valid_until {metadata.valid_until} is before valid_from {metadata.valid_from}"
            )
        await self._storage.tracks.set_metadata(track, metadata)
        return await self._existing(track)

    async def exclude(self, track: int, excluded: Sequence[Excluded]) -> Track:
        """Sets the intervals of a track that never match, in place of earlier ones.

        Raises:
            NotFound: there is no such track.
            MetadataError: an interval overlaps another one, or is not within the track.
        """
        known = await self._existing(track)
        ordered = sorted(excluded, key=lambda each: each.starts)
        for each in ordered:
            if problem := _problem(each, known):
                raise MetadataError("excluded", f"{_interval(each)} {problem}")
        for each, following in pairwise(ordered):
            if following.starts < each.ends:
                raise MetadataError("excluded", f"{_interval(each)} overlaps {_interval(following)}")
        async with self.index_sync.lock():
            await self._storage.tracks.set_excluded(track, ordered)
            if known.status == "ready":
                await self.index_sync.add(track)
        await self.find_families([track])
        return await self._existing(track)

    async def retire(self, track: int) -> Track:
        """Takes a track out of matching and keeps everything else, so that it can be restored without its audio.

        Past matches stay; a match that is open ends within seconds.

        Raises:
            NotFound: there is no such track.
        """
        await self._existing(track)
        async with self.index_sync.lock():
            await self._storage.tracks.set_status(track, "retiring")
            await self.index_sync.remove(track)
        await self.count()
        return await self._existing(track)

    async def restore(self, track: int) -> Track:
        """Takes a retired track back into matching.

        Raises:
            NotFound: there is no such track.
            Conflict: no vectors of the model in use are stored.
        """
        known = await self._existing(track)
        if known.status not in ("retiring", "retired"):
            return known
        if not await self._storage.vectors.index_rows([track], self._info):
            raise Conflict(f"track {track} has no vectors of the model in use: run `airtrace tracks rebuild` first")
        async with self.index_sync.lock():
            await self._storage.tracks.set_pending(track)
            await self.index_sync.add(track)
        await self.count()
        return await self._existing(track)

    async def delete(self, track: int) -> None:
        """Deletes a track. Past matches stay, with the metadata that they had.

        Raises:
            NotFound: there is no such track.
        """
        async with self.index_sync.lock():
            # With this status, a deletion that fails halfway is completed later.
            if not await self._storage.tracks.set_status(track, "retiring"):
                raise NotFound(f"there is no track {track}")
            await self.index_sync.remove(track)
            await self._storage.tracks.delete(track)
            if self._second_detector is not None:
                await self._second_detector.forget(track)
        await self.count()

    async def recover(self) -> None:
        """Completes what a crash interrupted, and rebuilds an index that has fewer vectors than are stored.

        An index that answers no searches is completed before its first change instead.

        Raises:
            ModelMismatch: tracks were registered with other weights than the detector's.
        """
        if others := await self._storage.vectors.tracks_of_other_models(self._info):
            raise ModelMismatch(
                f"{len(others)} tracks were registered with another model than {self._info.version} "
                f"({self._info.checksum}): run `airtrace tracks rebuild`"
            )
        async with self.index_sync.lock():
            await self.index_sync.recover()
        limit = self._family_batch_tracks
        tracks = await self._storage.families.tracks_without_known_family(self._info, limit + 1)
        if len(tracks) <= limit:
            await self.find_families(tracks)
        else:  # an older version without families registered them; finding them would delay the start too long
            log.info("catalog.families_missing", next="airtrace tracks rebuild")
        await self.count()

    async def rebuild(self) -> AsyncGenerator[Rebuilt, None]:
        """Re-embeds the tracks of other models from their files, then rebuilds the index from the stored vectors.

        Meanwhile, processes with the other model keep using its vectors. Tracks that cannot be re-embedded end as
        failed. Unknown families are found last.
        """
        failed: list[tuple[Track, str]] = []
        for track in await self._storage.vectors.tracks_of_other_models(self._info, failed=True):
            try:
                await self._embed_again(track)
            except AirtraceError as error:
                if isinstance(error, AudioError) and track.status != "retired":
                    failed.append((track, str(error)))
                yield Rebuilt(track, str(error))
            else:
                yield Rebuilt(track, None)
        async with self.index_sync.lock():
            for track, reason in failed:
                await self._storage.tracks.set_status(track.id, "failed", reason)
            async for _ in self.index_sync.rebuild():
                pass
            await self.index_sync.resume()
        await self.find_families(await self._storage.families.tracks_without_known_family(self._info))
        await self.count()

    async def find_families(self, tracks: Sequence[int]) -> None:
        """Finds and stores the families of tracks that are ready; never fails."""
        for first in range(0, len(tracks), self._family_batch_tracks):
            batch = tracks[first : first + self._family_batch_tracks]
            with log_and_continue(batch):
                async with self.index_sync.lock():
                    await self.index_sync.refresh()
                    await self._family_finder.find(batch)

    async def count(self) -> None:
        """Updates the metric of the number of tracks."""
        metrics.TRACKS.set(await self._storage.tracks.count())

    async def _existing(self, track: int) -> Track:
        if (known := await self._storage.tracks.get(track)) is None:
            raise NotFound(f"there is no track {track}")
        return known

    async def _embed_again(self, track: Track) -> None:
        path = Path(track.metadata.source)
        embedded = await self._embedder.embed(path)
        decode.check_same(path, embedded.n_samples, track.duration_s)
        await self._storage.vectors.replace(track.id, embedded.fingerprint)


def _problem(each: Excluded, track: Track) -> str | None:
    """Why an interval cannot be excluded, if there is a reason."""
    if each.starts < 0:
        return f"starts before track {track.id} does"
    if each.starts >= each.ends:
        return "ends before it starts"
    if each.ends > round(track.duration_s * SAMPLE_RATE_HZ):
        return f"is beyond the end of track {track.id} ({track.duration_s:.1f} s)"
    return None


def _interval(each: Excluded) -> str:
    return f"{each.starts / SAMPLE_RATE_HZ:g}-{each.ends / SAMPLE_RATE_HZ:g} s"
