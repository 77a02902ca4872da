"""Vectors in memory, searched by faiss. Synchronous, for use by one thread at a time.

An inverted file (Jégou et al., "Product quantization for nearest neighbor search", PAMI 2011, section 4): the vectors
are divided among the cells of a k-means clustering, and a search looks only into the cells nearest to the query.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.storage.candidate_search import SEGMENT_BITS, row_id

Floats = NDArray[np.float32]

# Vectors that k-means needs for each cell; faiss itself warns below 39.
TRAINING_VECTORS_PER_CELL = 40


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """The structure for a number of vectors.

    n_vectors: the number for which it was chosen.
    n_cells: of the inverted file; 1 makes the search exhaustive.
    codes: faiss's name of the encoding: SQfp16 takes 2 bytes per dimension, SQ8 1.
    n_probes: cells that a search looks into.
    """

    n_vectors: int
    n_cells: int
    codes: str
    n_probes: int

    @property
    def n_training_vectors(self) -> int:
        """How many vectors the k-means clustering needs."""
        return self.n_cells * TRAINING_VECTORS_PER_CELL

    @property
    def name(self) -> str:
        """faiss's name of the structure."""
        return f"IVF{self.n_cells},{self.codes}"


# Chosen by `make bench-index`: (up to this many vectors, cells, encoding, probes).
_PLANS = ((40_000, 1, "SQfp16", 1), (300_000, 256, "SQ8", 64), (1_000_000, 1024, "SQ8", 128))
_LARGEST = (4096, "SQ8", 256)


def plan_for(n_vectors: int) -> IndexPlan:
    """The structure for a number of vectors."""
    for up_to, n_cells, codes, n_probes in _PLANS:
        if n_vectors <= up_to:
            return IndexPlan(n_vectors, n_cells, codes, n_probes)
    return IndexPlan(n_vectors, *_LARGEST)


class FaissIndex:
    """The vectors of the catalog's tracks, by key (see `candidate_search.row_id`)."""

    def __init__(self, dimensions: int, plan: IndexPlan, sample: Floats) -> None:
        """Makes an empty index.

        Args:
            dimensions: of the vectors.
            plan: the structure.
            sample: vectors to divide the cells by, float32 (n, dimensions), about `plan.n_training_vectors`; fewer make
                the search exhaustive.
        """
        import faiss  # takes 0.2 s, which commands that search nothing should not pay

        if len(sample) < plan.n_training_vectors and plan.n_cells > 1:
            plan = IndexPlan(plan.n_vectors, 1, "SQfp16", 1)
        self.plan = plan
        self._faiss: Any = faiss
        self._index = self._faiss.index_factory(dimensions, plan.name, faiss.METRIC_INNER_PRODUCT)
        self._index.nprobe = plan.n_probes
        # With one cell, nothing depends on the sample, and faiss still asks for as many vectors as for any cell.
        any_vectors = np.ones((TRAINING_VECTORS_PER_CELL, dimensions), np.float32)
        self._index.train(sample if plan.n_cells > 1 else any_vectors)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, tracks: Mapping[int, Floats]) -> None:
        """Adds the vectors of tracks, float32 (k, dimensions) each, except rows of zeros, which are silence."""
        audible = {track: np.flatnonzero(vectors.any(axis=1)) for track, vectors in tracks.items()}
        ids = [row_id(track, 0) + segments for track, segments in audible.items()]
        if any(map(len, ids)):
            vectors = np.concatenate([tracks[track][segments] for track, segments in audible.items()])
            self._index.add_with_ids(vectors, np.concatenate(ids))

    def remove(self, track: int) -> None:
        """Removes a track's vectors."""
        self._index.remove_ids(self._faiss.IDSelectorRange(row_id(track, 0), row_id(track + 1, 0)))

    def search(self, vectors: Floats, top_k: int, but: Collection[int] = ()) -> tuple[Floats, NDArray[np.int64]]:
        """The best vectors for each query, without those of the tracks in `but`.

        Args:
            vectors: float32 (n, dimensions).
            top_k: results for each.
            but: tracks to leave out.

        Returns:
            Inner products, float32 (n, top_k), largest first, and keys, int64 (n, top_k); -1 where there is no more.
        """
        queries = np.ascontiguousarray(vectors, np.float32)
        if not but:
            scores, ids = self._index.search(queries, top_k)
            return scores, ids
        excluded = self._faiss.IDSelectorBatch(self._ids_of(but))
        parameters = self._faiss.SearchParametersIVF(sel=self._faiss.IDSelectorNot(excluded), nprobe=self.plan.n_probes)
        scores, ids = self._index.search(queries, top_k, params=parameters)
        return scores, ids

    def _ids_of(self, tracks: Collection[int]) -> NDArray[np.int64]:
        """The keys of these tracks that are in the index."""
        lists = self._index.invlists
        wanted = np.fromiter(tracks, np.int64)
        found = [
            ids[np.isin(ids >> SEGMENT_BITS, wanted)]
            for ids in (
                self._faiss.rev_swig_ptr(lists.get_ids(cell), lists.list_size(cell))
                for cell in range(lists.nlist)
                if lists.list_size(cell)
            )
        ]
        return np.concatenate(found) if found else np.empty(0, np.int64)
