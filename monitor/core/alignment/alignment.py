"""The alignment: which position in a track is heard at which instant of a stream, and at which speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.core.arrays import Floats
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


@dataclass(frozen=True, slots=True)
class AlignmentGrid:
    """Many alignments through one track, as arrays: instants, int64 (m, 1); positions and speeds, float64 (m, 1)."""

    instants: NDArray[np.int64]
    positions: Floats
    speeds: Floats

    @classmethod
    def of(cls, alignments: Sequence[Alignment]) -> AlignmentGrid:
        """The grid of some alignments."""
        return cls(
            np.array([[alignment.instant] for alignment in alignments], np.int64).reshape(-1, 1),
            np.array([[alignment.position] for alignment in alignments], np.float64).reshape(-1, 1),
            np.array([[alignment.speed] for alignment in alignments], np.float64).reshape(-1, 1),
        )

    @classmethod
    def at(cls, instant: int, positions: Floats, speeds: Floats) -> AlignmentGrid:
        """Alignments with one instant; positions and speeds are float64 (m,)."""
        return cls(np.full((1, 1), instant, np.int64), positions[:, np.newaxis], speeds[:, np.newaxis])

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> Alignment:
        instant = self.instants[index if len(self.instants) > 1 else 0, 0]
        return Alignment(int(instant), float(self.positions[index, 0]), float(self.speeds[index, 0]))


def segment_positions(alignments: AlignmentGrid, starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Where the track's segments with the same middles as the stream's segments begin.

    Args:
        alignments: through one track.
        starts: stream clock of the stream's segments, in samples, int64 (n,).

    Returns:
        Positions in the track in hops, float64 (len(alignments), len(starts)).
    """
    half = SEGMENT_SAMPLES / 2
    # Clock values are too large for a float to keep their fractions: subtract them first.
    elapsed = (starts[np.newaxis] - alignments.instants) + half
    found = np.asarray(alignments.speeds * elapsed, np.float64)
    found += alignments.positions
    found -= half
    found /= HOP_SAMPLES
    return found
