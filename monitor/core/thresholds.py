"""What a detector's evidence must reach before something is said; measured on audio that is not in the catalog."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.core.likelihood import LlrCurve
from monitor.core.segments import HOP_SAMPLES


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a play opens, goes on and ends. Evidence is in natural logarithms of likelihood ratios.

    curve: evidence of a segment by its cosine along a line, against sound that has nothing to do with the track.
    opening: the same, against music that resembles the track: what an accusation must stand up to. Where a play has
        begun it may go on with less.
    standing_out: the same, by how far a cosine is above those with what is around its place; its mean with that by
        `opening` is what opens a play. None: that alone is.
    faint: by the same, for a track that is heard through something much louder; on the scale of the others. It opens a
        play too.
    shortfall_cost: evidence that each segment loses for every 1 that its cosine, over some seconds, is further beneath
        the one that is foreseen than true lines are. What is heard in the clear is the recording, or another.
    open_llr: of a stretch that opens a play.
    resume_llr: of what follows a hole, if it is to be part of the play before it.
    vote_llr: of hits on one line, before the line is looked at.
    drop_llr: how much may speak against a play within it, on the way back to where it began.
    hole_samples: longest stretch without agreement inside a play.
    memory_samples: how far back a decision may look.
    """

    curve: LlrCurve
    opening: LlrCurve
    standing_out: LlrCurve | None = None
    faint: LlrCurve | None = None
    deficit_cost: float = 0.0
    open_llr: float = 12.0
    resume_llr: float = 2.0
    vote_llr: float = 6.0
    max_gap_samples: int = 16 * HOP_SAMPLES
    drop_llr: float = 10.0
    memory_samples: int = 120 * HOP_SAMPLES

    @property
    def max_llr(self) -> float:
        """More no segment has for a play that opens."""
        return max(max(curve.llr) for curve in (self.opening, self.standing_out, self.faint) if curve)

    @property
    def max_gap_segments(self) -> int:
        """Segments that begin within the longest hole."""
        return self.max_gap_samples // HOP_SAMPLES
