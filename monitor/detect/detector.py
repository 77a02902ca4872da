"""The Detector protocol: PCM in, unit vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.core.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class DetectorInfo:
    """The model that made a vector. Collections, blobs and matches carry it; vectors of different models are never
    compared.
    """

    name: str
    version: str
    checksum: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors of consecutive segments.

    vectors: float32 (k, dimensions), unit length; all zero for inaudible segments.
    audible: bool (k,); False for silent segments, which are never searched.
    expected_similarity: float32 (k,), an estimate of each vector's cosine with the same segment of the clean recording;
        the more is heard over the music, the lower it is. None if the detector makes no estimate.
    """

    vectors: NDArray[np.float32]
    audible: NDArray[np.bool_]
    expected_similarity: NDArray[np.float32] | None = None


class Detector(Protocol):
    """A way to recognize audio."""

    @property
    def info(self) -> DetectorInfo:
        """Identifies the model behind the vectors."""

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds and likelihood curves for its cosines, until a calibration replaces them."""

    def embed(self, pcm: NDArray[np.int16]) -> Embeddings:
        """Embeds every whole segment (`monitor.core.segments`) of 32 kHz mono PCM, int16 (n_samples,).

        A segment's vector depends only on that segment's samples, so the vectors do not depend on how a stream is
        cut into windows. Blocking and CPU-bound: call it in an executor.
        """

    def embed_many(self, pcms: Sequence[NDArray[np.int16]]) -> list[Embeddings]:
        """Like `embed` for each of several recordings, with the same results, but faster for short ones."""
