"""Enrolls tracks for similarity search: computes their PANNs vectors from their files, stores and indexes them.

The vectors are stored beside the fingerprints of the tracks, which do not depend on them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from monitor.audio import decode
from monitor.errors import AirtraceError, AudioError, DependencyError
from monitor.similarity.panns_service import PannsService
from monitor.similarity.passages import passages_of
from monitor.similarity.pcm_blocks import pcm_blocks
from monitor.storage.records import Fingerprint, Track
from monitor.storage.storage import Storage

log = structlog.get_logger(__name__)

PAGE_TRACKS = 100


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The result of enrolling one track; `error` is None on success."""

    track: Track
    error: str | None


class Enrollment:
    """Gives tracks their PANNs vectors. The catalog's second detector (monitor/catalog/catalog.py)."""

    def __init__(self, panns: PannsService, storage: Storage) -> None:
        self._panns = panns
        self._storage = storage

    async def enroll_new(self, track: Track, path: Path) -> None:
        """Enrolls a new track if the settings ask for it and PANNs is available. Never fails: at worst, the track has
        no PANNs vectors.

        `path` is the track's file.
        """
        if not self._panns.enrolls_new_tracks or track.status != "ready":
            return
        try:
            await self.enroll(track, path)
        except AirtraceError as error:
            log.warning("panns.enrollment_failed", track=track.id, error=str(error))

    async def enroll(self, track: Track, path: Path) -> None:
        """Enrolls a track from its file.

        Raises:
            AudioError: the file cannot be used, or is not the recording that was registered.
            ModelUnavailable: PANNs is unavailable.
            DependencyError: PostgreSQL or Milvus is unreachable.
        """
        loaded = await self._panns.loaded()
        vectors: list[NDArray[np.float32]] = []
        n_samples = 0
        async with aclosing(pcm_blocks(path)) as blocks:
            async for pcm in blocks:
                n_samples += len(pcm)
                vectors.append((await self._panns.listen(passages_of(pcm))).vectors)
        decode.check_same(path, n_samples, track.duration_s)
        async with self._storage.tracks.catalog_lock():
            await self._storage.vectors.add(track.id, Fingerprint(loaded.info, np.concatenate(vectors)))
            await loaded.index_sync.add([track.id])

    async def enroll_all(self) -> AsyncIterator[Enrolled]:
        """Enrolls all tracks that have no PANNs vectors, from the files that they were registered from.

        Raises:
            ModelUnavailable: PANNs is unavailable.
            DependencyError: PostgreSQL or Milvus is unreachable.
        """
        info, last = (await self._panns.loaded()).info, 0
        while tracks := await self._storage.vectors.tracks_without(info, last, PAGE_TRACKS):
            for track in tracks:
                last, error = track.id, None
                try:
                    await self.enroll(track, Path(track.metadata.source))
                except AudioError as refused:
                    error = str(refused)
                yield Enrolled(track, error)

    async def forget(self, track: int) -> None:
        """Deletes a track from the index if that is loaded. Otherwise loading finds the surplus and rebuilds it."""
        if (loaded := self._panns.loaded_now) is not None:
            try:
                await loaded.index.delete(track)
            except DependencyError as error:
                log.warning("panns.deletion_failed", track=track, error=str(error))
