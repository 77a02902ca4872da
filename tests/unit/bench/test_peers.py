"""The pure parts of the adapters of other systems: alignment, and parsing of output."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.detect.detector import Detector
from tests.bench.peers import chromaprint, olaf
from tests.bench.peers.airtrace import Airtrace, best_alignments
from tests.bench.peers.audfprint import Audfprint

STARTS = np.array([0, 400, 450, 1000])


@pytest.fixture
def words() -> chromaprint.Words:
    return np.random.default_rng(1).integers(0, 2**32, 1000, np.uint32)


def test_words_of_chromaprint_are_found_at_their_place(words: chromaprint.Words) -> None:
    best = chromaprint.aligned(words, STARTS, words[600:620])[0]
    assert (best.track, best.score) == (2, 1.0)
    assert best.position_s == pytest.approx(150 * chromaprint.STEP_S)


def test_the_score_counts_differing_bits(words: chromaprint.Words) -> None:
    query = words[10:20] ^ np.uint32(0b1011)
    best = chromaprint.aligned(words, STARTS, query)[0]
    assert (best.track, best.score) == (0, 1 - 3 / 32)


def test_an_alignment_never_spans_two_references(words: chromaprint.Words) -> None:
    across = chromaprint.aligned(words, STARTS, words[395:405])
    assert across[0].score < 0.7
    assert all(answer.score < 0.7 for answer in across)


def test_a_reference_shorter_than_the_query_is_not_an_answer(words: chromaprint.Words) -> None:
    assert {answer.track for answer in chromaprint.aligned(words, STARTS, words[:60])} == {0, 2}


def test_the_block_size_does_not_change_the_answer(words: chromaprint.Words) -> None:
    whole = chromaprint.aligned(words, STARTS, words[600:620])
    assert chromaprint.aligned(words, STARTS, words[600:620], block=7) == whole


def test_an_empty_query_has_no_answer(words: chromaprint.Words) -> None:
    assert chromaprint.aligned(words, STARTS, words[:0]) == []


def test_the_best_alignment_is_where_the_vectors_come_from() -> None:
    vectors = np.random.default_rng(2).standard_normal((1000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    best = best_alignments(vectors, STARTS, vectors[460:465])[0]
    assert (best.track, best.position_s) == (2, 5.0)
    assert best.score == pytest.approx(1, abs=1e-5)
    assert best_alignments(vectors, STARTS, vectors[398:402])[0].score < 0.9
    assert best_alignments(vectors, STARTS, np.zeros((3, 16), np.float32)) == []


def test_the_output_of_olaf_is_sorted_by_score() -> None:
    printed = "6, 0.09, 2.89, 7, 3728283981, 20.09, 22.89\n92, 0.19, 4.49, 12, 278920730, 21.19, 24.49\n"
    assert [(a.track, a.score, round(a.position_s, 2)) for a in olaf.parsed(printed)] == [(12, 92, 21.0), (7, 6, 20.0)]
    assert olaf.parsed("0, 0.00, 0.00, , 0, 0.00, 0.00\n") == []


def test_a_missing_system_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRTRACE_PEERS", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    for system in (Audfprint(), olaf.Olaf(), chromaprint.Chromaprint(), Airtrace("Airtrace", _no_weights)):
        assert (why := system.missing()) is not None
        assert "/nowhere" in why or "apt-get" in why or "no weights" in why


def _no_weights() -> Detector:
    raise FileNotFoundError("no weights")
