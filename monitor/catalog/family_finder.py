"""Finds the families of tracks: which other tracks of the catalog they are near-identical to.

Families are optional. A failure is logged. It prevents neither the registration of a track nor finding the families of
others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager

import numpy as np
import structlog

from monitor.core.families import RelatedTrack, candidate_tracks, find_related, hits_in, sample_segments
from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, Segment
from monitor.detect.detector import Detector
from monitor.storage.candidate_search import CandidateSearch
from monitor.storage.storage import Storage

log = structlog.get_logger(__name__)

# Several at once, because a search in Milvus Lite takes 0.05 s per 100,000 stored vectors for even a single query.
BATCH_TRACKS = 16
TOP_K = 10  # more found no further relations on the `train` and `tune` splits


class FamilyFinder:
    """Finds related tracks in the index, and among the tracks of the same batch."""

    def __init__(self, storage: Storage, index: CandidateSearch, detector: Detector, executor: Executor) -> None:
        self._storage = storage
        self._index = index
        self._info = detector.info
        self._curve = detector.thresholds.opening_curve
        self._executor = executor

    async def find(self, tracks: Sequence[int]) -> None:
        """Finds and stores the relations of tracks that are ready; never fails. The caller holds the catalog lock."""
        with log_and_continue(tracks):
            references = await self._storage.vectors.references(tracks, self._info)
            samples = await self._samples(references)
            for track, reference in references.items():
                with log_and_continue([track]):
                    related = await self._related(track, reference, samples[track], references)
                    await self._storage.families.add_relations(track, related, self._info)
                    log.debug("catalog.families_found", track=track, related=[each.track for each in related])

    async def _samples(self, references: Mapping[int, Reference]) -> dict[int, list[Segment]]:
        """Some segments of each track, with their hits in tracks outside the batch."""
        sampled = [
            (track, segment) for track, reference in references.items() for segment in sample_segments(reference)
        ]
        samples: dict[int, list[Segment]] = {track: [] for track in references}
        if sampled:
            vectors = np.stack([references[track].vectors[segment] for track, segment in sampled])
            hits = await self._index.search(vectors, TOP_K, but=references)
            for (track, segment), vector, found in zip(sampled, vectors, hits, strict=True):
                samples[track].append(Segment(segment * HOP_SAMPLES, vector, found))
        return samples

    async def _related(
        self, track: int, reference: Reference, samples: Sequence[Segment], batch: Mapping[int, Reference]
    ) -> list[RelatedTrack]:
        """The tracks related to one track.

        The index search leaves out its batch, where a track's own repeats would crowd out other tracks.
        """
        run = asyncio.get_running_loop().run_in_executor
        mates = {other: vectors for other, vectors in batch.items() if other != track}
        samples = await run(self._executor, _with_hits, samples, mates)
        wanted = candidate_tracks(samples, self._curve)
        others = await self._storage.vectors.references([other for other in wanted if other not in mates], self._info)
        others |= {other: mates[other] for other in wanted if other in mates}
        return await run(self._executor, find_related, reference, samples, others, self._curve)


def _with_hits(samples: Sequence[Segment], mates: Mapping[int, Reference]) -> list[Segment]:
    """The samples with their hits in the batch added."""
    if not samples or not mates:
        return list(samples)
    more = hits_in(np.stack([segment.vector for segment in samples if segment.vector is not None]), mates)
    return [
        Segment(segment.start, segment.vector, (*segment.hits, *hits))
        for segment, hits in zip(samples, more, strict=True)
    ]


@contextmanager
def log_and_continue(tracks: Sequence[int]) -> Iterator[None]:
    """Logs every exception of its body and continues. A rebuild looks for the families of these tracks again."""
    try:
        yield
    except Exception:
        log.exception("catalog.family_search_failed", tracks=list(tracks), next="airtrace tracks rebuild")
