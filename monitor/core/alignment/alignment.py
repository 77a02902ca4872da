"""The alignment: which position in a track is heard at which instant of a stream, and at which speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES

# Stations play music up to 6 % faster; this leaves some room.
MAX_SPEED_DEVIATION = 0.08
# After a reconnect, network timing places the stream on its clock again. An alignment this near is still the same one.
SAME_ALIGNMENT_SAMPLES = 2 * HOP_SAMPLES


@dataclass(frozen=True, slots=True)
class Alignment:
    """A straight line through a track, over the time of a stream.

    instant: a point on the stream clock, in samples.
    position: the position in the track that is heard there, in samples.
    speed: playback speed relative to the catalog's recording; 1.02 is 2 % faster.
    """

    instant: int
    position: float
    speed: float = 1.0

    def position_at(self, instant: int) -> float:
        """Position in the track at another instant, in samples."""
        return self.position + self.speed * (instant - self.instant)

    def distance_to(self, other: Alignment) -> float:
        """Distance to another alignment within the track, at the instant of this one, in samples."""
        return abs(other.position_at(self.instant) - self.position)


def segment_positions(alignments: Sequence[Alignment], starts: Sequence[int]) -> NDArray[np.float64]:
    """Where the track's segments with the same middles as the stream's segments begin.

    Args:
        alignments: through one track.
        starts: stream clock of the stream's segments, in samples.

    Returns:
        Positions in the track in hops, float64 (len(alignments), len(starts)).
    """
    half = SEGMENT_SAMPLES / 2
    instants = np.array([alignment.instant for alignment in alignments], np.int64)[:, np.newaxis]
    positions = np.array([alignment.position for alignment in alignments])[:, np.newaxis]
    speeds = np.array([alignment.speed for alignment in alignments])[:, np.newaxis]
    # Clock values are too large for a float to keep their fractions: subtract them first.
    elapsed = (np.array(starts, np.int64)[np.newaxis] - instants) + half
    found: NDArray[np.float64] = (positions + speeds * elapsed - half) / HOP_SAMPLES
    return found
