"""Calibration: sets the detection threshold from recordings that contain no catalog track."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, File, UploadFile
from fastapi.responses import StreamingResponse

from monitor.api.catalog.schemas import PlayedTrack
from monitor.api.dependencies import App
from monitor.api.matches import calibration_schemas as schemas
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

MAX_PEAKS = 10  # the largest, so that someone can check that they are not plays


@router.post(
    "/calibrate",
    summary="Measure a recording",
    responses={200: {"content": {NDJSON: {}}}},
    response_class=StreamingResponse,
)
async def calibrate(
    airtrace: App,
    file: Annotated[UploadFile, File(description="A recording that contains no catalog track.")],
) -> StreamingResponse:
    """Measures how close a recording comes to false matches. Streams progress, then the peaks. Stores nothing."""
    return lines(_steps(airtrace, file))


@router.get("/calibration", summary="Read the calibration")
async def read(airtrace: App) -> schemas.CalibrationStatus:
    """Returns the threshold in force in this process and where it comes from."""
    info, default = airtrace.matcher.detector.info, airtrace.matcher.detector.thresholds.open_llr
    kept = await airtrace.storage.calibrations.newest(info)
    return schemas.CalibrationStatus(
        detector=info.name,
        model=f"{info.version}/{info.checksum}",
        open_llr=airtrace.matcher.thresholds.open_llr,
        default=default,
        minimum=core.MIN_THRESHOLD_SHARE * default,
        tracks=await airtrace.storage.tracks.count(),
        calibration=schemas.Calibration.of(kept) if kept is not None else None,
    )


@router.put("/calibration", summary="Set the calibration")
async def put(airtrace: App, request: schemas.CalibrationRequest) -> schemas.CalibrationResult:
    """Sets the threshold from recordings. It takes effect at once in this process, and in others when they restart."""
    default, before = airtrace.matcher.detector.thresholds, airtrace.matcher.thresholds.open_llr
    found = _Peaks.of(request.recordings, default.open_llr)
    try:
        tail = core.Tail.of([each.peak.llr for each in found.unknown], found.sound_s, noted_from(default))
    except core.InsufficientAudio as error:
        raise CalibrationError(str(error)) from error
    made = _calibration(tail, found, request.rate_per_1000_h, default.open_llr, await airtrace.storage.tracks.count())
    if not request.dry_run:
        made = await airtrace.storage.calibrations.add(made, airtrace.matcher.detector.info)
        airtrace.matcher.set_open_threshold(made.open_llr)
    largest = found.unknown[:MAX_PEAKS]
    tracks = await _tracks(airtrace, {where.peak.track for where in (*found.real, *largest)})
    return schemas.CalibrationResult(
        calibration=schemas.Calibration.of(made),
        expected=schemas.ExpectedRate.of(tail, made.open_llr),
        previous=schemas.ExpectedRate.of(tail, before),
        heavy_tail=tail.is_heavy,
        catalog_plays=[_shown(where, tracks) for where in found.real],
        largest_peaks=[_shown(where, tracks) for where in largest],
    )


@router.delete("/calibration", summary="Delete the calibration", status_code=204)
async def delete(airtrace: App) -> None:
    """Restores the detector's default threshold: at once in this process, and in others when they restart."""
    detector = airtrace.matcher.detector
    await airtrace.storage.calibrations.delete(detector.info)
    airtrace.matcher.set_open_threshold(detector.thresholds.open_llr)


async def _steps(airtrace: Airtrace, file: UploadFile) -> AsyncGenerator[ScanProgress | schemas.CalibrationAudio, None]:
    async with on_disk(file) as path, aclosing(collect_peaks(airtrace.matcher, path)) as steps:
        async for step in steps:
            yield ScanProgress(done_s=seconds(step.n_samples))
        yield _measured(path.name, step.n_samples, step.sound_samples, step.peaks)


def _measured(name: str, n_samples: int, sound_samples: int, peaks: Sequence[core.Peak]) -> schemas.CalibrationAudio:
    known = [
        schemas.Peak(track=peak.track, start_s=seconds(peak.start), end_s=seconds(peak.end), llr=peak.llr)
        for peak in peaks
    ]
    return schemas.CalibrationAudio(
        file=name, duration_s=seconds(n_samples), sound_s=seconds(sound_samples), peaks=known
    )


@dataclass(frozen=True, slots=True)
class _PeakInFile:
    """A peak and its recording."""

    file: str
    peak: core.Peak


@dataclass(frozen=True, slots=True)
class _Peaks:
    """The peaks of all recordings, largest first: plays of catalog tracks, and those of unknown audio."""

    real: Sequence[_PeakInFile]
    unknown: Sequence[_PeakInFile]
    sound_s: float

    @classmethod
    def of(cls, recordings: Sequence[schemas.CalibrationAudio], default_llr: float) -> _Peaks:
        real: list[_PeakInFile] = []
        unknown: list[_PeakInFile] = []
        sound_s = 0.0
        for heard in recordings:
            found = core.PeakSplit.of([_peak(peak) for peak in heard.peaks], heard.sound_s, default_llr)
            real += [_PeakInFile(heard.file, peak) for peak in found.real]
            unknown += [_PeakInFile(heard.file, peak) for peak in found.unknown]
            sound_s += found.sound_s
        for each in (real, unknown):
            each.sort(key=lambda where: -where.peak.llr)
        return cls(real, unknown, sound_s)


def _peak(peak: schemas.Peak) -> core.Peak:
    return core.Peak(peak.track, round(peak.start_s * SAMPLE_RATE_HZ), round(peak.end_s * SAMPLE_RATE_HZ), peak.llr)


def _calibration(
    tail: core.Tail, found: _Peaks, rate_per_1000_h: float, default_llr: float, n_tracks: int
) -> records.Calibration:
    fitted = tail.threshold(rate_per_1000_h / schemas.RATE_HOURS)
    return records.Calibration(
        open_llr=max(fitted.value, core.MIN_THRESHOLD_SHARE * default_llr),
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


def _shown(where: _PeakInFile, tracks: Mapping[int, PlayedTrack]) -> schemas.PeakInFile:
    return schemas.PeakInFile(
        file=where.file,
        start_s=seconds(where.peak.start),
        end_s=seconds(where.peak.end),
        llr=round(where.peak.llr, 2),
        track=tracks.get(where.peak.track),
    )


async def _tracks(airtrace: Airtrace, tracks: Collection[int]) -> dict[int, PlayedTrack]:
    """The tracks that still exist, by id."""
    found = [await airtrace.storage.tracks.get(track) for track in tracks]
    return {track.id: PlayedTrack.of(track) for track in found if track is not None}
