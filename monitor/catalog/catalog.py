"""The catalog: register, edit, replace, retire, restore, delete and re-embed tracks.

PostgreSQL first, then Milvus, then the track is ready: so the index never has less than what is ready, and whoever
finds less there knows that it was lost. What a track is near-identical to is looked for last, for several tracks at
once where several are registered.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from monitor import metrics
from monitor.audio import decode
from monitor.catalog import transfer
from monitor.catalog.family_finder import BATCH_TRACKS, FamilyFinder, log_and_continue
from monitor.catalog.index_sync import IndexSync
from monitor.catalog.transfer import ExportedTrack
from monitor.core.segmenter import Segmenter
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.detect.detector import Detector
from monitor.errors import AirtraceError, AudioError, Conflict, MetadataError, ModelMismatch, NotFound
from monitor.storage.matches import Store
from monitor.storage.milvus import Index
from monitor.storage.records import Excluded, Fingerprint, Metadata, Track

log = structlog.get_logger(__name__)

MAX_TRACK_S = 24 * 3600.0  # a day, as the settings have it


@dataclass(frozen=True, slots=True)
class Registered:
    """A track of the catalog, and whether it had been there before."""

    track: Track
    known: bool


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of one track when the catalog was rebuilt; error is None where all went well."""

    track: Track
    error: str | None


@dataclass(frozen=True, slots=True)
class _Embedded:
    """A file's audio: sha256 of the decoded samples, their number, and the vectors."""

    sha256: bytes
    n_samples: int
    fingerprint: Fingerprint


class SecondDetector(Protocol):
    """A further detector that wants to know of tracks (monitor/similarity); tracks do not depend on it."""

    async def enrol_new(self, track: Track, path: Path) -> None:
        """A track is new, or has another recording. Never fails."""

    async def forget(self, track: int) -> None:
        """A track is gone."""


class Catalog:
    """Tracks in PostgreSQL, with their vectors in Milvus."""

    def __init__(
        self, store: Store, index: Index, detector: Detector, executor: Executor, max_s: float = MAX_TRACK_S
    ) -> None:
        """`most_s`: longest recording, in seconds."""
        self._store = store
        self._detector = detector
        self._executor = executor
        self._max_s = max_s
        self.index_sync = IndexSync(store, index, detector.info)
        self._kinship = FamilyFinder(store, index, detector, executor)
        self.second_detector: SecondDetector | None = None
        self._adding = 0
        self._unrelated: list[int] = []  # added, and their kin not yet looked for

    async def add(self, path: Path, metadata: Metadata) -> Registered:
        """Registers a file; audio that is there already is recognised by its decoded samples.

        Its kin are known when this returns, unless others are being added: they may be looked for with those.

        Raises:
            AudioError: the file cannot be used; `reason` says why.
            IdTaken: another track has the metadata's own_id.
        """
        self._adding += 1
        try:
            registered = await self._add(path, metadata)
            if self.second_detector is not None and not registered.known:
                await self.second_detector.enrol_new(registered.track, path)
            return registered
        finally:
            self._adding -= 1
            if self._unrelated and (self._adding == 0 or len(self._unrelated) >= BATCH_TRACKS):
                tracks, self._unrelated = self._unrelated, []
                await self.relate(tracks)

    async def _add(self, path: Path, metadata: Metadata) -> Registered:
        file = await _file_sha256(path)
        before = await self._store.track_of_file(file)
        if before is not None and before.status in ("ready", "retiring", "retired"):
            return Registered(before, known=True)  # the same bytes: there is nothing to decode
        embedded = await self._embedded(path)
        async with self.index_sync.change():
            track = await self._store.add_track(embedded.sha256, embedded.n_samples, metadata, embedded.fingerprint)
            stored = await self._store.track_by_sha256(embedded.sha256)
            if stored is not None:
                stored = await self._finished(stored, embedded)
        if stored is None:
            raise NotFound(f"{path.name}: deleted while it was being registered; add it again")
        await self._store.know_file(file, stored.id)
        await self.count()
        return Registered(stored, known=track is None)

    async def _finished(self, stored: Track, embedded: _Embedded) -> Track | None:
        """A track that is new, or left behind by an attempt that failed, is made ready."""
        if stored.status == "failed":
            await self._store.replace_fingerprint(stored.id, embedded.fingerprint)
        if stored.status not in ("pending", "failed"):
            return stored
        await self.index_sync.bring(stored.id)
        self._unrelated.append(stored.id)
        return await self._store.track(stored.id)

    async def replace(self, track: int, path: Path, source: str) -> Track:
        """Gives a track another recording, of this source. Its exclusions, places of the old one, go; its matches stay.

        Raises:
            AudioError: the file cannot be used.
            NotFound, Conflict: there is no such track, it is retired, or another one has this audio.
        """
        known = await self._known(track)
        if known.status in ("retiring", "retired"):
            raise Conflict(f"track {track} is retired: airtrace tracks restore {track}")
        file, embedded = await _file_sha256(path), await self._embedded(path)
        if embedded.sha256 != known.sha256:
            async with self.index_sync.change():
                values = (embedded.sha256, embedded.n_samples, source, embedded.fingerprint)
                await self._store.replace_audio(track, *values)
                await self.index_sync.bring(track)
            await self.relate([track])
            if self.second_detector is not None:
                await self.second_detector.enrol_new(await self._known(track), path)
        await self._store.know_file(file, track)
        return await self._known(track)

    async def take(self, carried: ExportedTrack) -> Registered:
        """Takes a track over from another catalog's file; its kin are for the caller to look for.

        Raises:
            TransferError: it has no vectors of the model in use.
            IdTaken: another track has its own_id.
        """
        async with self.index_sync.change():
            track, known = await transfer.import_track(self._store, carried, self._detector.info)
            if track is not None and not known and carried.status != "retired":
                await self.index_sync.bring(track)
        if track is None or (stored := await self._store.track(track)) is None:
            raise NotFound(f"{carried.metadata.title}: deleted while it was being taken over; import it again")
        return Registered(stored, known)

    async def edit(self, track: int, changes: Mapping[str, object]) -> Track:
        """Changes what is known of a track besides its sound; its past matches keep what they had.

        Raises:
            DetailsError: it would end to be valid before it begins.
            NotFound, IdTaken: there is no such track, or another one has the new own_id.
        """
        metadata = replace((await self._known(track)).metadata, **changes)  # type: ignore[arg-type]
        if metadata.valid_from and metadata.valid_until and metadata.valid_until < metadata.valid_from:
            raise MetadataError("dates", f"valid until {metadata.valid_until}, but only from {metadata.valid_from} on")
        await self._store.set_metadata(track, metadata)
        return await self._known(track)

    async def exclude(self, track: int, excluded: Sequence[Excluded]) -> Track:
        """Sets the intervals of a track that never match, instead of those that it had.

        Raises:
            NotFound: there is no such track.
            DetailsError: an interval overlaps another one, or does not lie in the track.
        """
        known = await self._known(track)
        ordered = sorted(excluded, key=lambda each: each.starts)
        for each in ordered:
            if not 0 <= each.starts < each.ends <= round(known.duration_s * SAMPLE_RATE_HZ):
                raise MetadataError("excluded", f"{_shown(each)} does not lie in its {known.duration_s:.3f} s")
        for each, following in pairwise(ordered):
            if following.starts < each.ends:
                raise MetadataError("excluded", f"{_shown(each)} overlaps {_shown(following)}")
        async with self.index_sync.change():
            await self._store.exclude(track, ordered)
            if known.status == "ready":
                await self.index_sync.bring(track)
        await self.relate([track])
        return await self._known(track)

    async def retire(self, track: int) -> Track:
        """Takes a track out of matching, and keeps everything else: it can be restored without its audio.

        Its past matches stay; one that is on air ends within seconds.
        """
        await self._known(track)
        async with self.index_sync.change():
            await self._store.mark(track, "retiring")
            await self.index_sync.take_out(track)
        await self.count()
        return await self._known(track)

    async def restore(self, track: int) -> Track:
        """Takes a retired track back into matching.

        Raises:
            NotFound: there is no such track.
            Conflict: no vectors of the model in use are stored.
        """
        known = await self._known(track)
        if known.status not in ("retiring", "retired"):
            return known
        if not await self._store.indexables([track], self._detector.info):
            raise Conflict(f"track {track} has no vectors of the model in use: run `airtrace tracks rebuild` first")
        async with self.index_sync.change():
            await self._store.mark_pending(track)
            await self.index_sync.bring(track)
        await self.count()
        return await self._known(track)

    async def delete(self, track: int) -> None:
        """Takes a track out of the catalog; its past matches stay, with the metadata they had.

        Raises:
            NotFound: there is no such track.
        """
        async with self.index_sync.change():
            if not await self._store.mark(track, "retiring"):  # should the rest fail, it is not half there
                raise NotFound(f"there is no track {track}")
            await self.index_sync.take_out(track)
            await self._store.delete_track(track)
            if self.second_detector is not None:
                await self.second_detector.forget(track)
        await self.count()

    async def recover(self) -> None:
        """Finishes what a crash interrupted, and fills the index from the stored vectors where it lacks some.

        Raises:
            ModelMismatch: tracks were registered with other weights than the detector's.
        """
        info = self._detector.info
        if others := await self._store.tracks_of_other_models(info):
            raise ModelMismatch(
                f"{len(others)} tracks were registered with another model than {info.version} ({info.checksum}): "
                "run `airtrace tracks rebuild`"
            )
        async with self.index_sync.change():
            await self.index_sync.finish()
            wanted, there = await self._store.audible_segments(info), await self.index_sync.count()
            if there < wanted:
                log.warning("catalog.refilling_index", wanted=wanted, there=there)
                async for _ in self.index_sync.refill():
                    pass
        self.index_sync.advise(wanted)
        unrelated = await self._store.unrelated_tracks(info, BATCH_TRACKS + 1)
        if len(unrelated) <= BATCH_TRACKS:
            await self.relate(unrelated)
        else:  # registered by a version that did not know of families: that takes too long for a start
            log.info("catalog.without_families", next="airtrace tracks rebuild")
        await self.count()

    async def rebuild(self) -> AsyncGenerator[Rebuilt, None]:
        """Re-embeds the tracks of other models from their files; then fills the index anew from the stored vectors.

        Processes with the other model go on meanwhile, with its vectors. What cannot be embedded has failed in the end.
        Last come the families of those tracks whose kin have not been looked for.
        """
        failed: list[tuple[Track, str]] = []
        for track in await self._store.tracks_of_other_models(self._detector.info, failed=True):
            try:
                await self._embed_again(track)
            except AirtraceError as error:
                if isinstance(error, AudioError) and track.status != "retired":
                    failed.append((track, str(error)))
                yield Rebuilt(track, str(error))
            else:
                yield Rebuilt(track, None)
        async with self.index_sync.change():
            for track, reason in failed:
                await self._store.mark(track.id, "failed", reason)
            async for _ in self.index_sync.refill():
                pass
            await self.index_sync.finish()
        await self.relate(await self._store.unrelated_tracks(self._detector.info))
        await self.count()

    async def count(self) -> None:
        """Brings the metric up to date."""
        metrics.TRACKS.set(await self._store.count_tracks())

    async def _known(self, track: int) -> Track:
        if (known := await self._store.track(track)) is None:
            raise NotFound(f"there is no track {track}")
        return known

    async def _embed_again(self, track: Track) -> None:
        path = Path(track.metadata.source)
        embedded = await self._embedded(path)
        decode.check_same(path, embedded.n_samples, track.duration_s)
        await self._store.replace_fingerprint(track.id, embedded.fingerprint)

    async def relate(self, tracks: Sequence[int]) -> None:
        """Looks for the kin of tracks that are ready; never fails."""
        for first in range(0, len(tracks), BATCH_TRACKS):
            batch = tracks[first : first + BATCH_TRACKS]
            with log_and_continue(batch):
                async with self.index_sync.change():
                    await self._kinship.seek(batch)

    async def _embedded(self, path: Path) -> _Embedded:
        """Raises AudioError also where there is nothing but silence."""
        digest, n_samples, cutter = hashlib.sha256(), 0, Segmenter()
        vectors: list[NDArray[np.float32]] = []
        loop = asyncio.get_running_loop()
        async with aclosing(decode.blocks(path, self._max_s)) as blocks:
            async for block in blocks:
                digest.update(block.tobytes())
                n_samples += len(block)
                _, whole = cutter.feed(block)
                embeddings = await loop.run_in_executor(self._executor, self._detector.embed, whole)
                vectors.append(embeddings.vectors)
        fingerprint = Fingerprint(self._detector.info, np.concatenate(vectors))
        if not fingerprint.vectors.any():
            raise AudioError("silent", f"{path.name}: nothing but silence")
        return _Embedded(digest.digest(), n_samples, fingerprint)


async def _file_sha256(path: Path) -> bytes:
    """Of a file's bytes."""
    decode.check(path)

    def read() -> bytes:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    try:
        return await asyncio.to_thread(read)
    except OSError as error:
        raise AudioError("unreadable", f"{path.name}: {error.strerror}") from error


def _shown(each: Excluded) -> str:
    return f"{each.starts / SAMPLE_RATE_HZ:g}-{each.ends / SAMPLE_RATE_HZ:g} s"
