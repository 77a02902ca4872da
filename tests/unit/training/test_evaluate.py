"""The retrieval benchmark's search and statistics, on synthetic vectors and sound."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ, count_segments
from monitor.detect.detector import Embeddings
from monitor.training import evaluate
from monitor.training.distortions.conditions import Sounds
from monitor.training.evaluate import Index, Track, segments_of, wilson


def _vectors(n: int, rng: np.random.Generator) -> np.ndarray:
    vectors = rng.standard_normal((n, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_query_is_found_at_its_place() -> None:
    rng = np.random.default_rng(1)
    tracks = [_vectors(n, rng) for n in (40, 9, 60)]
    index = Index()
    for i, vectors in enumerate(tracks):
        index.add(f"track {i}", vectors)
    index.close()
    noisy = tracks[2][17:37] + 0.1 * rng.standard_normal((20, 16)).astype(np.float32)
    assert index.best(noisy, [1, 5, 19]) == [(2, 17)] * 3


def test_an_alignment_never_crosses_the_end_of_a_track() -> None:
    rng = np.random.default_rng(2)
    first, second = _vectors(10, rng), _vectors(10, rng)
    index = Index()
    index.add("a", first)
    index.add("b", second)
    index.close()
    track, segment = index.best(np.concatenate([first[7:], second[:5]]), [8])[0]
    assert segment + 8 <= 10
    assert (track, segment) != (0, 7)


def test_versions_of_a_recording_count_as_the_same() -> None:
    index = Index()
    for group in ("song", "other", "song"):
        index.add(group, np.zeros((1, 4), np.float32))
    assert index.is_same(0, 2)
    assert not index.is_same(0, 1)


@pytest.mark.parametrize(
    ("found", "n", "low", "high"), [(0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (50, 100, 0.404, 0.596)]
)
def test_the_wilson_interval_matches_published_values(found: int, n: int, low: float, high: float) -> None:
    share = wilson(found, n)
    assert (share.share, share.n) == (found / n, n)
    assert (share.low, share.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))


def test_a_query_of_ten_seconds_has_nineteen_segments() -> None:
    assert [segments_of(s) for s in evaluate.LENGTHS_S] == [
        count_segments(s * SAMPLE_RATE_HZ) for s in evaluate.LENGTHS_S
    ]
    assert segments_of(10) == 19


def test_the_whole_benchmark_finds_clean_queries() -> None:
    def embed(pcm: np.ndarray) -> Embeddings:
        """The power of every segment in 16 bands, which is enough to distinguish noises with different spectra."""
        n = count_segments(len(pcm))
        frames = [pcm[i * HOP_SAMPLES : i * HOP_SAMPLES + SAMPLE_RATE_HZ].astype(np.float64) for i in range(n)]
        power = [np.log(np.square(np.abs(np.fft.rfft(f))).reshape(-1)[:16000].reshape(16, -1).mean(1)) for f in frames]
        vectors = np.array(power) - np.mean(power, axis=1, keepdims=True)
        return Embeddings(
            (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), np.ones(n, bool)
        )

    rng = np.random.default_rng(3)
    tracks = []
    for i in range(3):
        color = np.repeat(np.exp(rng.uniform(-2, 2, 16)), 15_000)
        noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(480_000))[:-1] * color, 480_000)
        tracks.append(Track(f"noise {i}", (noise / np.abs(noise).max() * 20_000).astype(np.int16)))
    nothing = np.zeros(15 * SAMPLE_RATE_HZ, np.int16)
    rows = evaluate.run(
        {"bands": embed}, {"music": tracks}, [], Sounds(nothing, nothing), n_queries=3, seed=1, only="clean"
    )
    (row,) = rows["bands"]
    assert row.track[10].share == 1
    assert "clean" in evaluate.as_text(rows)
