"""The Detector protocol: PCM in, unit vectors out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.core.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class DetectorInfo:
    """What made a vector. Collections, blobs and matches carry it; vectors of different infos are never compared."""

    name: str
    version: str
    checksum: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors of consecutive segments.

    vectors: float32 (k, dimensions), unit length; all zero where not audible.
    audible: bool (k,); False for segments of silence, which are never searched.
    foreseen: float32 (k,), the cosine that each would have with the music's own recording, guessed from how much else
        seems to be heard; None of a detector that cannot tell.
    """

    vectors: NDArray[np.float32]
    audible: NDArray[np.bool_]
    expected_similarity: NDArray[np.float32] | None = None


class Detector(Protocol):
    """A way to recognise."""

    @property
    def info(self) -> DetectorInfo: ...

    @property
    def thresholds(self) -> Thresholds:
        """What its cosines are worth, until a calibration says better."""

    def embed(self, pcm: NDArray[np.int16]) -> Embeddings:
        """Embeds every whole segment (`monitor.core.segments`) of 32 kHz mono PCM, shape (n_samples,).

        A segment's vector depends on that segment's samples only, so that any way of cutting a stream into
        windows gives the same vectors. Blocking and CPU bound: call it in an executor.
        """
