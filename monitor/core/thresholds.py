"""A detector's curves and thresholds for plays, measured on audio that is not in the catalog."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.core.likelihood import LlrCurve
from monitor.core.segments import HOP_SAMPLES


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a play opens, continues and ends. LLRs are natural logarithms.

    tracking_curve: LLR of a segment by its cosine along an alignment, against sound unrelated to the track. A play that
        has opened continues by it.
    opening_curve: the same, against music that resembles the track. A play must also pass it to open.
    contrast_curve: the same, by how far a cosine exceeds the similarity to the local context. Its mean with
        `opening_curve` opens a play. None: `opening_curve` alone does.
    faint_curve: LLR by the same quantity for a track below something much louder, on the same scale. It opens a play as
        well. None: there is no such test.
    deficit_cost: LLR that a segment loses for each 1.0 of its similarity deficit. Music heard in the clear is either
        the recording itself or another one.
    open_llr: needed to open a play.
    resume_llr: needed after a gap so that what follows belongs to the play before it.
    vote_llr: needed from the hits along one alignment before it is examined.
    max_gap_samples: longest gap within a play.
    drop_llr: how far the LLR may fall within a play, counted backward from its end.
    memory_samples: how far back a decision may look.
    """

    tracking_curve: LlrCurve
    opening_curve: LlrCurve
    contrast_curve: LlrCurve | None = None
    faint_curve: LlrCurve | None = None
    deficit_cost: float = 0.0
    open_llr: float = 12.0
    resume_llr: float = 2.0
    vote_llr: float = 6.0
    max_gap_samples: int = 16 * HOP_SAMPLES
    drop_llr: float = 10.0
    memory_samples: int = 120 * HOP_SAMPLES

    @property
    def max_segment_llr(self) -> float:
        """The largest LLR that one segment can add to a play that opens."""
        return max(max(curve.llr) for curve in (self.opening_curve, self.contrast_curve, self.faint_curve) if curve)

    @property
    def max_gap_segments(self) -> int:
        """Segments that begin within the longest gap."""
        return self.max_gap_samples // HOP_SAMPLES
