"""PANNs with its index, loaded when it is first needed. Registers tracks, and finds what sounds like a clip.

The vectors of tracks are stored beside their fingerprints; the index has them in a collection of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from monitor import metrics
from monitor.audio import decode
from monitor.core.segments import PASSAGE_SAMPLES, SAMPLE_RATE_HZ
from monitor.detect.audioset import SoundSummary, summarize_passages
from monitor.detect.checkpoints import CHECKPOINTS, Checkpoint
from monitor.detect.detector import DetectorInfo
from monitor.detect.panns import Panns, PannsOutput, unavailable_reason
from monitor.errors import AirtraceError, AudioError, DependencyError, ModelUnavailable
from monitor.settings import Settings
from monitor.similarity.passages import MIN_REST_SAMPLES, Pcm, passages_of
from monitor.storage.milvus import Index
from monitor.storage.records import Fingerprint, Track
from monitor.storage.storage import Storage

log = structlog.get_logger(__name__)

Floats = NDArray[np.float32]

PAGE_TRACKS = 100
CANDIDATES = 40  # passages taken from the index for each that is asked about: a long track may have many of the best
MAX_QUERY_PASSAGES = 60  # of a clip that is searched for: all of ten minutes, and 38 MB
REFERENCES_AT_ONCE = 64  # tracks whose exact vectors are in memory at a time: 6 MB for songs of four minutes


@dataclass(frozen=True, slots=True)
class SimilarRecording:
    """A track of the catalog that sounds like a clip.

    score: mean, over the clip's passages, of the cosine with the passage of the track that is most like each.
    best: the largest of these cosines; at_s, track_at_s: where in the clip and in the track.
    """

    track: Track
    score: float
    best: float
    at_s: float
    track_at_s: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a clip sounds like, and which tracks sound like it, the best first."""

    duration_s: float
    heard: SoundSummary
    alike: tuple[SimilarRecording, ...]


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What became of one track that was to get its PANNs vectors; error is None where all went well."""

    track: Track
    error: str | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """The network and the index of its vectors, which are in step with what is stored."""

    panns: Panns
    index: Index

    @property
    def info(self) -> DetectorInfo:
        return self.panns.info


class PannsService:
    """PANNs for one process. The network runs in a thread of its own, one batch after the other."""

    def __init__(self, settings: Settings, storage: Storage, index: Index, published: Checkpoint | None = None) -> None:
        """`index` is that of the fingerprint: this one's is beside it. `published` is for tests."""
        self._settings = settings.panns
        self._published = published or CHECKPOINTS[self._settings.model]
        self.path = self._settings.checkpoint or self._published.within(settings.home)
        self._storage = storage
        self._index = index
        self._loading = asyncio.Lock()
        self._loaded: Loaded | None = None
        self._refused: ModelUnavailable | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="panns")

    def unavailable_reason(self) -> str | None:
        """Why PANNs is not to be had here, as far as that can be told without loading it; None where it seems to be."""
        if not self._settings.enabled:
            return "panns.enabled is off"
        if self._refused is not None:
            return str(self._refused)
        return unavailable_reason(self._published, self.path)

    @property
    def registers(self) -> bool:
        """Whether new tracks get their vectors."""
        return self._settings.register_tracks and self.unavailable_reason() is None

    async def loaded(self) -> Loaded:
        """The network and its index, loaded once.

        Raises:
            ModelUnavailable: it is not to be had; the message says why, and what to do.
        """
        async with self._loading:
            if self._loaded is None:
                if (reason := self.unavailable_reason()) is not None:
                    raise ModelUnavailable(f"PANNs is not to be had: {reason}")
                self._loaded = await self._load()
            return self._loaded

    async def close(self) -> None:
        """Lets go of the thread, once what it does is done."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def listen(self, pieces: Sequence[Pcm]) -> PannsOutput:
        """What the network makes of pieces of 32 kHz mono PCM."""
        panns = (await self.loaded()).panns
        with metrics.PANNS_SECONDS.time():
            return await asyncio.get_running_loop().run_in_executor(self._thread, panns.listen, pieces)

    # Tracks

    async def enroll_new(self, track: Track, path: Path) -> None:
        """Gives a new track its vectors where that is wanted and possible; never fails, the track is there without."""
        if not self.registers or track.status != "ready":
            return
        try:
            await self.enroll(track, path)
        except AirtraceError as error:
            log.warning("panns.not_registered", track=track.id, error=str(error))

    async def enroll(self, track: Track, path: Path) -> None:
        """Gives a track its vectors, from its file.

        Raises:
            AudioError: the file cannot be used, or has another recording than the track's.
            ModelUnavailable: PANNs is not to be had.
        """
        loaded = await self.loaded()
        vectors: list[Floats] = []
        n_samples = 0
        async with aclosing(_minutes(path)) as minutes:
            async for pcm in minutes:
                n_samples += len(pcm)
                vectors.append((await self.listen(passages_of(pcm))).vectors)
        decode.check_same(path, n_samples, track.duration_s)
        async with self._storage.tracks.catalog_lock():
            await self._storage.vectors.add(track.id, Fingerprint(loaded.info, np.concatenate(vectors)))
            await self._index_again(loaded, [track.id])

    async def enroll_all(self) -> AsyncIterator[Enrolled]:
        """Gives the tracks that have none their vectors, from the files that they were registered from."""
        info, last = (await self.loaded()).info, 0
        while tracks := await self._storage.vectors.tracks_without(info, last, PAGE_TRACKS):
            for track in tracks:
                last, error = track.id, None
                try:
                    await self.enroll(track, Path(track.metadata.source))
                except AudioError as refused:
                    error = str(refused)
                yield Enrolled(track, error)

    async def forget(self, track: int) -> None:
        """Takes a deleted track out of the index, if that is open; what stays there is found out when it is loaded."""
        if self._loaded is not None:
            try:
                await self._loaded.index.delete(track)
            except DependencyError as error:
                log.warning("panns.not_deleted", track=track, error=str(error))

    # Search

    async def search(self, path: Path, limit: int) -> SearchResult:
        """The tracks that sound most like a clip, of whatever length.

        Raises:
            AudioError: the file cannot be used, or is silent.
            ModelUnavailable: PANNs is not to be had.
        """
        pieces, n_samples = await _clip(path)
        places = list(pieces)
        listened = await self.listen(list(pieces.values()))
        sounding = [i for i in range(len(places)) if listened.vectors[i].any()]
        if not sounding:
            raise AudioError("silent", f"{path.name}: nothing but silence")
        vectors = listened.vectors[sounding]
        starts_s = [places[i] * PASSAGE_SAMPLES / SAMPLE_RATE_HZ for i in sounding]
        alike = await self._alike(vectors, starts_s, limit)
        heard = summarize_passages(list(listened.probabilities[sounding]))
        return SearchResult(n_samples / SAMPLE_RATE_HZ, heard, alike)

    async def _alike(self, vectors: Floats, starts_s: Sequence[float], limit: int) -> tuple[SimilarRecording, ...]:
        """The index proposes, exact vectors decide."""
        candidates = await self.candidates(vectors, max(CANDIDATES, limit))
        ranked: list[tuple[float, float, float, float, int]] = []
        for first in range(0, len(candidates), REFERENCES_AT_ONCE):
            exact = await self.references(candidates[first : first + REFERENCES_AT_ONCE])
            for track, passages in exact.items():
                cosines = vectors @ passages.T
                at, place = np.unravel_index(int(cosines.argmax()), cosines.shape)
                score, best = float(cosines.max(axis=1).mean()), float(cosines[at, place])
                ranked.append((score, best, starts_s[int(at)], int(place) * PASSAGE_SAMPLES / SAMPLE_RATE_HZ, track))
        ranked.sort(key=lambda each: (-each[0], each[4]))
        found: list[SimilarRecording] = []
        for score, best, at_s, track_at_s, track in ranked:
            if len(found) < limit and (known := await self._storage.tracks.get(track)) is not None:
                found.append(SimilarRecording(known, score, best, at_s, track_at_s))
        return tuple(found)

    async def candidates(self, vectors: Floats, top_k: int) -> list[int]:
        """Tracks that the index proposes for vectors, shape (n, dimensions), those with the best hits first."""
        hits = await (await self.loaded()).index.search(vectors, top_k)
        flat = sorted((hit for each in hits for hit in each), key=lambda hit: -hit.score)
        return list(dict.fromkeys(hit.track for hit in flat))

    async def references(self, tracks: Sequence[int]) -> dict[int, Floats]:
        """The exact vectors of those of the tracks that are in the catalog, without their silence's rows of zeros."""
        info = (await self.loaded()).info
        return {
            track: reference.vectors
            for track, reference in (await self._storage.vectors.references(tracks, info)).items()
            if reference.vectors.any()
        }

    # The index

    async def _load(self) -> Loaded:
        said = self._settings
        own = said.checkpoint is not None
        try:
            panns = await asyncio.get_running_loop().run_in_executor(
                self._thread, lambda: Panns(self.path, self._published, said.device, own=own, threads=said.threads)
            )
        except ModelUnavailable as error:
            self._refused = error  # it is not tried again and again: reading 300 MB takes its time
            raise
        loaded = Loaded(panns, self._index.beside(panns.info))
        await self._in_step(loaded)
        log.info("panns.loaded", model=f"{panns.info.version}/{panns.info.checksum}", device=panns.device)
        return loaded

    async def _in_step(self, loaded: Loaded) -> None:
        """Fills the index with what it lacks of the stored vectors, or anew where it has what nobody knows."""
        info, index = loaded.info, loaded.index
        async with self._storage.tracks.catalog_lock():  # also so that two processes do not make the collection at once
            await index.open()
            await self._index_again(loaded, await self._storage.vectors.unindexed_tracks(info))
            wanted, there = await self._storage.vectors.count_indexable(info), await index.count()
            if there != wanted:
                log.warning("panns.refilling_index", wanted=wanted, there=there)
                await index.recreate()
                await self._index_again(loaded, await self._storage.vectors.ready_tracks(info))

    async def _index_again(self, loaded: Loaded, tracks: Sequence[int]) -> None:
        for track in tracks:
            for done in await self._storage.vectors.index_rows([track], loaded.info):
                if done.indexed:
                    await loaded.index.delete(track)
                await loaded.index.insert(track, done.vectors)
                await self._storage.vectors.set_indexed(done, loaded.info)


@asynccontextmanager
async def open_panns(settings: Settings, storage: Storage, index: Index) -> AsyncIterator[PannsService]:
    """PANNs for as long as the caller runs; nothing is loaded yet."""
    sounds = PannsService(settings, storage, index)
    try:
        yield sounds
    finally:
        await sounds.close()


async def _clip(path: Path) -> tuple[dict[int, Pcm], int]:
    """A clip's passages by their places, and its length in samples; it may be shorter than a second.

    Of a long one only so many, evenly spread: every second, fourth, ... passage.
    """
    pieces: dict[int, Pcm] = {}
    n_samples, n_passages, step = 0, 0, 1
    try:
        async with aclosing(_minutes(path)) as minutes:
            async for pcm in minutes:
                n_samples += len(pcm)
                for piece in passages_of(pcm):
                    if n_passages % step == 0:
                        pieces[n_passages] = piece
                    n_passages += 1
                    if len(pieces) > MAX_QUERY_PASSAGES:
                        step *= 2
                        pieces = {place: kept for place, kept in pieces.items() if place % step == 0}
    except AudioError as error:
        if error.reason != "too_short" or not n_samples:
            raise
    return pieces, n_samples


async def _minutes(path: Path) -> AsyncGenerator[Pcm, None]:
    """A file's PCM in pieces of whole passages; the last has the rest."""
    waiting = np.empty(0, np.int16)
    try:
        async with aclosing(decode.blocks(path)) as blocks:
            async for block in blocks:
                waiting = np.concatenate([waiting, block])
                # What is left is never too short to be a passage of its own.
                whole = (len(waiting) - MIN_REST_SAMPLES) // PASSAGE_SAMPLES * PASSAGE_SAMPLES
                if whole > 0:
                    yield waiting[:whole]
                    waiting = waiting[whole:]
    except AudioError as error:
        if error.reason != "too_short" or not len(waiting):
            raise
        yield waiting
        raise
    if len(waiting):
        yield waiting
