"""What the API sends of an explanation: the hypotheses with their figures, each with its reason in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, Field

from ingest import timeline
from monitor.api.catalog.schemas import PlayedTrack, Track
from monitor.core import explanation as core
from monitor.core.explanation import Verdict
from monitor.core.thresholds import Thresholds
from monitor.matching.explain import Explained as Found
from monitor.matching.scan import seconds
from monitor.storage import records

Tracks = Mapping[int, records.Track]

# There is so much less evidence than the cosines make one expect that it must be said.
LITTLE_WEIGHT = 0.5
STANDS_OUT_LITTLE = 0.15


class Limits(BaseModel):
    """What must be reached; natural logarithms of likelihood ratios."""

    votes: float = Field(description="Of hits on one line, before the line is looked at.")
    llr: float = Field(description="Of the exact cosines on a line, before it is a play.")


class Hypothesis(BaseModel):
    """A line through a track that was in question, and what became of it."""

    track: PlayedTrack
    verdict: Verdict
    reason: str = Field(description="The verdict in words, with the figures that it rests on.")
    explained_by: PlayedTrack | None = Field(description="The track whose play explains most of the same sound.")
    start_s: float
    end_s: float
    may_begin_earlier: bool = Field(description="It begins where what was looked at begins.")
    may_end_later: bool = Field(description="It ends where what was looked at ends.")
    track_start_s: float
    track_end_s: float
    speed: float
    votes: float = Field(description="Evidence of hits on the line, at the moment at which it was most.")
    llr: float = Field(description="Of the exact cosines on the line.")
    llr_left: float = Field(description="Of that, what other plays do not explain.")
    cosine: float = Field(description="Mean of the segments that were compared.")
    local_context: float = Field(
        description="The same of the seconds around their places, which the cosine must exceed."
    )
    weight: float = Field(description="What share of what they say counts: less than 1 where the track hardly changes.")
    segments: int = Field(description="How many were compared.")


class Explained(BaseModel):
    """Why something did or did not match. Seconds count from the recording's beginning, of a stream from `origin`."""

    origin: datetime | None
    start_s: float
    end_s: float
    detector: str
    summary: str
    segments: int = Field(description="That lie in the interval, at least partly.")
    silent_segments: int = Field(description="Of these, how many were never searched.")
    missing_s: float = Field(description="Seconds of the interval that there is no audio of.")
    needed: Limits
    hypotheses: list[Hypothesis] = Field(description="Plays first, then those with most evidence.")
    picture: str | None = Field(None, description="PNG of the first hypothesis, in base64, where it was asked for.")

    @classmethod
    def of(
        cls, found: Found, tracks: Tracks, thresholds: Thresholds, detector: str, origin: int | None = None
    ) -> Explained:
        """Of tracks that were deleted meanwhile there is nothing to say."""
        one, zero = found.explanation, origin or 0
        known = [_hypothesis(each, found, tracks, thresholds, zero) for each in one.hypotheses if each.track in tracks]
        return cls(
            origin=None if origin is None else timeline.to_utc(origin),
            start_s=seconds(one.begin - zero),
            end_s=seconds(one.end - zero),
            detector=detector,
            summary=_summary(one, known),
            segments=one.segments,
            silent_segments=one.silent,
            missing_s=seconds(found.missing_samples),
            needed=Limits(votes=thresholds.vote_llr, llr=thresholds.open_llr),
            hypotheses=known,
        )


def _hypothesis(one: core.Hypothesis, found: Found, tracks: Tracks, thresholds: Thresholds, zero: int) -> Hypothesis:
    better = _better(one, tracks)
    return Hypothesis(
        track=_played(tracks[one.track]),
        verdict=one.verdict,
        reason=_reason(one, tracks, thresholds),
        explained_by=_played(better) if better else None,
        start_s=seconds(one.start - zero),
        end_s=seconds(one.end - zero),
        may_begin_earlier=one.start <= found.examined[0],
        may_end_later=one.end >= found.examined[1],
        track_start_s=seconds(max(0, round(one.line.at(one.start)))),
        track_end_s=seconds(round(one.line.at(one.end))),
        speed=round(one.line.speed, 4),
        votes=_figure(one.votes),
        llr=_figure(one.llr),
        llr_left=_figure(one.left),
        cosine=round(one.cosine, 4),
        local_context=round(one.local_context, 4),
        weight=round(one.weight, 3),
        segments=one.compared,
    )


def _figure(llr: float) -> float:
    return round(llr, 2) + 0.0  # without a sign where it is nothing


def _said(llr: float) -> str:
    return f"{max(0.0, _figure(llr)):.1f}"


def _played(track: records.Track) -> PlayedTrack:
    return PlayedTrack(**Track.of(track).model_dump(include=set(PlayedTrack.model_fields)))


def _summary(explanation: core.Explanation, hypotheses: list[Hypothesis]) -> str:
    if explanation.segments == 0:
        return "less than a second of audio: nothing can be recognised in it"
    if explanation.silent == explanation.segments:
        return "silence: it is never searched"
    if not hypotheses:
        return "nothing proposed: no hits on one line"
    played = [each.track.title for each in hypotheses if each.verdict is Verdict.PLAY]
    if played:
        return f"played: {', '.join(played)}"
    return f"no play; best hypothesis: {hypotheses[0].track.title}, {hypotheses[0].reason}"


def _reason(one: core.Hypothesis, tracks: Tracks, thresholds: Thresholds) -> str:
    """Why it is a play or none."""
    llr, votes = thresholds.open_llr, thresholds.vote_llr
    match one.verdict:
        case Verdict.PLAY:
            return f"play: evidence {_said(one.llr)}, {llr:g} are enough"
        case Verdict.TOO_LITTLE:
            return f"too little evidence: {_said(one.llr)} of {llr:g}{_why_so_little(one, thresholds)}"
        case Verdict.EXPLAINED:
            return f"explained by {_by(one, tracks)}: evidence left {_said(one.left)} of {llr:g}"
        case Verdict.FEW_HITS:
            return f"too few hits on one line: {_said(one.votes)} of {votes:g}, so it was not looked at"
        case Verdict.NOT_ADMITTED:
            return "enough evidence, but as it came other lines had more votes, or another play had its sound"


def _why_so_little(one: core.Hypothesis, thresholds: Thresholds) -> str:
    if one.votes < thresholds.vote_llr:
        return f", and too few hits on one line: {_said(one.votes)} of {thresholds.vote_llr:g}"
    if one.weight < LITTLE_WEIGHT:
        return f"; the track hardly changes there: only {one.weight:.0%} of what its segments say counts"
    if one.cosine - one.local_context < STANDS_OUT_LITTLE and thresholds.standing_out is not None:
        return "; it is about as much like what is around that place in the track"
    return ""


def _by(one: core.Hypothesis, tracks: Tracks) -> str:
    if one.explained_by == one.track:
        return "the play of the same track at another place"
    better = _better(one, tracks)
    return better.metadata.title if better else "other plays"


def _better(one: core.Hypothesis, tracks: Tracks) -> records.Track | None:
    return None if one.explained_by is None else tracks.get(one.explained_by)
