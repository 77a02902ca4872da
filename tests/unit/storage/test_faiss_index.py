"""The index in memory finds what an exact search finds, through additions and removals."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.storage.candidate_search import SEGMENT_BITS
from monitor.storage.faiss_index import FaissIndex, IndexPlan, plan_for

DIMENSIONS = 128
TRACK_VECTORS = 100
Floats = NDArray[np.float32]


def unit(n: int, seed: int) -> Floats:
    drawn = np.random.default_rng(seed).normal(size=(n, DIMENSIONS)).astype(np.float32)
    found: Floats = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return found


def near(vectors: Floats, cosine: float, seed: int) -> Floats:
    """Vectors with this cosine to the given ones."""
    away = unit(len(vectors), seed)
    away -= np.einsum("ij,ij->i", away, vectors)[:, np.newaxis] * vectors
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    mixed: Floats = (cosine * vectors + np.sqrt(1 - cosine**2) * away).astype(np.float32)
    return mixed


def catalog(n_tracks: int) -> dict[int, Floats]:
    return {track: unit(TRACK_VECTORS, track) for track in range(1, n_tracks + 1)}


def index_of(tracks: dict[int, Floats], plan: IndexPlan) -> FaissIndex:
    sample = np.concatenate([np.empty((0, DIMENSIONS), np.float32), *tracks.values()])
    index = FaissIndex(DIMENSIONS, plan, sample)
    index.add(tracks)
    return index


def place(key: int) -> tuple[int, int]:
    return key >> SEGMENT_BITS, key & ((1 << SEGMENT_BITS) - 1)


@pytest.mark.parametrize("n_tracks", [1, 300])
@pytest.mark.parametrize("cosine", [1.0, 0.6])
def test_segments_are_found_at_their_places_with_their_cosines(n_tracks: int, cosine: float) -> None:
    tracks = catalog(n_tracks)
    index = index_of(tracks, plan_for(n_tracks * TRACK_VECTORS))
    queries = near(tracks[n_tracks], cosine, 10_000)
    scores, keys = index.search(queries, 5)
    assert [place(int(key)) for key in keys[:, 0]] == [(n_tracks, i) for i in range(TRACK_VECTORS)]
    assert scores[:, 0] == pytest.approx(cosine, abs=0.02)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_the_hits_are_those_of_an_exact_search() -> None:
    tracks = catalog(200)
    index = index_of(tracks, plan_for(20_000))
    everything = np.concatenate(list(tracks.values()))
    queries = unit(200, 999)
    exact = np.argsort(-(queries @ everything.T), axis=1)[:, :10]
    _, keys = index.search(queries, 10)
    found = (keys >> SEGMENT_BITS) * TRACK_VECTORS - TRACK_VECTORS + (keys & ((1 << SEGMENT_BITS) - 1))
    shared = np.mean([len(set(a) & set(b)) for a, b in zip(exact.tolist(), found.tolist(), strict=True)]) / 10
    assert shared > 0.9, "of the ten best among vectors that have nothing in common"


def test_cells_keep_what_is_near() -> None:
    tracks = catalog(100)
    index = index_of(tracks, IndexPlan(10_000, 16, 8))
    assert index.plan.n_cells == 16
    _, keys = index.search(near(tracks[5], 0.9, 10_000), 1)
    assert sum(place(int(key)) == (5, i) for i, key in enumerate(keys[:, 0])) >= 0.95 * TRACK_VECTORS


def test_a_sample_that_is_too_small_for_the_cells_gives_one_cell() -> None:
    assert index_of(catalog(1), IndexPlan(100, 16, 8)).plan.n_cells == 1


def test_a_removed_track_is_gone_and_can_come_back_with_other_vectors() -> None:
    tracks = catalog(20)
    index = index_of(tracks, plan_for(2_000))
    index.remove(7)
    index.remove(7)
    assert len(index) == 19 * TRACK_VECTORS
    assert not (index.search(tracks[7], 10)[1] >> SEGMENT_BITS == 7).any()
    other = unit(30, 10_000)
    index.add({7: other})
    assert [place(int(key)) for key in index.search(other, 1)[1][:, 0]] == [(7, i) for i in range(30)]
    index.add({7: tracks[7]})
    assert len(index) == 20 * TRACK_VECTORS
    assert not (index.search(other, 1)[0] > 0.99).any()


def test_silence_is_left_out_and_positions_stay() -> None:
    vectors = unit(50, 1)
    vectors[10:20] = 0
    index = index_of({3: vectors, 4: np.zeros((5, DIMENSIONS), np.float32)}, plan_for(50))
    assert len(index) == 40
    assert [place(int(key)) for key in index.search(vectors[20:22], 1)[1][:, 0]] == [(3, 20), (3, 21)]


def test_tracks_are_left_out_of_a_search() -> None:
    tracks = catalog(3)
    index = index_of(tracks, plan_for(300))
    _, keys = index.search(tracks[1], 10, but=[1, 3, 99])
    assert (keys >> SEGMENT_BITS == 2).all()
    _, keys = index.search(tracks[1][:1], 10, but=[1, 2, 3])
    assert (keys == -1).all()


def test_an_index_without_vectors_finds_nothing() -> None:
    scores, keys = index_of({}, plan_for(0)).search(unit(2, 1), 3)
    assert scores.shape == (2, 3)
    assert (keys == -1).all()


def test_the_greatest_track_fits_into_a_key() -> None:
    vectors = unit(3, 1)
    index = index_of({2**38: vectors}, plan_for(3))
    assert [place(int(key)) for key in index.search(vectors, 1)[1][:, 0]] == [(2**38, i) for i in range(3)]


def test_many_removals_make_it_worth_building_again() -> None:
    index = index_of(catalog(8), plan_for(800))
    index.remove(1)
    assert not index.is_fragmented
    index.remove(2)
    index.remove(3)
    assert index.is_fragmented
