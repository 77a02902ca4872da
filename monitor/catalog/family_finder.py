"""Kinship: looks for what tracks of the catalog are near-identical to, and stores it.

A family is a help: whatever fails here is logged, and neither the track nor its neighbours fail with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager

import numpy as np
import structlog

from monitor.core.families import RelatedTrack, candidate_tracks, find_related, hits_in, sample
from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, Segment
from monitor.detect.detector import Detector
from monitor.storage.matches import Store
from monitor.storage.milvus import Index

log = structlog.get_logger(__name__)

# At once: however few vectors are asked for, a search in Milvus Lite first costs 0.05 s for each 100,000 that it holds.
BATCH_TRACKS = 16
TOP_K = 10  # more found no more kin on the `train` and `tune` splits


class FamilyFinder:
    """Seeks kin in the index and among the tracks of a batch."""

    def __init__(self, store: Store, index: Index, detector: Detector, executor: Executor) -> None:
        self._store = store
        self._index = index
        self._info = detector.info
        self._curve = detector.thresholds.opening
        self._executor = executor

    async def seek(self, tracks: Sequence[int]) -> None:
        """Finds and stores the kin of tracks that are ready; the caller holds the catalog's lock."""
        with log_and_continue(tracks):
            references = await self._store.references(tracks, self._info)
            samples = await self._sampled(references)
            for track, reference in references.items():
                with log_and_continue([track]):
                    found = await self._found(track, reference, samples[track], references)
                    await self._store.relate(track, found, self._info)
                    log.debug("catalog.kin_sought", track=track, kin=[each.track for each in found])

    async def _sampled(self, references: Mapping[int, Reference]) -> dict[int, list[Segment]]:
        """Some segments of each track, with their hits in tracks that are not of the batch."""
        places = [(track, segment) for track, reference in references.items() for segment in sample(reference)]
        samples: dict[int, list[Segment]] = {track: [] for track in references}
        if places:
            vectors = np.stack([references[track].vectors[segment] for track, segment in places])
            hits = await self._index.search(vectors, TOP_K, but=references)
            for (track, segment), vector, found in zip(places, vectors, hits, strict=True):
                samples[track].append(Segment(segment * HOP_SAMPLES, vector, found))
        return samples

    async def _found(
        self, track: int, reference: Reference, samples: Sequence[Segment], batch: Mapping[int, Reference]
    ) -> list[RelatedTrack]:
        """The kin of one track. Its batch is not sought in the index, where its own repeats would crowd out others."""
        run = asyncio.get_running_loop().run_in_executor
        mates = {other: vectors for other, vectors in batch.items() if other != track}
        samples = await run(self._executor, _with_hits, samples, mates)
        wanted = candidate_tracks(samples, self._curve)
        others = await self._store.references([other for other in wanted if other not in mates], self._info)
        others |= {other: mates[other] for other in wanted if other in mates}
        return await run(self._executor, find_related, reference, samples, others, self._curve)


def _with_hits(samples: Sequence[Segment], mates: Mapping[int, Reference]) -> list[Segment]:
    """The samples with their hits in the batch, too."""
    if not samples or not mates:
        return list(samples)
    more = hits_in(np.stack([segment.vector for segment in samples if segment.vector is not None]), mates)
    return [
        Segment(segment.start, segment.vector, (*segment.hits, *hits))
        for segment, hits in zip(samples, more, strict=True)
    ]


@contextmanager
def log_and_continue(tracks: Sequence[int]) -> Iterator[None]:
    """Whatever goes wrong inside is only logged; the kin of these tracks are sought anew by a rebuild."""
    try:
        yield
    except Exception:
        log.exception("catalog.kin_not_sought", tracks=list(tracks), next="airtrace tracks rebuild")
