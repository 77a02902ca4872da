"""Finds where the index differs from PostgreSQL, track by track and vector by vector, and mends it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.catalog.index_sync import IndexSync
from monitor.detect.detector import DetectorInfo
from monitor.storage.matches import Store
from monitor.storage.milvus import SEGMENT_BITS, Index, Rows

BATCH_ROWS = 20_000  # of 128 numbers: 10 MB in one message; servers send at most 100
HEADS = 1000  # tracks that are looked up at once
SAME = (
    1e-3  # the index has what float16 made of a vector, to the last bit; a lossy one may come back a little different
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a track differs.

    kind: `missing` in the index, `extra` there, `doubled` there, `other` vectors there, `unfinished` (something was
    broken off), or `unembedded` (no vectors of this model are stored: `airtrace tracks rebuild`).
    vectors: how many, 0 where none is meant. mended: now it differs no more.
    """

    track: int
    kind: str
    vectors: int
    mended: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """How many of how many tracks have been compared."""

    done: int
    total: int


async def verify(
    store: Store, index: Index, keeper: IndexSync, info: DetectorInfo, *, mend: bool
) -> AsyncIterator[Difference | Checked]:
    """Compares everything; others may go on meanwhile, but those who change the catalog wait for a batch at a time."""
    for track in await store.tracks_of_other_models(info):
        yield Difference(track.id, "unembedded", 0, mended=False)
    async with keeper.change():
        unfinished = [
            *await store.retiring_tracks(),
            *await store.pending_tracks(),
            *await store.unindexed_tracks(info),
        ]
        if mend:
            await keeper.finish()
    for each in unfinished:
        yield Difference(each, "unfinished", 0, mended=mend)
    total, done = sum((await store.count_by_status()).values()), 0
    beyond: int | None = 0
    while beyond is not None:
        first = beyond
        async with keeper.change():
            tracks, beyond = await _batch(store, info, first)
            found = await _compared(store, index, info, tracks, first, beyond)
            for difference in found:
                if mend:
                    await _mend(store, index, keeper, info, difference.track)
        for difference in found:
            yield Difference(difference.track, difference.kind, difference.vectors, mended=mend)
        done += len(tracks)
        yield Checked(done, max(done, total))


async def _batch(store: Store, info: DetectorInfo, first: int) -> tuple[list[int], int | None]:
    """The next tracks, of some BATCH_ROWS vectors together, and where the range of their keys ends."""
    heads = await store.heads(first, HEADS, info)
    rows = 0
    tracks: list[int] = []
    for track, n_segments in heads:
        if tracks and rows + n_segments > BATCH_ROWS:
            return tracks, track
        tracks.append(track)
        rows += n_segments
    return tracks, tracks[-1] + 1 if len(heads) == HEADS else None


async def _compared(
    store: Store, index: Index, info: DetectorInfo, tracks: list[int], first: int, beyond: int | None
) -> list[Difference]:
    ready = set(await store.revisions(tracks))
    wanted = {each.track: each.vectors for each in await store.indexables(sorted(ready), info)}
    there = await index.rows(first, beyond)
    found = list(_differences(wanted, there))
    if there.n_rows > len(there.ids):
        found += [each async for each in _doubled(index, there)]
    return found


def _differences(wanted: Mapping[int, NDArray[np.float32]], there: Rows) -> Iterator[Difference]:
    tracks = there.ids >> SEGMENT_BITS
    for track in sorted({*wanted, *np.unique(tracks).tolist()}):
        own = tracks == track
        places = there.ids[own] & ((1 << SEGMENT_BITS) - 1)
        vectors = wanted.get(track, np.empty((0, there.vectors.shape[1]), np.float32))
        audible = np.flatnonzero(vectors.any(axis=1))
        both = np.isin(places, audible)
        missing, extra = len(audible) - int(both.sum()), int((~both).sum())
        away = np.abs(there.vectors[own][both] - vectors[places[both]]).max(axis=1, initial=0) > SAME
        for kind, number in (("missing", missing), ("extra", extra), ("other", int(away.sum()))):
            if number:
                yield Difference(track, kind, number, mended=False)


async def _doubled(index: Index, there: Rows) -> AsyncIterator[Difference]:
    for track in np.unique(there.ids >> SEGMENT_BITS).tolist():
        rows = await index.rows(track, track + 1)
        if more := rows.n_rows - len(rows.ids):
            yield Difference(track, "doubled", more, mended=False)


async def _mend(store: Store, index: Index, keeper: IndexSync, info: DetectorInfo, track: int) -> None:
    await index.delete(track)
    if await store.revisions([track]):
        await keeper.bring(track)
