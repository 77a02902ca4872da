"""Passages are ten seconds each, and the same however a stream is cut into windows."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.wire import Window
from monitor.core.segments import PASSAGE_SAMPLES
from monitor.similarity.passages import PassageCutter, passages_of

ANCHOR = 10**12
ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2)


def sound(n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(-999, 999, n).astype(np.int16)


def window(pcm: np.ndarray, first: int, session: uuid.UUID = ONE) -> Window:
    return Window(1, session, 0, ANCHOR, first, pcm.tobytes())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 200_000), min_size=1, max_size=12), st.integers(0, 2 * PASSAGE_SAMPLES))
def test_windows_of_any_length_give_the_same_passages(lengths: list[int], first: int) -> None:
    pcm, cutter = sound(sum(lengths)), PassageCutter()
    found, at = [], 0
    for length in lengths:
        found += cutter.feed(window(pcm[at : at + length], first + at))
        at += length
    start = -first % PASSAGE_SAMPLES
    whole = range(start, len(pcm) - PASSAGE_SAMPLES + 1, PASSAGE_SAMPLES)
    assert [instant for instant, _ in found] == [ANCHOR + first + begin for begin in whole]
    for (_, heard), begin in zip(found, whole, strict=True):
        np.testing.assert_array_equal(heard, pcm[begin : begin + PASSAGE_SAMPLES])


@pytest.mark.parametrize(("first", "session"), [(400_000, ONE), (0, TWO)], ids=["lost window", "new session"])
def test_audio_before_and_after_a_break_is_never_one_passage(first: int, session: uuid.UUID) -> None:
    cutter = PassageCutter()
    assert cutter.feed(window(sound(300_000), 0)) == []
    assert cutter.feed(window(sound(100_000), first, session)) == []


def test_windows_that_are_repeated_give_their_passages_again() -> None:
    cutter = PassageCutter()
    pcm = sound(2 * PASSAGE_SAMPLES)
    assert len(cutter.feed(window(pcm, 0))) == 2
    ((start, again),) = cutter.feed(window(pcm[:PASSAGE_SAMPLES], 0))
    assert start == ANCHOR
    np.testing.assert_array_equal(again, pcm[:PASSAGE_SAMPLES])


@pytest.mark.parametrize(
    ("n", "lengths"),
    [
        (0, []),
        (5_000, [5_000]),
        (PASSAGE_SAMPLES, [PASSAGE_SAMPLES]),
        (PASSAGE_SAMPLES + 31_999, [PASSAGE_SAMPLES]),
        (PASSAGE_SAMPLES + 32_000, [PASSAGE_SAMPLES, 32_000]),
    ],
)
def test_the_rest_of_a_recording_is_a_passage_if_it_is_long_enough(n: int, lengths: list[int]) -> None:
    assert [len(piece) for piece in passages_of(sound(n))] == lengths
