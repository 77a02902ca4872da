"""Keeps the index of PANNs vectors in sync with the vectors that PostgreSQL stores."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from monitor.detect.detector import DetectorInfo
from monitor.storage.milvus import Index
from monitor.storage.storage import Storage

log = structlog.get_logger(__name__)


class PannsIndexSync:
    """The index of one PANNs model. Unlike monitor/catalog/index_sync.py, it changes no track's status."""

    def __init__(self, storage: Storage, index: Index, info: DetectorInfo) -> None:
        self._storage = storage
        self._index = index
        self._info = info

    async def open(self) -> None:
        """Opens the index and adds vectors that it lacks; rebuilds it if it has vectors that are not stored.

        Raises:
            DependencyError: PostgreSQL or Milvus is unreachable.
        """
        async with self._storage.tracks.catalog_lock():  # also keeps two processes from creating the collection at once
            await self._index.open()
            await self.add(await self._storage.vectors.unindexed_tracks(self._info))
            wanted, there = await self._storage.vectors.count_indexable(self._info), await self._index.count()
            if there != wanted:
                log.warning("panns.rebuilding_index", vectors_wanted=wanted, vectors_indexed=there)
                await self._index.recreate()
                await self.add(await self._storage.vectors.ready_tracks(self._info))

    async def add(self, tracks: Sequence[int]) -> None:
        """Writes tracks to the index with their stored vectors. The caller holds the catalog lock."""
        for track in tracks:
            for row in await self._storage.vectors.index_rows([track], self._info):
                if row.indexed:
                    await self._index.delete(track)
                await self._index.insert(track, row.vectors)
                await self._storage.vectors.set_indexed(row, self._info)
