"""The segments of a stream beside the arrays that comparisons need, so that these are built once and not per track."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from monitor.core.arrays import Bools, Floats, Ints
from monitor.core.segments import Segment


class SegmentArrays(Sequence[Segment]):
    """A sequence of segments. Its slices share its arrays, all of which have one row per segment.

    starts: int64 (n,), stream clock values.
    vectors: float32 (n, dimensions), zero where `is_audible` is false. The newest vector decides on the dimensions.
    is_audible: bool (n,), whether the segment has a vector of these dimensions.
    expected_similarity: float32 (n,), NaN without an estimate.
    """

    __slots__ = ("_segments", "expected_similarity", "is_all_audible", "is_audible", "starts", "vectors")

    def __init__(
        self,
        segments: Sequence[Segment],
        starts: Ints,
        vectors: NDArray[np.float32],
        is_audible: Bools,
        expected_similarity: Floats,
    ) -> None:
        """Use `of`, which makes the arrays."""
        self._segments = segments
        self.starts = starts
        self.vectors = vectors
        self.is_audible = is_audible
        self.expected_similarity = expected_similarity
        self.is_all_audible = bool(is_audible.all())

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> SegmentArrays:
        """The segments with their arrays; `segments` itself if it has them already."""
        if isinstance(segments, SegmentArrays):
            return segments
        vectors = [segment.vector for segment in segments]
        shape = next((vector.shape for vector in reversed(vectors) if vector is not None), (0,))
        silence = np.zeros(shape, np.float32)
        audible = [vector is not None and vector.shape == shape for vector in vectors]
        rows = [vector if vector is not None and vector.shape == shape else silence for vector in vectors]
        return cls(
            segments,
            np.array([segment.start for segment in segments], np.int64),
            np.array(rows, np.float32) if rows else np.zeros((0, *shape), np.float32),
            np.array(audible, np.bool_),
            np.array([segment.expected_similarity for segment in segments], np.float32),
        )

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._segments)

    def __len__(self) -> int:
        return len(self._segments)

    @overload
    def __getitem__(self, index: int) -> Segment: ...
    @overload
    def __getitem__(self, index: slice) -> SegmentArrays: ...
    def __getitem__(self, index: int | slice) -> Segment | SegmentArrays:
        if isinstance(index, slice):
            return SegmentArrays(
                self._segments[index],
                self.starts[index],
                self.vectors[index],
                self.is_audible[index],
                self.expected_similarity[index],
            )
        return self._segments[index]
