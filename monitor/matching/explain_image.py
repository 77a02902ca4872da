"""Draws the similarity of a stream and a track: stream to the right, track upward, and a hypothesis' alignment.

Dark means similar. The line is one pixel wide, so that the dark diagonal it was fitted to shows on both sides.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from monitor.core.alignment.cross_similarity import cross_similarity
from monitor.core.explanation import Explanation, Hypothesis
from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ, SEGMENT_SAMPLES, Segment

Pixels = NDArray[np.uint8]

LONGER_PX = 900  # approximate length of the longer side of the plot
MIN_CELL_PX, MAX_CELL_PX = 3, 14
MIN_PLOT_PX = 560  # the width of a hypothesis' reason, which is written above the plot
BESIDE_SAMPLES = 10 * SAMPLE_RATE_HZ  # of the stream, on both sides of the interval in question
AROUND_SAMPLES = 15 * SAMPLE_RATE_HZ  # of the track, below and above the line: shows repeats in the track
LEFT_PX, TOP_PX, RIGHT_PX, BOTTOM_PX = 58, 62, 20, 46
TICK_PX, TEXT_PX, STRIP_PX = 5, 13, 5
TICK_GAP_PX = 68  # a time of day is 55 wide
TICK_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600)
WHITE_COSINE, BLACK_COSINE = 0.0, 0.95  # fixed, so that images can be compared
WHITE, INK, FAINT = (255, 255, 255), (40, 40, 40), (215, 228, 240)
LINE, IN_QUESTION = (214, 39, 40), (31, 119, 180)


@dataclass(frozen=True, slots=True)
class ImageLabels:
    """Texts: two lines above the plot, and the time at a stream clock value, beside the ticks."""

    title: str
    note: str
    instant: Callable[[int], str]


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of the plot: `n` segments, a cell each; they start at `first` and at every hop after it."""

    first: int
    n: int
    cell_px: int

    @property
    def length_px(self) -> int:
        return self.n * self.cell_px

    def px(self, at: float) -> float:
        """Pixel of a stream clock value or track position. The middle of a cell is the middle of its segment."""
        return ((at - self.first - SEGMENT_SAMPLES / 2) / HOP_SAMPLES + 0.5) * self.cell_px

    def ticks(self, gap_px: int) -> Iterator[int]:
        """Round times, at least `gap_px` apart."""
        second_px = self.cell_px * SAMPLE_RATE_HZ / HOP_SAMPLES
        step = next((s for s in TICK_STEPS_S if s * second_px >= gap_px), TICK_STEPS_S[-1]) * SAMPLE_RATE_HZ
        at = -(-self.first // step) * step
        while self.px(at) <= self.length_px:
            if self.px(at) >= 0:
                yield at
            at += step


def draw(
    explanation: Explanation,
    hypothesis: Hypothesis,
    segments: Sequence[Segment],
    reference: Reference,
    labels: ImageLabels,
) -> bytes:
    """Draws a hypothesis as a PNG. `reference` is its track; `segments` are those of the stream around the moment."""
    across, upwards = _axes(explanation, hypothesis, segments, reference)
    width = LEFT_PX + max(across.length_px, MIN_PLOT_PX) + RIGHT_PX
    image = Image.new("RGB", (width, TOP_PX + upwards.length_px + BOTTOM_PX), WHITE)
    image.paste(Image.fromarray(_plot(across, upwards, segments, reference)), (LEFT_PX, TOP_PX))
    pen = _Pen(ImageDraw.Draw(image), across, upwards)
    pen.frame(labels)
    pen.interval(explanation.begin, explanation.end)
    pen.line(hypothesis)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _axes(
    explanation: Explanation, hypothesis: Hypothesis, segments: Sequence[Segment], reference: Reference
) -> tuple[_Axis, _Axis]:
    """The parts of stream and track to show: the line, the interval in question, and a margin around them."""
    begin = max(segments[0].start, min(explanation.begin, hypothesis.start) - BESIDE_SAMPLES)
    end = min(segments[-1].start, max(explanation.end, hypothesis.end) + BESIDE_SAMPLES)
    begin = min((segment.start for segment in segments if segment.start >= begin), default=segments[0].start)
    n_across = max(1, (end - begin) // HOP_SAMPLES + 1)
    n_track = len(reference)
    lowest = max(0, round((hypothesis.alignment.position_at(begin) - AROUND_SAMPLES) / HOP_SAMPLES))
    lowest = min(lowest, n_track - 1)
    highest = max(
        lowest + 1, min(n_track, round((hypothesis.alignment.position_at(end) + AROUND_SAMPLES) / HOP_SAMPLES))
    )
    n_upwards = highest - lowest
    cell_px = max(MIN_CELL_PX, min(MAX_CELL_PX, LONGER_PX // max(n_across, n_upwards)))
    return _Axis(begin, n_across, cell_px), _Axis(lowest * HOP_SAMPLES, n_upwards, cell_px)


def _plot(across: _Axis, upwards: _Axis, segments: Sequence[Segment], reference: Reference) -> Pixels:
    """Pixels, (height, width, 3) uint8: a cell for each pair of segments; pale where one of them is silent."""
    first = upwards.first // HOP_SAMPLES
    shown = Reference(reference.part(first, first + upwards.n))
    columns = {round((segment.start - across.first) / HOP_SAMPLES): segment for segment in segments}
    across_segments = [columns.get(i, Segment(across.first + i * HOP_SAMPLES, None)) for i in range(across.n)]
    cosines = np.flipud(cross_similarity(shown, across_segments))
    share = np.clip((np.nan_to_num(cosines) - WHITE_COSINE) / (BLACK_COSINE - WHITE_COSINE), 0, 1)
    gray = np.repeat(np.round(255 * (1 - share)).astype(np.uint8)[:, :, np.newaxis], 3, axis=2)
    gray[np.isnan(cosines)] = FAINT
    cells: Pixels = gray.repeat(across.cell_px, axis=0).repeat(across.cell_px, axis=1)
    return cells


@dataclass(frozen=True, slots=True)
class _Pen:
    """Draws around and into the plot."""

    pen: ImageDraw.ImageDraw
    across: _Axis
    upwards: _Axis

    def at(self, instant: float, position: float) -> tuple[float, float]:
        """Pixel of a point of the plot in the image."""
        bottom = TOP_PX + self.upwards.length_px
        return LEFT_PX + self.across.px(instant), bottom - self.upwards.px(position)

    def frame(self, labels: ImageLabels) -> None:
        """Draws the frame, the ticks with their times, and the two lines above the plot."""
        right, bottom = LEFT_PX + self.across.length_px, TOP_PX + self.upwards.length_px
        self.pen.rectangle((LEFT_PX - 1, TOP_PX - 1, right, bottom), outline=INK)
        for instant in self.across.ticks(TICK_GAP_PX):
            x = self.at(instant, 0)[0]
            self.pen.line((x, bottom, x, bottom + TICK_PX), fill=INK)
            self.text((x, bottom + TICK_PX + 2), labels.instant(instant), "ma")
        for position in self.upwards.ticks(TICK_GAP_PX // 2):
            y = self.at(0, position)[1]
            self.pen.line((LEFT_PX - TICK_PX, y, LEFT_PX, y), fill=INK)
            self.text((LEFT_PX - TICK_PX - 3, y), _minutes(position), "rm")
        self.text(
            (LEFT_PX, bottom + BOTTOM_PX - 4),
            "across: stream, upward: track; dark: similar; pale blue: silence; bar: interval in question",
            "ld",
        )
        for y, text in ((6, labels.title), (24, labels.note)):
            self.text((LEFT_PX, y), _cut(text, max(self.across.length_px, MIN_PLOT_PX)), "la")

    def interval(self, begin: int, end: int) -> None:
        """Draws a strip above the plot, over the interval in question."""
        sides = (max(0.0, min(self.across.px(at), self.across.length_px)) for at in (begin, end))
        left, right = (LEFT_PX + side for side in sides)
        self.pen.rectangle((left, TOP_PX - STRIP_PX - 3, max(left + 1, right), TOP_PX - 4), fill=IN_QUESTION)

    def line(self, hypothesis: Hypothesis) -> None:
        """Draws the hypothesis' alignment, with a ring around its first and last matching segment."""
        middles = (hypothesis.start + SEGMENT_SAMPLES / 2, hypothesis.end - SEGMENT_SAMPLES / 2)
        ends = [self.at(instant, hypothesis.alignment.position_at(round(instant))) for instant in middles]
        self.pen.line(ends, fill=LINE, width=1)
        for x, y in ends:
            self.pen.ellipse((x - 4, y - 4, x + 4, y + 4), outline=LINE)

    def text(self, where: tuple[float, float], text: str, anchor: str) -> None:
        self.pen.text(where, text, fill=INK, font=_font(), anchor=anchor)


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(TEXT_PX)


def _cut(text: str, max_px: int) -> str:
    """The text, cut to the given width."""
    while text and _font().getlength(text) > max_px:
        text = text[:-2].rstrip() + "…"
    return text


def _minutes(samples: int) -> str:
    minutes, seconds = divmod(samples // SAMPLE_RATE_HZ, 60)
    return f"{minutes}:{seconds:02}"
