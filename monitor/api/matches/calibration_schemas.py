"""The JSON of calibrations, in seconds and false matches per 1,000 stream-hours."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from monitor.api.catalog.schemas import PlayedTrack
from monitor.core.calibration import Estimate, Tail
from monitor.storage import records

RATE_HOURS = 1000.0  # rates are per 1,000 hours
MAX_S = 1e9
Seconds = Annotated[float, Field(ge=0, le=MAX_S, allow_inf_nan=False)]
# From one false match per century to two per minute; no other rate makes sense.
MIN_RATE, MAX_RATE = 0.001, 100_000.0


class Peak(BaseModel):
    """An interval of a recording in which a track came closest to a match, and the llr that it reached."""

    track: int = Field(ge=1, le=2**63 - 1, description="Id of the track.")
    start_s: Seconds
    end_s: Seconds
    llr: float = Field(ge=0, le=1e9, allow_inf_nan=False)


class CalibrationAudio(BaseModel):
    """The peaks of a recording: a result of `POST /calibrate`, to be sent to `PUT /calibration`."""

    file: str = Field(max_length=1000)
    duration_s: Seconds
    sound_s: Seconds = Field(description="Seconds that are not silent.")
    peaks: list[Peak]


class CalibrationRequest(BaseModel):
    """A calibration to make: the rate of false matches to allow, and the recordings to fit."""

    rate_per_1000_h: float = Field(
        1.0, ge=MIN_RATE, le=MAX_RATE, allow_inf_nan=False, description="False matches to allow per 1,000 stream-hours."
    )
    recordings: list[CalibrationAudio] = Field(description="Recordings that contain no catalog track.")
    dry_run: bool = Field(False, description="Compute the threshold without setting it.")


class Interval(BaseModel):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, found: Estimate, times: float = 1.0) -> Interval:
        """From an estimate, scaled by `times`."""
        return cls(value=found.value * times, low=found.low * times, high=found.high * times)


class Calibration(BaseModel):
    """A threshold and the data it was fitted to."""

    open_llr: float = Field(description="The threshold: log-likelihood ratio that a match needs.")
    fitted: Interval = Field(description="The fitted threshold; lower than open_llr if that is the minimum.")
    rate_per_1000_h: float
    sound_s: float
    peaks: int
    tail_peaks: int = Field(description="Number of peaks in the tail that was fitted.")
    tail_level: float = Field(description="The llr that the tail exceeds.")
    mean_excess: float = Field(description="Mean excess of the tail over tail_level.")
    tracks: int = Field(description="Catalog tracks at that time.")
    made_at: datetime | None = Field(description="null for a dry run.")

    @classmethod
    def of(cls, kept: records.Calibration) -> Calibration:
        """From the stored calibration."""
        return cls(
            open_llr=kept.open_llr,
            fitted=Interval(value=kept.fitted, low=kept.fitted_low, high=kept.fitted_high),
            rate_per_1000_h=kept.rate_per_1000_h,
            sound_s=kept.sound_s,
            peaks=kept.n_peaks,
            tail_peaks=kept.n_tail,
            tail_level=kept.tail_level,
            mean_excess=kept.mean_excess,
            tracks=kept.n_tracks,
            made_at=kept.made_at,
        )


class CalibrationStatus(BaseModel):
    """The threshold in force and where it comes from."""

    detector: str
    model: str
    open_llr: float
    default: float = Field(description="The detector's default threshold.")
    minimum: float = Field(description="Lowest threshold that a calibration sets.")
    tracks: int = Field(description="Catalog tracks now.")
    calibration: Calibration | None = Field(
        description="The newest; if its threshold differs, it takes effect when this process restarts."
    )


class PeakInFile(BaseModel):
    """A peak and its recording. `track` is null if the track was deleted meanwhile."""

    file: str
    start_s: float
    end_s: float
    llr: float
    track: PlayedTrack | None


class ExpectedRate(BaseModel):
    """The expected rate of false matches at a threshold."""

    open_llr: float
    rate_per_1000_h: Interval

    @classmethod
    def of(cls, tail: Tail, open_llr: float) -> ExpectedRate:
        """From the fitted tail."""
        rate = Interval.of(tail.rate_per_h(open_llr), RATE_HOURS)
        return cls(open_llr=open_llr, rate_per_1000_h=rate)


class CalibrationResult(BaseModel):
    """A calibration that was made, or that a dry run would make."""

    calibration: Calibration
    expected: ExpectedRate
    previous: ExpectedRate = Field(description="At the previous threshold.")
    heavy_tail: bool = Field(description="The largest peaks spread more than the fit assumes: the true rate is higher.")
    catalog_plays: list[PeakInFile] = Field(description="Ignored: the llr is so high that the track must be there.")
    largest_peaks: list[PeakInFile] = Field(description="The largest peaks that were not ignored.")
