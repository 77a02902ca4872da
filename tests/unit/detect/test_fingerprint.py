"""The neural fingerprint: vectors do not depend on level, DC or cutting; wrong weights are rejected."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnxruntime", reason="the fingerprint's runtime is not installed")

from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ, SEGMENT_SAMPLES, count_segments
from monitor.detect import spectrum
from monitor.detect.expected_similarity import PREDICTOR_NAME, SimilarityPredictor
from monitor.detect.fingerprint import CARD_NAME, NETWORK_NAME, WEIGHTS, NeuralDetector, read_card
from monitor.errors import SettingsError

Pcm = NDArray[np.int16]


@pytest.fixture(scope="module")
def detector() -> NeuralDetector:
    return NeuralDetector()


def _music(seconds: float, seed: int = 1, level: float = 0.8) -> Pcm:
    """Chords of three tones with overtones, changing every 0.3 s, plus a little noise."""
    chance = np.random.default_rng(seed)
    n = round(seconds * SAMPLE_RATE_HZ)
    at = np.arange(n) / SAMPLE_RATE_HZ
    notes = chance.uniform(220, 1800, (int(seconds / 0.3) + 1, 3))[(at / 0.3).astype(int)]
    phases = 2 * np.pi * np.cumsum(notes, axis=0) / SAMPLE_RATE_HZ
    sound = (np.sin(phases) + 0.3 * np.sin(2 * phases)).sum(axis=1) / 4 + 0.02 * chance.standard_normal(n)
    return np.clip(level * sound * 32767, -32768, 32767).astype(np.int16)


def _apart(detector: NeuralDetector, first: Pcm, second: Pcm) -> float:
    """The largest difference from 1 of the cosines of corresponding segments."""
    a, b = detector.embed(first).vectors, detector.embed(second).vectors
    return float(1 - np.einsum("ij,ij->i", a, b).min())


def test_the_detector_info_identifies_the_weights(detector: NeuralDetector) -> None:
    info = detector.info
    assert (info.name, info.version, info.dimensions) == ("fingerprint", "naf-3", 128)
    assert info.checksum == read_card().sha256[:12]


def test_the_weights_are_small_enough_for_a_wheel() -> None:
    assert (WEIGHTS / NETWORK_NAME).stat().st_size <= 10_000_000


def test_there_is_a_unit_vector_for_every_segment(detector: NeuralDetector) -> None:
    made = detector.embed(_music(7.3))
    assert made.vectors.shape == (count_segments(round(7.3 * SAMPLE_RATE_HZ)), 128)
    assert made.vectors.dtype == np.float32
    assert np.linalg.norm(made.vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_vectors_stay_the_same_40_db_lower(detector: NeuralDetector) -> None:
    loud = _music(6)
    assert _apart(detector, loud, np.round(loud * 0.01).astype(np.int16)) < 1e-2
    # Without rounding to 16 bit, which adds noise, level has no effect at all.
    power = spectrum.segment_view(spectrum.mel_power(spectrum.decimate(loud)))
    assert spectrum.normalize(power * np.float32(1e-4)) == pytest.approx(spectrum.normalize(power), abs=1e-3)


def test_dc_has_no_effect(detector: NeuralDetector) -> None:
    sound = _music(4, level=0.5)
    assert _apart(detector, sound, sound + np.int16(9000)) < 1e-3


def test_vectors_of_silence_are_zero(detector: NeuralDetector) -> None:
    quiet = np.random.default_rng(2).integers(-2, 3, 2 * SEGMENT_SAMPLES).astype(np.int16)
    for pcm in (np.zeros(2 * SEGMENT_SAMPLES, np.int16), np.full(2 * SEGMENT_SAMPLES, 5000, np.int16), quiet):
        made = detector.embed(pcm)
        assert not made.audible.any()
        assert not made.vectors.any()


@pytest.mark.parametrize("seconds", [3, 17, 70])  # fewer segments than a block, and more than one block
def test_vectors_do_not_depend_on_how_the_sound_is_cut(detector: NeuralDetector, seconds: int) -> None:
    pcm = _music(seconds, seed=seconds)
    whole = detector.embed(pcm).vectors
    for first in range(0, len(whole), 7):
        part = detector.embed(pcm[first * HOP_SAMPLES : first * HOP_SAMPLES + SEGMENT_SAMPLES + 2 * HOP_SAMPLES])
        assert part.vectors == pytest.approx(whole[first : first + len(part.vectors)], abs=2e-6)


def test_recordings_embedded_together_have_the_vectors_that_each_has_alone(detector: NeuralDetector) -> None:
    lengths_s = [2.5, 0.7, 3, 70, 2.5, 40, 30, 2]  # of which 0.7 s have no segment, and 70 s more than one block
    pcms = [_music(length_s, seed=i) for i, length_s in enumerate(lengths_s)]
    pcms[-1][:] = 0
    together = detector.embed_many(pcms)
    assert [len(each.vectors) for each in together] == [count_segments(len(pcm)) for pcm in pcms]
    for found, alone in zip(together, map(detector.embed, pcms), strict=True):
        assert found.vectors == pytest.approx(alone.vectors, abs=2e-6)
        assert np.array_equal(found.audible, alone.audible)
        if len(alone.vectors):
            assert found.expected_similarity == pytest.approx(alone.expected_similarity, abs=1e-5)
    assert detector.embed_many([]) == []


def test_samples_outside_a_segment_have_no_effect_on_its_vector(detector: NeuralDetector) -> None:
    pcm = _music(3)
    other = pcm.copy()
    other[:HOP_SAMPLES] = other[HOP_SAMPLES + SEGMENT_SAMPLES :] = 0
    assert detector.embed(other).vectors[1] == pytest.approx(detector.embed(pcm).vectors[1], abs=2e-6)


def test_weights_that_model_json_does_not_describe_are_rejected(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(WEIGHTS, folder)
    network = bytearray((folder / NETWORK_NAME).read_bytes())
    network[len(network) // 2] ^= 1
    (folder / NETWORK_NAME).write_bytes(network)
    with pytest.raises(SettingsError, match="install airtrace again"):
        NeuralDetector(folder)


def test_missing_weights_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="airtrace model train"):
        NeuralDetector(tmp_path)


def test_a_missing_damaged_or_foreign_similarity_predictor_is_rejected(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(WEIGHTS, folder)
    path = folder / PREDICTOR_NAME
    right = path.read_bytes()
    another = SimilarityPredictor(((np.ones((1, 128), np.float32), np.zeros(1, np.float32)),)).to_bytes()
    for wrong in (right[:1000], b"", pickle.dumps([1.0]), another):
        path.write_bytes(wrong)
        with pytest.raises(SettingsError, match="install airtrace again"):
            NeuralDetector(folder)
    path.unlink()
    with pytest.raises(SettingsError, match="install airtrace again"):
        NeuralDetector(folder)


def test_weights_without_a_similarity_predictor_give_the_same_vectors(tmp_path: Path, detector: NeuralDetector) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(WEIGHTS, folder)
    card = json.loads((folder / CARD_NAME).read_text())
    del card["similarity_predictor"]
    (folder / CARD_NAME).write_text(json.dumps(card))
    pcm = _music(3)
    plain = NeuralDetector(folder).embed(pcm)
    assert plain.expected_similarity is None
    assert (plain.vectors == detector.embed(pcm).vectors).all()


def test_a_similarity_is_predicted_for_every_segment_from_its_vector_alone(detector: NeuralDetector) -> None:
    whole, part = detector.embed(_music(10)), detector.embed(_music(10)[4 * HOP_SAMPLES :])
    assert whole.expected_similarity is not None
    assert part.expected_similarity is not None
    assert whole.expected_similarity.shape == (19,)
    assert whole.expected_similarity[4:] == pytest.approx(part.expected_similarity, abs=1e-4)
    assert (np.abs(whole.expected_similarity - 0.5) < 0.7).all()
    assert whole.expected_similarity.std() > 0.02
