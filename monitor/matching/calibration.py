"""Collects the peaks of a recording for a calibration: where plays could open, and with which LLR. Stores nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from monitor.audio import decode
from monitor.core.calibration import MIN_PEAK_SHARE, Peak, merge_peaks
from monitor.core.segmenter import Segmenter
from monitor.core.segments import HOP_SAMPLES
from monitor.core.thresholds import Thresholds
from monitor.matching.matcher import Matcher, Memory
from monitor.matching.scan import BLOCK_SEGMENTS


@dataclass(frozen=True, slots=True)
class CalibrationAudio:
    """Progress through a recording, in samples, and how many of them are not silent. The last one has the peaks."""

    n_samples: int
    sound_samples: int
    peaks: tuple[Peak, ...] = ()


def noted_from(default: Thresholds) -> float:
    """Minimum LLR of a peak. Pass the detector's own thresholds, so that no calibration affects the next one."""
    return MIN_PEAK_SHARE * default.open_llr


async def collect_peaks(matcher: Matcher, path: Path) -> AsyncGenerator[CalibrationAudio, None]:
    """Yields progress, then the peaks of a recording, on a stream clock that starts with the recording.

    Raises:
        AudioError: the file cannot be used.
    """
    memory, segmenter, n_samples, n_audible = Memory(), Segmenter(), 0, 0
    thresholds = matcher.thresholds_at(noted_from(matcher.detector.thresholds))
    found: list[Peak] = []
    async with aclosing(decode.blocks(path)) as blocks:
        async for block in blocks:
            n_samples += len(block)
            start, pcm = segmenter.feed(block)
            for first in range(0, max(0, len(pcm) - HOP_SAMPLES), BLOCK_SEGMENTS * HOP_SAMPLES):
                part = pcm[first : first + (BLOCK_SEGMENTS + 1) * HOP_SAMPLES]
                last = memory.last_start()
                name = f"calibrate {path.name}"
                memory, peaks = await matcher.opening_peaks(memory, start + first, part, name, thresholds)
                found += peaks
                n_audible += memory.count_audible_since(last)
                yield CalibrationAudio(start + first + len(part), n_audible * HOP_SAMPLES)
    merged = merge_peaks(found, thresholds.max_gap_samples)
    yield CalibrationAudio(n_samples, n_audible * HOP_SAMPLES, tuple(merged))
