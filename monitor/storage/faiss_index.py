"""Vectors in memory, searched by faiss. Synchronous, for use by one thread at a time.

A search has two stages. Product quantization with 4-bit codes (Jégou et al., "Product quantization for nearest neighbor
search", PAMI 2011; André et al., "Cache locality is not enough", VLDB 2015) finds some candidates: a code has 32 bytes,
and the processor compares 32 codes at once. Vectors of one byte per dimension then rank the candidates. With many
vectors, an inverted file divides them into cells, and the first stage looks only into the cells nearest to the query.
The cells come from k-means in two levels, and so does the search for the nearest ones.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.storage.candidate_search import row_id

Floats = NDArray[np.float32]

# For the cells, k-means needs about this many vectors each. With 40, as faiss asks for, recall is the same.
TRAINING_VECTORS_PER_CELL = 16
K_MEANS_ROUNDS = 5
# Groups of cells in which the nearest cell to a new vector is looked for, and the share of them for a query.
ADD_PROBES, QUERY_PROBE_SHARE = 4, 1 / 3
# For the codes: 16 centroids for each pair of dimensions. More change nothing.
CODE_TRAINING_VECTORS = 20_000
MIN_TRAINING_VECTORS = 1_000  # of music that is mixed; a smaller sample is filled up with random vectors
# Random vectors in every sample: codes made from one kind of sound alone would describe what is added later badly.
RANDOM_VECTORS = 2_000
DIMENSIONS_PER_CODE, CODE_BITS = 2, 4
# Candidates of the first stage for each result. With 10, one in 150 segments of a cosine of .4 is missed.
CANDIDATES_PER_RESULT = 16
# The bytes' range is this much wider than the sample's, and as wide as for the music of the corpus at least.
RANGE_MARGIN, MIN_RANGE = 1.1, 0.66
MAX_DEAD_SHARE = 0.25  # rows of removed tracks; beyond, the index is worth building again


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """The structure for a number of vectors.

    n_vectors: the number for which it was chosen.
    n_cells: of the inverted file; 1 makes the first stage look at every vector.
    n_probes: cells that a search looks into.
    """

    n_vectors: int
    n_cells: int
    n_probes: int

    @property
    def n_training_vectors(self) -> int:
        """How many vectors a sample for it should have."""
        return max(self.n_cells * TRAINING_VECTORS_PER_CELL, CODE_TRAINING_VECTORS)


# Chosen by `make bench-index` and `make bench-search`: (up to this many vectors, cells, probes).
# A play has many segments, so few need to be found: half of these probes lose two plays of 137 in 48 million vectors.
_PLANS = ((300_000, 1, 1), (3_000_000, 2048, 32), (20_000_000, 16_384, 64))
_LARGEST = (65_536, 128)


def plan_for(n_vectors: int) -> IndexPlan:
    """The structure for a number of vectors."""
    for up_to, n_cells, n_probes in _PLANS:
        if n_vectors <= up_to:
            return IndexPlan(n_vectors, n_cells, n_probes)
    return IndexPlan(n_vectors, *_LARGEST)


def bytes_per_vector(dimensions: int) -> int:
    """The memory that a vector takes: its code, its bytes, its numbers in both stages, and its key."""
    return dimensions // DIMENSIONS_PER_CODE * CODE_BITS // 8 + dimensions + 8 + 8 + 1


class FaissIndex:
    """The vectors of the catalog's tracks, by key (see `candidate_search.row_id`)."""

    def __init__(self, dimensions: int, plan: IndexPlan, sample: Floats) -> None:
        """Makes an empty index.

        Args:
            dimensions: of the vectors, an even number.
            plan: the structure.
            sample: vectors to derive the codes and the cells from, float32 (n, dimensions), `plan.n_training_vectors`
                of them; with too few for the cells, there is only one.
        """
        # faiss's threads would otherwise wait for each other in busy loops. Its OpenMP reads this once.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import faiss  # takes 0.2 s, which commands that search nothing should not pay

        if len(sample) < plan.n_cells * TRAINING_VECTORS_PER_CELL:
            plan = IndexPlan(plan.n_vectors, 1, 1)
        self.plan = plan
        self._faiss: Any = faiss
        self._cells = self._faiss.IndexFlatIP(dimensions)
        self._codes, self._rows = self._stages(dimensions, sample)
        self._index = self._faiss.IndexRefine(self._codes, self._rows)
        self._slots: dict[
            int, tuple[int, int]
        ] = {}  # the rows of each track: the first one, and the one after the last
        self._keys = np.empty(0, np.int64)  # the key of each row
        self._is_alive = np.empty(0, np.bool_)  # false for the rows of removed tracks, which stay in both stages
        self._n_rows = 0
        self._n_dead = 0
        self._alive_bits: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return self._n_rows - self._n_dead

    @property
    def is_fragmented(self) -> bool:
        """Whether removed tracks take too much memory."""
        return self._n_dead > MAX_DEAD_SHARE * self._n_rows

    def add(self, tracks: Mapping[int, Floats]) -> None:
        """Adds tracks by their vectors, float32 (k, dimensions), replacing earlier ones. Zero rows are silence."""
        for track in tracks:
            self.remove(track)
        audible = {track: np.flatnonzero(vectors.any(axis=1)) for track, vectors in tracks.items()}
        n_rows = sum(map(len, audible.values()))
        if n_rows == 0:
            return
        first, self._alive_bits = self._n_rows, None
        self._reserve(n_rows)
        for track, segments in audible.items():
            end = self._n_rows + len(segments)
            self._slots[track] = self._n_rows, end
            self._keys[self._n_rows : end] = row_id(track, 0) + segments
            self._is_alive[self._n_rows : end] = True
            self._n_rows = end
        vectors = np.concatenate([tracks[track][segments] for track, segments in audible.items()])
        self._rows.add(vectors)
        self._look_into(ADD_PROBES)
        self._codes.add_with_ids(vectors, np.arange(first, self._n_rows))
        self._index.ntotal = self._n_rows  # it checks the candidates' numbers against it

    def remove(self, track: int) -> None:
        """Removes a track's vectors."""
        # Not from the stages: after a `remove_ids`, faiss 1.15 adds damaged codes to an IndexIVFPQFastScan.
        if (slots := self._slots.pop(track, None)) is not None:
            first, end = slots
            self._is_alive[first:end] = False
            self._n_dead += end - first
            self._alive_bits = None

    def search(self, vectors: Floats, top_k: int, but: Collection[int] = ()) -> tuple[Floats, NDArray[np.int64]]:
        """The best vectors for each query, without those of the tracks in `but`.

        Args:
            vectors: float32 (n, dimensions).
            top_k: results for each.
            but: tracks to leave out.

        Returns:
            Inner products, float32 (n, top_k), largest first, and keys, int64 (n, top_k); -1 if there are no more.
        """
        self._look_into(max(ADD_PROBES, round(QUERY_PROBE_SHARE * math.sqrt(self.plan.n_cells))))
        stage = self._faiss.SearchParametersIVF(nprobe=self.plan.n_probes)
        if (selected := self._selected(but)) is not None:
            stage.sel = selector = self._faiss.IDSelectorBitmap(selected)  # noqa: F841 - must live as long as the search
        parameters = self._faiss.IndexRefineSearchParameters(k_factor=CANDIDATES_PER_RESULT, base_index_params=stage)
        scores, slots = self._index.search(np.ascontiguousarray(vectors, np.float32), top_k, params=parameters)
        keys = self._keys[slots] if self._n_rows else slots
        return scores, np.where(slots < 0, -1, keys)

    def _selected(self, but: Collection[int]) -> NDArray[np.uint8] | None:
        """The rows to search, as one bit each; None for all."""
        excluded = [self._slots[track] for track in but if track in self._slots]
        if not excluded and not self._n_dead:
            return None
        if self._alive_bits is None:
            self._alive_bits = _bits(self._is_alive[: self._n_rows])
        if not excluded:
            return self._alive_bits
        is_selected = self._is_alive[: self._n_rows].copy()
        for first, end in excluded:
            is_selected[first:end] = False
        return _bits(is_selected)

    def _stages(self, dimensions: int, sample: Floats) -> tuple[Any, Any]:
        """The two stages, trained and empty."""
        largest = (
            max(MIN_RANGE, RANGE_MARGIN * float(np.abs(sample).max())) if len(sample) >= MIN_TRAINING_VECTORS else 1.0
        )
        inner_product = self._faiss.METRIC_INNER_PRODUCT
        n_cells = 1
        if self.plan.n_cells > 1:
            self._cells = self._quantizer(sample)
            n_cells = self._cells.ntotal
        codes = self._faiss.IndexIVFPQFastScan(
            self._cells, dimensions, n_cells, dimensions // DIMENSIONS_PER_CODE, CODE_BITS, inner_product
        )
        codes.by_residual = False  # the codes describe the vectors, not what is left of them in a cell
        n_random = max(RANDOM_VECTORS, MIN_TRAINING_VECTORS - len(sample))
        codes.train(np.concatenate([sample[:CODE_TRAINING_VECTORS], _random_vectors(n_random, dimensions)]))
        rows = self._faiss.IndexScalarQuantizer(dimensions, self._faiss.ScalarQuantizer.QT_8bit, inner_product)
        rows.train(np.array([[-largest], [largest]], np.float32).repeat(dimensions, axis=1))
        return codes, rows

    def _look_into(self, n_groups: int) -> None:
        """Sets in how many groups of cells the nearest cells are looked for."""
        if self.plan.n_cells > 1:
            self._cells.nprobe = n_groups

    def _quantizer(self, sample: Floats) -> Any:
        """The cells, made by k-means within each of the groups that another k-means makes."""
        dimensions, n_groups = sample.shape[1], round(math.sqrt(self.plan.n_cells))
        groups = self._centroids(sample, n_groups)
        group_of = groups.search(sample, 1)[1][:, 0]
        n_cells = np.maximum(1, np.round(np.bincount(group_of, minlength=n_groups) / len(sample) * self.plan.n_cells))
        cells = [
            self._centroids(np.ascontiguousarray(members), min(int(n), len(members))).reconstruct_n()
            for group, n in enumerate(n_cells)
            if len(members := sample[group_of == group])
        ]
        quantizer = self._faiss.IndexIVFFlat(groups, dimensions, n_groups, self._faiss.METRIC_INNER_PRODUCT)
        quantizer.own_fields = False
        self._groups = groups  # must live as long as the quantizer
        quantizer.is_trained = True
        quantizer.add(np.concatenate(cells))
        return quantizer

    def _centroids(self, vectors: Floats, n: int) -> Any:
        """The n centroids of the vectors, in an index."""
        parameters = self._faiss.ClusteringParameters()
        parameters.niter, parameters.spherical, parameters.seed = K_MEANS_ROUNDS, True, 1
        parameters.min_points_per_centroid, parameters.max_points_per_centroid = 1, 1000
        found = self._faiss.IndexFlatIP(vectors.shape[1])
        self._faiss.Clustering(vectors.shape[1], n, parameters).train(vectors, found)
        return found

    def _reserve(self, n_rows: int) -> None:
        """Makes room for further rows, with some more than asked for: catalogs grow by one track at a time."""
        if self._n_rows + n_rows > len(self._keys):
            size = self._n_rows + n_rows + self._n_rows // 8
            self._keys, self._is_alive = np.resize(self._keys, size), np.resize(self._is_alive, size)


def _bits(flags: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.packbits(flags, bitorder="little")


def _random_vectors(n: int, dimensions: int) -> Floats:
    drawn = np.random.default_rng(0).normal(size=(n, dimensions)).astype(np.float32)
    unit: Floats = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit
