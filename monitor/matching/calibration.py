"""Hears a recording for a calibration: where plays could open, and with how much evidence. Opens and stores nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from monitor.audio import decode
from monitor.core.calibration import NOTED_SHARE, Peak, merge_peaks
from monitor.core.segmenter import Segmenter
from monitor.core.segments import HOP_SAMPLES
from monitor.core.thresholds import Thresholds
from monitor.matching.matcher import Matcher, Memory
from monitor.matching.scan import BLOCK_SEGMENTS


@dataclass(frozen=True, slots=True)
class CalibrationAudio:
    """How far a recording was heard, and how much of that is sound, in samples; its peaks once it is over."""

    n_samples: int
    sound_samples: int
    peaks: tuple[Peak, ...] = ()


def noted_from(default: Thresholds) -> float:
    """Least evidence of a peak; `default` is the detector's own, so that no calibration changes what the next sees."""
    return NOTED_SHARE * default.open_llr


async def hear(matcher: Matcher, path: Path) -> AsyncGenerator[CalibrationAudio, None]:
    """The peaks of a recording; their stream clock starts at its beginning.

    Raises:
        AudioError: the file cannot be used.
    """
    memory, cutter, n_samples, n_sounding = Memory(), Segmenter(), 0, 0
    thresholds = matcher.thresholds_at(noted_from(matcher.detector.thresholds))
    found: list[Peak] = []
    async with aclosing(decode.blocks(path)) as blocks:
        async for block in blocks:
            n_samples += len(block)
            start, pcm = cutter.feed(block)
            for first in range(0, max(0, len(pcm) - HOP_SAMPLES), BLOCK_SEGMENTS * HOP_SAMPLES):
                part = pcm[first : first + (BLOCK_SEGMENTS + 1) * HOP_SAMPLES]
                last = memory.last_start()
                memory, new = await matcher.openings(memory, start + first, part, f"calibrate {path.name}", thresholds)
                found += new
                n_sounding += memory.sounding_since(last)
                yield CalibrationAudio(start + first + len(part), n_sounding * HOP_SAMPLES)
    peaks = merge_peaks(found, thresholds.max_gap_samples)
    yield CalibrationAudio(n_samples, n_sounding * HOP_SAMPLES, tuple(peaks))
