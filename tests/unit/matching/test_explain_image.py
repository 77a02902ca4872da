"""The image of a hypothesis: a PNG with stream and track at the same scale, and a line that hides no diagonal."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from monitor.core.explanation import Explanation, explain, tracks_in_question
from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ, Segment
from monitor.detect.fingerprint import NeuralDetector
from monitor.matching.explain_image import FAINT, LEFT_PX, LINE, RIGHT_PX, TOP_PX, ImageLabels, draw
from tests.unit.core.broadcasts import broadcast, heard, silence, track, unknown

T = NeuralDetector.thresholds
TRACK = track(1, 200)
ON_AIR = broadcast([*unknown(30, 90), *heard(TRACK, [30 + i for i in range(40)]), *silence(10)], {1: TRACK}, first=0)


def _explained(segments: Sequence[Segment], begin_s: float, end_s: float) -> Explanation:
    asked = (round(begin_s * SAMPLE_RATE_HZ), round(end_s * SAMPLE_RATE_HZ))
    assert tracks_in_question(segments, T, *asked) == {1}
    return explain(segments, {1: TRACK}, T, *asked)


def _drawn(segments: Sequence[Segment], explanation: Explanation, note: str = "why", title: str = "what") -> np.ndarray:
    words = ImageLabels(title, note, lambda clock: f"{clock // SAMPLE_RATE_HZ} s")
    png = draw(explanation, explanation.hypotheses[0], segments, TRACK, words)
    assert png.startswith(b"\x89PNG")
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    return _explained(ON_AIR, 20, 25)


def test_the_line_lies_on_the_dark_diagonal_and_leaves_it_visible(explanation: Explanation) -> None:
    drawn = _drawn(ON_AIR, explanation).astype(int)
    ys, xs = np.nonzero((drawn == LINE).all(axis=2))
    assert len(xs) > 150
    assert np.polyfit(xs, -ys, 1)[0] == pytest.approx(1, abs=0.05), "the same scale upwards and across"
    inner = (xs > xs.min() + 20) & (xs < xs.max() - 20)
    beside = [drawn[y, x + side].sum() / 3 for x, y in zip(xs[inner], ys[inner], strict=True) for side in (-2, 2)]
    away = [drawn[y, x + side].sum() / 3 for x, y in zip(xs[inner], ys[inner], strict=True) for side in (-40, 40)]
    assert np.median(beside) < 60
    assert np.median(away) > 200


def test_silence_has_a_color_of_its_own(explanation: Explanation) -> None:
    drawn = _drawn(ON_AIR, explanation)
    faint = (drawn == FAINT).all(axis=2)
    columns = np.flatnonzero(faint.sum(axis=0) > 0.9 * faint.sum(axis=0).max())
    assert len(columns) > 10
    assert columns.min() > np.nonzero((drawn == LINE).all(axis=2))[1].max() - 10


def test_missing_audio_is_drawn_like_silence() -> None:
    holed = [segment for i, segment in enumerate(ON_AIR) if not 20 <= i < 28]
    whole, drawn = (_drawn(each, _explained(each, 20, 25)) for each in (ON_AIR, holed))
    assert drawn.shape == whole.shape
    assert (drawn == FAINT).all(axis=2).sum() > (whole == FAINT).all(axis=2).sum()


def test_texts_longer_than_the_image_are_cut(explanation: Explanation) -> None:
    short, long = _drawn(ON_AIR, explanation), _drawn(ON_AIR, explanation, "why " * 200, "Ünï 日本 🎵 " * 90)
    assert short.shape == long.shape
    assert (long[: TOP_PX - 12, -RIGHT_PX + 2 :] == 255).all()
    assert (short[: TOP_PX - 12] != long[: TOP_PX - 12]).any()


@pytest.mark.parametrize("at_s", [0, 39])
def test_the_first_and_the_last_moment_can_be_drawn(at_s: float) -> None:
    aired = broadcast(heard(TRACK, [i * 1.0 for i in range(80)]), {1: TRACK}, first=7 * HOP_SAMPLES)
    drawn = _drawn(aired, _explained(aired, at_s, at_s + 5))
    assert min(drawn.shape[:2]) > LEFT_PX


def test_a_track_of_one_segment_can_be_drawn() -> None:
    one = Reference(TRACK.vectors[:1])
    aired = broadcast([*unknown(5, 91), TRACK.vectors[0], *unknown(5, 92)], {1: one})
    begin = aired[4].start
    explanation = explain(aired, {1: one}, T, begin, begin + SAMPLE_RATE_HZ, track=1)
    png = draw(explanation, explanation.hypotheses[0], aired, one, ImageLabels("a", "b", str))
    assert png.startswith(b"\x89PNG")
