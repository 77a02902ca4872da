"""What a detector's scores must reach before something is said; measured on audio that is not in the catalog."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.core.segments import HOP_SAMPLES


@dataclass(frozen=True, slots=True)
class Run:
    """So many segments in a row whose mean exact cosine reaches `score` are evidence enough."""

    segments: int
    score: float


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a play opens, goes on and ends. The defaults are the baseline detector's, from the `tune` split.

    runs: any of them opens a play; shorter runs must be more alike.
    keep_score: exact cosine from which a single segment counts as part of the play.
    least_votes: segments whose hits must lie on one line before it is looked at.
    lead: a line is refused where another track's line scores so much more over the same segments.
    hole_samples: longest stretch without agreement inside a play.
    """

    runs: tuple[Run, ...] = (Run(6, 0.88), Run(12, 0.75))
    keep_score: float = 0.5
    least_votes: int = 3
    lead: float = 0.15
    hole_samples: int = 8 * HOP_SAMPLES

    @property
    def longest_run(self) -> int:
        """Segments that must be looked at to see any run."""
        return max(run.segments for run in self.runs)
