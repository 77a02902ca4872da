"""The catalog: register, delete and re-embed tracks. PostgreSQL first, then Milvus, then the track is ready.

So the index never has less than what is ready, and whoever finds less there knows that it was lost. What a track is
near-identical to is looked for last, for several tracks at once where several are registered.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from monitor import decode, metrics
from monitor.core.cutter import Cutter
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.detect.detector import Detector
from monitor.errors import AirtraceError, AudioError, ModelMismatch, NotFound
from monitor.index import Index
from monitor.kinship import BATCH_TRACKS, Kinship, harmless
from monitor.records import Fingerprint, Metadata, Track
from monitor.store import Store

log = structlog.get_logger(__name__)

SAME_LENGTH_S = 1.0  # decoders differ in the silence that they leave at the ends


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


class Catalog:
    """Tracks in PostgreSQL, with their vectors in Milvus."""

    def __init__(self, store: Store, index: Index, detector: Detector, executor: Executor) -> None:
        self._store = store
        self._index = index
        self._detector = detector
        self._executor = executor
        self._kinship = Kinship(store, index, detector, executor)
        self._changing = asyncio.Lock()  # one connection of this process waits for the others, not all of the pool
        self._adding = 0
        self._unrelated: list[int] = []  # added, and their kin not yet looked for

    async def add(self, path: Path, metadata: Metadata) -> Registered:
        """Registers a file; audio that is there already is recognised by its decoded samples.

        Its kin are known when this returns, unless others are being added: they may be looked for with those.

        Raises:
            AudioError: the file cannot be used; `reason` says why.
        """
        self._adding += 1
        try:
            return await self._add(path, metadata)
        finally:
            self._adding -= 1
            if self._unrelated and (self._adding == 0 or len(self._unrelated) >= BATCH_TRACKS):
                tracks, self._unrelated = self._unrelated, []
                await self._relate(tracks)

    async def _add(self, path: Path, metadata: Metadata) -> Registered:
        sha256, n_samples, fingerprint = await self._fingerprint(path)
        if not fingerprint.vectors.any():
            raise AudioError("silent", f"{path.name}: nothing but silence")
        async with self._change():
            track = await self._store.add_track(sha256, n_samples, metadata, fingerprint)
            stored = await self._store.track_by_sha256(sha256)
            if stored is not None and stored.status == "pending":  # new, or left behind by an attempt that failed
                await self._index_again(stored.id)
                self._unrelated.append(stored.id)
                stored = await self._store.track(stored.id)
        if stored is None:
            raise NotFound(f"{path.name}: deleted while it was being registered; add it again")
        await self.count()
        return Registered(stored, known=track is None)

    async def delete(self, track: int) -> None:
        """Takes a track out of the catalog; its past matches stay, with the metadata they had.

        Raises:
            NotFound: there is no such track.
        """
        async with self._change():
            if not await self._store.mark_pending(track):  # should the rest fail, it is not half there
                raise NotFound(f"there is no track {track}")
            await self._index.delete(track)
            await self._store.delete_track(track)
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
        async with self._change():
            for track in await self._store.pending_tracks():
                await self._index_again(track)
            wanted, there = await self._store.audible_segments(info), await self._index.count()
            if there < wanted:
                log.warning("catalog.refilling_index", wanted=wanted, there=there)
                await self._refill()
        unrelated = await self._store.unrelated_tracks(info, BATCH_TRACKS + 1)
        if len(unrelated) <= BATCH_TRACKS:
            await self._relate(unrelated)
        else:  # registered by a version that did not know of families: that takes too long for a start
            log.info("catalog.without_families", next="airtrace tracks rebuild")
        await self.count()

    async def rebuild(self) -> AsyncIterator[Rebuilt]:
        """Re-embeds the tracks of other models from their files; then fills the index anew from the stored vectors.

        Last come the families of those tracks whose kin have not been looked for.
        """
        for track in await self._store.tracks_of_other_models(self._detector.info):
            try:
                await self._embed_again(track)
            except AirtraceError as error:
                yield Rebuilt(track, str(error))
            else:
                yield Rebuilt(track, None)
        async with self._change():
            await self._refill()
        await self._relate(await self._store.unrelated_tracks(self._detector.info))
        await self.count()

    async def count(self) -> None:
        """Brings the metric up to date."""
        metrics.TRACKS.set(await self._store.count_tracks())

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[None]:
        """Whoever brings index and catalog into step does it alone, among all processes."""
        async with self._changing, self._store.catalog_lock():
            yield

    async def _embed_again(self, track: Track) -> None:
        path = Path(track.metadata.source)
        _, n_samples, fingerprint = await self._fingerprint(path)
        # Not the hash: another ffmpeg decodes the same file to other bits.
        if abs(n_samples / SAMPLE_RATE_HZ - track.duration_s) > SAME_LENGTH_S:
            raise AudioError("changed", f"{path.name}: another recording than the one registered; add it anew")
        async with self._change():
            await self._store.replace_fingerprint(track.id, fingerprint)
            await self._index_again(track.id)

    async def _relate(self, tracks: Sequence[int]) -> None:
        """Looks for the kin of tracks that are ready; never fails."""
        for first in range(0, len(tracks), BATCH_TRACKS):
            batch = tracks[first : first + BATCH_TRACKS]
            with harmless(batch):
                async with self._change():
                    await self._kinship.seek(batch)

    async def _refill(self) -> None:
        await self._index.recreate()
        for track in await self._store.ready_tracks(self._detector.info):
            await self._index_again(track)

    async def _index_again(self, track: int) -> None:
        reference = await self._store.vectors(track, self._detector.info)
        if reference is not None:
            await self._index.insert(track, reference.vectors)
            await self._store.mark_ready(track)

    async def _fingerprint(self, path: Path) -> tuple[bytes, int, Fingerprint]:
        """sha256 of the decoded samples, their number, and the vectors."""
        digest, n_samples, cutter = hashlib.sha256(), 0, Cutter()
        vectors: list[NDArray[np.float32]] = []
        loop = asyncio.get_running_loop()
        async with aclosing(decode.blocks(path)) as blocks:
            async for block in blocks:
                digest.update(block.tobytes())
                n_samples += len(block)
                _, whole = cutter.feed(block)
                embeddings = await loop.run_in_executor(self._executor, self._detector.embed, whole)
                vectors.append(embeddings.vectors)
        return digest.digest(), n_samples, Fingerprint(self._detector.info, np.concatenate(vectors))
