"""Caches references in memory, up to a number of bytes, for as long as their tracks do not change."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence

from monitor.core.reference import Reference
from monitor.detect.detector import Detector
from monitor.matching.call_batcher import CallBatcher
from monitor.storage.storage import Storage

CACHED_BYTES = 500_000_000  # of exact vectors: 3,800 tracks of four minutes

MAX_STREAMS_PER_QUERY = 64


class ReferenceCache:
    """Exact vectors by track. Never returns a track that has left the catalog."""

    def __init__(self, storage: Storage, detector: Detector, max_bytes: int = CACHED_BYTES) -> None:
        self._storage = storage
        self._info = detector.info
        self._max_bytes = max_bytes
        self._bytes = 0
        self._batcher = CallBatcher("fetch", self._get, max_items=MAX_STREAMS_PER_QUERY)
        self._cache: OrderedDict[int, tuple[int, Reference]] = OrderedDict()

    async def get(self, tracks: Collection[int]) -> dict[int, Reference]:
        """References of the given tracks; those that are not in the catalog now are left out.

        Raises:
            DependencyError: PostgreSQL is unreachable.
        """
        return await self._batcher.ask(tracks) if tracks else {}

    async def _get(self, requests: Sequence[Collection[int]]) -> list[dict[int, Reference]]:
        """Answers the requests of several streams with one query, or two."""
        found = await self._found(frozenset().union(*requests))
        return [{track: found[track] for track in tracks if track in found} for tracks in requests]

    async def _found(self, tracks: Collection[int]) -> dict[int, Reference]:
        revisions = await self._storage.tracks.revisions(tracks)
        cached = {track: self._cache[track] for track in revisions if track in self._cache}
        found = {track: reference for track, (revision, reference) in cached.items() if revision == revisions[track]}
        if missing := revisions.keys() - found.keys():
            # If a track changes in between, its vectors are newer than its revision and are fetched again next time.
            found |= await self._storage.vectors.references(missing, self._info)
        for track, reference in found.items():
            self._put(track, revisions[track], reference)
        return found

    def _put(self, track: int, revision: int, reference: Reference) -> None:
        """Stores a reference as the most recently used one, and evicts the least recently used ones."""
        if (known := self._cache.pop(track, None)) is not None:
            self._bytes -= known[1].nbytes
        self._cache[track] = revision, reference
        self._bytes += reference.nbytes
        while self._bytes > self._max_bytes:
            _, (_, oldest) = self._cache.popitem(last=False)
            self._bytes -= oldest.nbytes
