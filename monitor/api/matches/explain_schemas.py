"""The JSON of an explanation: the hypotheses with their figures and the reason for each verdict."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, Field

from ingest import timeline
from monitor.api.catalog.schemas import PlayedTrack
from monitor.core import explanation as core
from monitor.core.explanation import Verdict
from monitor.core.thresholds import Thresholds
from monitor.matching.explain import Explained
from monitor.matching.scan import seconds
from monitor.storage import records

Tracks = Mapping[int, records.Track]

# Below these, the reason says why the llr is much lower than the cosines suggest.
LOW_WEIGHT = 0.5
LOW_CONTRAST = 0.15


class RequiredScores(BaseModel):
    """The thresholds, as natural log-likelihood ratios."""

    votes: float = Field(description="Votes of hits that an alignment needs before it is compared.")
    llr: float = Field(description="Log-likelihood ratio that an alignment needs to be a play.")


class Hypothesis(BaseModel):
    """A possible alignment with a track, and why it was accepted or rejected."""

    track: PlayedTrack
    verdict: Verdict
    reason: str = Field(description="The verdict in words, with the figures it is based on.")
    explained_by: PlayedTrack | None = Field(description="The track whose play explains most of the same audio.")
    start_s: float
    end_s: float
    may_start_earlier: bool = Field(description="It starts where the examined audio starts.")
    may_end_later: bool = Field(description="It ends where the examined audio ends.")
    track_start_s: float
    track_end_s: float
    speed: float
    votes: float = Field(description="Votes of hits on the alignment, at their maximum.")
    llr: float = Field(description="Log-likelihood ratio from the exact cosines on the alignment.")
    remaining_llr: float = Field(description="The part of `llr` that other plays do not explain.")
    cosine: float = Field(description="Mean cosine similarity of the compared segments.")
    local_context: float = Field(
        description="Mean cosine similarity with the seconds around each position, which `cosine` must exceed."
    )
    weight: float = Field(description="Weight of the segments, 0 to 1: low while the track hardly changes.")
    segments: int = Field(description="Number of compared segments.")


class Explanation(BaseModel):
    """Why something did or did not match. Seconds count from the recording's start, or from a stream's `origin`."""

    origin: datetime | None
    start_s: float
    end_s: float
    detector: str
    summary: str
    segments: int = Field(description="Number of segments in the interval, at least partly.")
    silent_segments: int = Field(description="Number of these segments that are silent and never searched.")
    missing_s: float = Field(description="Seconds of the interval without audio.")
    required: RequiredScores
    hypotheses: list[Hypothesis] = Field(description="Plays first, then by llr.")
    image: str | None = Field(None, description="PNG of the first hypothesis in base64, if requested.")

    @classmethod
    def of(
        cls, found: Explained, tracks: Tracks, thresholds: Thresholds, detector: str, origin: int | None = None
    ) -> Explanation:
        """Leaves out hypotheses whose tracks were deleted meanwhile. `origin`: of a stream, in samples."""
        one, zero = found.explanation, origin or 0
        known = [_hypothesis(each, found, tracks, thresholds, zero) for each in one.hypotheses if each.track in tracks]
        return cls(
            origin=None if origin is None else timeline.to_utc(origin),
            start_s=seconds(one.begin - zero),
            end_s=seconds(one.end - zero),
            detector=detector,
            summary=_summary(one, known),
            segments=one.n_segments,
            silent_segments=one.n_silent,
            missing_s=seconds(found.missing_samples),
            required=RequiredScores(votes=thresholds.vote_llr, llr=thresholds.open_llr),
            hypotheses=known,
        )


def _hypothesis(
    one: core.Hypothesis, found: Explained, tracks: Tracks, thresholds: Thresholds, zero: int
) -> Hypothesis:
    better = _better(one, tracks)
    return Hypothesis(
        track=PlayedTrack.of(tracks[one.track]),
        verdict=one.verdict,
        reason=_reason(one, tracks, thresholds),
        explained_by=PlayedTrack.of(better) if better else None,
        start_s=seconds(one.start - zero),
        end_s=seconds(one.end - zero),
        may_start_earlier=one.start <= found.examined[0],
        may_end_later=one.end >= found.examined[1],
        track_start_s=seconds(max(0, round(one.alignment.position_at(one.start)))),
        track_end_s=seconds(round(one.alignment.position_at(one.end))),
        speed=round(one.alignment.speed, 4),
        votes=_figure(one.votes),
        llr=_figure(one.llr),
        remaining_llr=_figure(one.llr_left),
        cosine=round(one.cosine, 4),
        local_context=round(one.local_context, 4),
        weight=round(one.weight, 3),
        segments=one.n_compared,
    )


def _figure(llr: float) -> float:
    return round(llr, 2) + 0.0  # no negative zero


def _text(llr: float) -> str:
    return f"{max(0.0, _figure(llr)):.1f}"


def _summary(explanation: core.Explanation, hypotheses: list[Hypothesis]) -> str:
    if explanation.n_segments == 0:
        return "less than a second of audio, which is too little to recognize anything"
    if explanation.n_silent == explanation.n_segments:
        return "silence, which is never searched"
    if not hypotheses:
        return "no hypotheses: no hits that align"
    played = [each.track.title for each in hypotheses if each.verdict is Verdict.PLAY]
    if played:
        return f"played: {', '.join(played)}"
    return f"no play; best hypothesis: {hypotheses[0].track.title}, {hypotheses[0].reason}"


def _reason(one: core.Hypothesis, tracks: Tracks, thresholds: Thresholds) -> str:
    """The verdict in words."""
    llr, votes = thresholds.open_llr, thresholds.vote_llr
    match one.verdict:
        case Verdict.PLAY:
            return f"play: llr {_text(one.llr)}, {llr:g} required"
        case Verdict.LLR_TOO_LOW:
            return f"llr too low: llr {_text(one.llr)}, {llr:g} required{_why_so_low(one, thresholds)}"
        case Verdict.EXPLAINED:
            return f"explained by {_by(one, tracks)}: remaining llr {_text(one.llr_left)}, {llr:g} required"
        case Verdict.TOO_FEW_HITS:
            return f"too few hits align: {_text(one.votes)} votes, {votes:g} required, so it was not compared"
        case Verdict.NOT_ADMITTED:
            return "llr high enough, but at the time others had more votes, or another play explained the audio"


def _why_so_low(one: core.Hypothesis, thresholds: Thresholds) -> str:
    if one.votes < thresholds.vote_llr:
        return f", and too few hits align: {_text(one.votes)} votes, {thresholds.vote_llr:g} required"
    if one.weight < LOW_WEIGHT:
        return f"; the track hardly changes there, so its segments count only {one.weight:.0%}"
    if one.cosine - one.local_context < LOW_CONTRAST and thresholds.contrast_curve is not None:
        return "; the audio is about as similar to the seconds around that position in the track"
    return ""


def _by(one: core.Hypothesis, tracks: Tracks) -> str:
    if one.explained_by == one.track:
        return "a play of the same track at another position"
    better = _better(one, tracks)
    return better.metadata.title if better else "other plays"


def _better(one: core.Hypothesis, tracks: Tracks) -> records.Track | None:
    return None if one.explained_by is None else tracks.get(one.explained_by)
