"""The pure parts of the benchmark's adapters: alignments, and what the peers print."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.detect.detector import Detector
from tests.bench.peers import chromaprint, olaf
from tests.bench.peers.airtrace import Airtrace, best_lines
from tests.bench.peers.audfprint import Audfprint

STARTS = np.array([0, 400, 450, 1000])


@pytest.fixture
def words() -> chromaprint.Words:
    return np.random.default_rng(1).integers(0, 2**32, 1000, np.uint32)


def test_chromaprints_words_are_found_where_they_lie(words: chromaprint.Words) -> None:
    best = chromaprint.aligned(words, STARTS, words[600:620])[0]
    assert (best.track, best.score) == (2, 1.0)
    assert best.position_s == pytest.approx(150 * chromaprint.STEP_S)


def test_a_few_flipped_bits_are_counted(words: chromaprint.Words) -> None:
    query = words[10:20] ^ np.uint32(0b1011)
    best = chromaprint.aligned(words, STARTS, query)[0]
    assert (best.track, best.score) == (0, 1 - 3 / 32)


def test_an_alignment_never_spans_two_references(words: chromaprint.Words) -> None:
    across = chromaprint.aligned(words, STARTS, words[395:405])
    assert across[0].score < 0.7
    assert all(answer.score < 0.7 for answer in across)


def test_a_reference_shorter_than_the_query_is_no_answer(words: chromaprint.Words) -> None:
    assert {answer.track for answer in chromaprint.aligned(words, STARTS, words[:60])} == {0, 2}


def test_blocks_change_nothing(words: chromaprint.Words, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = chromaprint.aligned(words, STARTS, words[600:620])
    monkeypatch.setattr(chromaprint, "BLOCK", 7)
    assert chromaprint.aligned(words, STARTS, words[600:620]) == whole


def test_no_words_are_no_answer(words: chromaprint.Words) -> None:
    assert chromaprint.aligned(words, STARTS, words[:0]) == []


def test_the_best_line_is_where_the_vectors_come_from() -> None:
    vectors = np.random.default_rng(2).standard_normal((1000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    best = best_lines(vectors, STARTS, vectors[460:465])[0]
    assert (best.track, best.position_s) == (2, 5.0)
    assert best.score == pytest.approx(1, abs=1e-5)
    assert best_lines(vectors, STARTS, vectors[398:402])[0].score < 0.9
    assert best_lines(vectors, STARTS, np.zeros((3, 16), np.float32)) == []


def test_olafs_lines_are_read_best_first() -> None:
    told = "6, 0.09, 2.89, 7, 3728283981, 20.09, 22.89\n92, 0.19, 4.49, 12, 278920730, 21.19, 24.49\n"
    assert [(a.track, a.score, round(a.position_s, 2)) for a in olaf.parsed(told)] == [(12, 92, 21.0), (7, 6, 20.0)]
    assert olaf.parsed("0, 0.00, 0.00, , 0, 0.00, 0.00\n") == []


def test_what_is_not_here_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRTRACE_PEERS", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    for system in (Audfprint(), olaf.Olaf(), chromaprint.Chromaprint(), Airtrace("Airtrace", _no_weights)):
        assert (why := system.missing()) is not None
        assert "/nowhere" in why or "apt-get" in why or "no weights" in why


def _no_weights() -> Detector:
    raise FileNotFoundError("no weights")
