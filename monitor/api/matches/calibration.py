"""Calibration: hears unknown audio, and sets by it how much evidence a play needs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, File, UploadFile
from fastapi.responses import StreamingResponse

from monitor.api.catalog.schemas import PlayedTrack, Track
from monitor.api.dependencies import App
from monitor.api.matches import calibration_schemas as shapes
from monitor.api.matches.schemas import ScanProgress
from monitor.api.ndjson import NDJSON, lines
from monitor.api.uploads import on_disk
from monitor.core import calibration as core
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.errors import CalibrationError
from monitor.matching.calibration import collect_peaks, noted_from
from monitor.matching.scan import seconds
from monitor.parts import Airtrace
from monitor.storage import records

router = APIRouter(tags=["calibration"])

MAX_SHOWN = 10  # of the largest peaks of unknown audio, for a look at whether they are what they should be


@router.post("/calibrate", responses={200: {"content": {NDJSON: {}}}}, response_class=StreamingResponse)
async def calibrate(
    parts: App,
    file: Annotated[UploadFile, File(description="A recording without anything of the catalog.")],
) -> StreamingResponse:
    """Lines of progress, and at last what the recording says about false plays. Stores nothing."""
    return lines(_steps(parts, file))


@router.get("/calibration")
async def read(parts: App) -> shapes.InForce:
    """The evidence that a play needs in this process, and where that comes from."""
    info, default = parts.matcher.detector.info, parts.matcher.detector.thresholds.open_llr
    kept = await parts.storage.calibrations.newest(info)
    return shapes.InForce(
        detector=info.name,
        model=f"{info.version}/{info.checksum}",
        open_llr=parts.matcher.thresholds.open_llr,
        default=default,
        minimum=core.FLOOR_SHARE * default,
        tracks=await parts.storage.tracks.count(),
        calibration=shapes.Calibration.of(kept) if kept is not None else None,
    )


@router.put("/calibration")
async def put(parts: App, wanted: shapes.CalibrationRequest) -> shapes.Calibrated:
    """Sets the evidence that a play needs, by what recordings say: here at once, elsewhere at the next start."""
    default, before = parts.matcher.detector.thresholds, parts.matcher.thresholds.open_llr
    found = _Found.of(wanted.recordings, default.open_llr)
    try:
        tail = core.Tail.of([each.peak.llr for each in found.unknown], found.sound_s, noted_from(default))
    except core.InsufficientAudio as error:
        raise CalibrationError(str(error)) from error
    made = _calibration(tail, found, wanted.rate_per_1000_h, default.open_llr, await parts.storage.tracks.count())
    if not wanted.dry_run:
        made = await parts.storage.calibrations.add(made, parts.matcher.detector.info)
        parts.matcher.set_open_threshold(made.open_llr)
    largest = found.unknown[:MAX_SHOWN]
    tracks = await _tracks(parts, {where.peak.track for where in (*found.real, *largest)})
    return shapes.Calibrated(
        calibration=shapes.Calibration.of(made),
        expected=shapes.Expected.of(tail, made.open_llr),
        before=shapes.Expected.of(tail, before),
        heavy_tail=tail.is_heavy,
        real_plays=[_place(where, tracks) for where in found.real],
        largest=[_place(where, tracks) for where in largest],
    )


@router.delete("/calibration", status_code=204)
async def delete(parts: App) -> None:
    """Back to the detector's own: here at once, elsewhere at the next start."""
    detector = parts.matcher.detector
    await parts.storage.calibrations.delete(detector.info)
    parts.matcher.set_open_threshold(detector.thresholds.open_llr)


async def _steps(parts: Airtrace, file: UploadFile) -> AsyncGenerator[ScanProgress | shapes.CalibrationAudio, None]:
    async with on_disk(file) as path, aclosing(collect_peaks(parts.matcher, path)) as steps:
        async for step in steps:
            yield ScanProgress(done_s=seconds(step.n_samples))
        yield _heard(path.name, step.n_samples, step.sound_samples, step.peaks)


def _heard(name: str, n_samples: int, sound_samples: int, peaks: Sequence[core.Peak]) -> shapes.CalibrationAudio:
    known = [
        shapes.Peak(track=peak.track, start_s=seconds(peak.start), end_s=seconds(peak.end), llr=peak.llr)
        for peak in peaks
    ]
    return shapes.CalibrationAudio(
        file=name, duration_s=seconds(n_samples), sound_s=seconds(sound_samples), peaks=known
    )


@dataclass(frozen=True, slots=True)
class _Where:
    """A peak, and the recording that has it."""

    file: str
    peak: core.Peak


@dataclass(frozen=True, slots=True)
class _Found:
    """What was heard in all recordings, largest peaks first."""

    real: Sequence[_Where]
    unknown: Sequence[_Where]
    sound_s: float

    @classmethod
    def of(cls, recordings: Sequence[shapes.CalibrationAudio], default_llr: float) -> _Found:
        real: list[_Where] = []
        unknown: list[_Where] = []
        sound_s = 0.0
        for heard in recordings:
            found = core.PeakSplit.of([_peak(peak) for peak in heard.peaks], heard.sound_s, default_llr)
            real += [_Where(heard.file, peak) for peak in found.real]
            unknown += [_Where(heard.file, peak) for peak in found.unknown]
            sound_s += found.sound_s
        for each in (real, unknown):
            each.sort(key=lambda where: -where.peak.llr)
        return cls(real, unknown, sound_s)


def _peak(peak: shapes.Peak) -> core.Peak:
    return core.Peak(peak.track, round(peak.start_s * SAMPLE_RATE_HZ), round(peak.end_s * SAMPLE_RATE_HZ), peak.llr)


def _calibration(
    tail: core.Tail, found: _Found, rate_per_1000_h: float, default_llr: float, n_tracks: int
) -> records.Calibration:
    fitted = tail.threshold(rate_per_1000_h / shapes.HOURS)
    return records.Calibration(
        open_llr=max(fitted.value, core.FLOOR_SHARE * default_llr),
        fitted=fitted.value,
        fitted_low=fitted.low,
        fitted_high=fitted.high,
        rate_per_1000_h=rate_per_1000_h,
        sound_s=found.sound_s,
        n_peaks=len(found.unknown),
        n_tail=tail.n_above,
        tail_level=tail.level,
        mean_excess=tail.mean_excess,
        n_tracks=n_tracks,
    )


def _place(where: _Where, tracks: Mapping[int, PlayedTrack]) -> shapes.Place:
    return shapes.Place(
        file=where.file,
        start_s=seconds(where.peak.start),
        end_s=seconds(where.peak.end),
        llr=round(where.peak.llr, 2),
        track=tracks.get(where.peak.track),
    )


async def _tracks(parts: Airtrace, tracks: Collection[int]) -> dict[int, PlayedTrack]:
    """Those that are still there."""
    found = [await parts.storage.tracks.get(track) for track in tracks]
    known = [Track.of(track).model_dump(include=set(PlayedTrack.model_fields)) for track in found if track is not None]
    return {each["id"]: PlayedTrack(**each) for each in known}
