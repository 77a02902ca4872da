"""Keeps references in memory, bounded by bytes, as long as their tracks stay as they are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from monitor.core.reference import Reference
from monitor.detect.detector import Detector
from monitor.storage.matches import Store

CACHED_BYTES = 500_000_000  # of exact vectors: 2,000 tracks of four minutes


class ReferenceCache:
    """Exact vectors by track, cached; a track that has left the catalog is never given."""

    def __init__(self, store: Store, detector: Detector, max_bytes: int = CACHED_BYTES) -> None:
        self._store = store
        self._info = detector.info
        self._max_bytes = max_bytes
        self._bytes = 0
        self._cache: OrderedDict[int, tuple[int, Reference]] = OrderedDict()

    async def of(self, tracks: Collection[int]) -> dict[int, Reference]:
        """The vectors of those of the tracks that are in the catalog now."""
        if not tracks:
            return {}
        there = await self._store.revisions(tracks)
        kept = {track: self._cache[track] for track in there if track in self._cache}
        found = {track: reference for track, (revision, reference) in kept.items() if revision == there[track]}
        if missing := there.keys() - found.keys():
            # Should a track change in between, these are newer than their revision, and fetched again next time.
            found |= await self._store.references(missing, self._info)
        for track, reference in found.items():
            self._keep(track, there[track], reference)
        return found

    def _keep(self, track: int, revision: int, reference: Reference) -> None:
        """As the one that was used last; those that were not used for longest make room."""
        if (known := self._cache.pop(track, None)) is not None:
            self._bytes -= known[1].nbytes
        self._cache[track] = revision, reference
        self._bytes += reference.nbytes
        while self._bytes > self._max_bytes:
            _, (_, oldest) = self._cache.popitem(last=False)
            self._bytes -= oldest.nbytes
