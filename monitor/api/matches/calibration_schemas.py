"""What the API takes and sends about calibrations: pydantic models, in seconds and false plays per 1,000 hours."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from monitor.api.catalog.schemas import PlayedTrack
from monitor.core.calibration import Estimate, Tail
from monitor.storage import records

HOURS = 1000.0  # that rates are per
LONGEST_S = 1e9
Seconds = Annotated[float, Field(ge=0, le=LONGEST_S, allow_inf_nan=False)]
# From a false play in a century to two a minute: what lies beyond is no requirement.
MIN_RATE, MAX_RATE = 0.001, 100_000.0


class Peak(BaseModel):
    """A stretch of a recording in which a play could have opened, and the most evidence for it."""

    track: int = Field(ge=1, le=2**63 - 1, description="Its id.")
    start_s: Seconds
    end_s: Seconds
    llr: float = Field(ge=0, le=1e9, allow_inf_nan=False)


class CalibrationAudio(BaseModel):
    """What a recording says about false plays: an answer of `POST /calibrate`, to be sent on to `PUT /calibration`."""

    file: str = Field(max_length=1000)
    duration_s: Seconds
    sound_s: Seconds = Field(description="Seconds that are no silence.")
    peaks: list[Peak]


class CalibrationRequest(BaseModel):
    """A calibration to make: how rare false plays shall be, and the recordings that say so."""

    rate_per_1000_h: float = Field(
        1.0, ge=MIN_RATE, le=MAX_RATE, allow_inf_nan=False, description="False plays per 1,000 hours of a stream."
    )
    recordings: list[CalibrationAudio] = Field(description="Without anything of the catalog.")
    dry_run: bool = Field(False, description="Only say what the threshold would be.")


class Interval(BaseModel):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, found: Estimate, times: float = 1.0) -> Interval:
        return cls(value=found.value * times, low=found.low * times, high=found.high * times)


class Calibration(BaseModel):
    """A threshold and what it was set by."""

    open_llr: float = Field(description="What a play needs by it.")
    fitted: Interval = Field(description="What the tail says; less than open_llr where that is the least allowed.")
    rate_per_1000_h: float
    sound_s: float
    peaks: int
    tail_peaks: int = Field(description="The largest, by which the tail is known.")
    tail_level: float = Field(description="What these are above.")
    mean_excess: float = Field(description="By how much, on average.")
    tracks: int = Field(description="In the catalog then.")
    made_at: datetime | None = Field(description="None where it was only tried.")

    @classmethod
    def of(cls, kept: records.Calibration) -> Calibration:
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


class InForce(BaseModel):
    """The evidence that a play needs now, and where that comes from."""

    detector: str
    model: str
    open_llr: float
    default: float = Field(description="The detector's own.")
    minimum: float = Field(description="No calibration goes beneath.")
    tracks: int = Field(description="In the catalog now.")
    calibration: Calibration | None = Field(
        description="The newest; made since this process started, if it says otherwise."
    )


class Place(BaseModel):
    """A peak and where it is; no track where that was deleted meanwhile."""

    file: str
    start_s: float
    end_s: float
    llr: float
    track: PlayedTrack | None


class Expected(BaseModel):
    """How many false plays per 1,000 hours are expected at a threshold."""

    open_llr: float
    rate_per_1000_h: Interval

    @classmethod
    def of(cls, tail: Tail, open_llr: float) -> Expected:
        rate = Interval.of(tail.rate_per_h(open_llr), HOURS)
        return cls(open_llr=open_llr, rate_per_1000_h=rate)


class Calibrated(BaseModel):
    """A calibration that was made, or would be."""

    calibration: Calibration
    expected: Expected
    before: Expected = Field(description="At the threshold that was in force.")
    heavy_tail: bool = Field(description="The largest peaks spread more than the fit allows for: the rate is too low.")
    real_plays: list[Place] = Field(description="Left out: so much evidence that the catalog must be in it.")
    largest: list[Place] = Field(description="The largest peaks that are not left out.")
