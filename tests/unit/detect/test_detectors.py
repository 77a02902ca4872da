"""Properties of every detector, on synthetic sound: unit vectors, silence left out, no effect of level or cutting."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.core.segmenter import Segmenter
from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ, SEGMENT_SAMPLES, count_segments
from monitor.detect.detector import Detector
from monitor.detect.fingerprint import NeuralDetector
from monitor.detect.logmel import LogMelDetector


@pytest.fixture(scope="module", params=[LogMelDetector, NeuralDetector])
def detector(request: pytest.FixtureRequest) -> Detector:
    made: Detector = request.param()
    return made


def _sound(seconds: float, seed: int = 1, level: float = 0.2) -> NDArray[np.int16]:
    """Chords of three tones with a little noise, changing every 0.3 s."""
    chance = np.random.default_rng(seed)
    n = round(seconds * SAMPLE_RATE_HZ)
    at = np.arange(n) / SAMPLE_RATE_HZ
    chords = chance.uniform(220, 1800, size=(int(seconds / 0.3) + 1, 3))
    notes = chords[(at / 0.3).astype(int)]
    sound = sum(np.sin(2 * np.pi * np.cumsum(notes[:, k]) / SAMPLE_RATE_HZ) for k in range(3))
    mixed = level * (sound / 3 + 0.02 * chance.normal(size=n))
    return np.clip(mixed * 32767, -32768, 32767).astype(np.int16)


def test_there_is_a_unit_vector_for_every_whole_segment(detector: Detector) -> None:
    pcm = _sound(7.3)
    embeddings = detector.embed(pcm)
    assert embeddings.vectors.shape == (count_segments(len(pcm)), detector.info.dimensions)
    assert embeddings.vectors.dtype == np.float32
    assert embeddings.audible.all()
    assert np.linalg.norm(embeddings.vectors, axis=1) == pytest.approx(np.ones(count_segments(len(pcm))), abs=1e-5)


@pytest.mark.parametrize("n", [0, 1, SEGMENT_SAMPLES - 1])
def test_less_than_a_segment_gives_nothing(detector: Detector, n: int) -> None:
    embeddings = detector.embed(_sound(2)[:n])
    assert (embeddings.vectors.shape, len(embeddings.audible)) == ((0, detector.info.dimensions), 0)


@pytest.mark.parametrize("n", [SEGMENT_SAMPLES, SEGMENT_SAMPLES + 1, SEGMENT_SAMPLES + HOP_SAMPLES - 1, 99_999])
def test_any_length_gives_its_whole_segments(detector: Detector, n: int) -> None:
    assert len(detector.embed(_sound(4)[:n]).vectors) == count_segments(n)


def test_silence_dc_and_a_trace_of_noise_are_not_audible(detector: Detector) -> None:
    chance = np.random.default_rng(2)
    for quiet in (
        np.zeros(2 * SEGMENT_SAMPLES, np.int16),
        np.full(2 * SEGMENT_SAMPLES, 5000, np.int16),
        chance.integers(-2, 3, 2 * SEGMENT_SAMPLES).astype(np.int16),
    ):
        embeddings = detector.embed(quiet)
        assert not embeddings.audible.any()
        assert not embeddings.vectors.any()


def test_audibility_is_decided_per_segment(detector: Detector) -> None:
    pcm = np.concatenate([np.zeros(2 * SEGMENT_SAMPLES, np.int16), _sound(3), np.zeros(2 * SEGMENT_SAMPLES, np.int16)])
    audible = detector.embed(pcm).audible
    assert not audible[:3].any()
    assert audible[4:9].all()
    assert not audible[-3:].any()


def test_vectors_stay_the_same_40_db_lower_and_with_dc(detector: Detector) -> None:
    pcm = _sound(5, level=0.8)
    quiet = np.round(pcm * 0.01 + 300).astype(np.int16)
    cosines = np.einsum("ij,ij->i", detector.embed(pcm).vectors, detector.embed(quiet).vectors)
    assert cosines.min() > 0.99


def test_different_sounds_give_different_vectors(detector: Detector) -> None:
    one, two = detector.embed(_sound(20, seed=3)).vectors, detector.embed(_sound(20, seed=4)).vectors
    assert np.median(np.einsum("ij,ij->i", one, two)) < 0.5


def test_with_a_shift_of_a_quarter_second_the_neighboring_segments_stay_nearest(detector: Detector) -> None:
    pcm = _sound(30, seed=5)
    reference = detector.embed(pcm).vectors
    query = detector.embed(pcm[SAMPLE_RATE_HZ // 4 :]).vectors
    nearest = (query @ reference.T).argmax(axis=1)
    right = np.abs(nearest - np.arange(len(query)) - 0.5) <= 0.5
    assert right.mean() > 0.85  # the worst possible shift, and chords that change faster than in most music


def test_vectors_do_not_depend_on_how_the_sound_is_cut(detector: Detector) -> None:
    pcm = _sound(12, seed=6)
    whole = detector.embed(pcm).vectors
    segmenter, parts = Segmenter(), []
    for piece in np.array_split(pcm, [40_000, 41_000, 170_007, 200_000]):
        _, block = segmenter.feed(piece)
        parts.append(detector.embed(block).vectors)
    assert np.concatenate(parts) == pytest.approx(whole, abs=1e-4)


def test_its_name_and_checksum_are_stable(detector: Detector) -> None:
    again = type(detector)()
    assert again.info == detector.info
    assert detector.info.name == "fingerprint"
    assert len(detector.info.checksum) == 12
