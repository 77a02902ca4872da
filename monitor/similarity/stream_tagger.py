"""Listens to streams beside the worker: labels every ten seconds, and finds what resembles tracks of the catalog.

It never holds the worker up: what it does not come to is dropped and counted. It keeps no state that matters: passages
are stored by where they begin, so that what is heard again after a crash or a rebalance changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from ingest.backoff import Backoff
from ingest.bus.port import Delivery
from ingest.wire import Window
from monitor import metrics
from monitor.core.segments import PASSAGE_SAMPLES, SAMPLE_RATE_HZ
from monitor.core.similar_runs import Passage, SimilarTrack, similar_tracks
from monitor.detect.audioset import SILENT, SoundSummary, summarize
from monitor.errors import DependencyError, ModelUnavailable, RowDeleted, with_cause
from monitor.settings import PannsSettings
from monitor.similarity.panns_service import Floats, PannsService
from monitor.similarity.passages import PassageCutter, Pcm
from monitor.storage.sounds import TaggedPassage
from monitor.storage.storage import Storage

log = structlog.get_logger(__name__)

MAX_WAITING = 64  # passages: ten minutes of audio and 41 MB
AT_ONCE = 8
TOP_K = 20
SWEEP_EVERY_S = 60.0
RETRY_FIRST_S, MAX_RETRY_S = 0.5, 10.0
PASSING = (DependencyError, RowDeleted, OSError)
# What was heard so long ago says nothing of now: one passage, and the time to come to it.
GATE_FRESH_SAMPLES = 3 * PASSAGE_SAMPLES
MAX_GATE_MUSIC = 0.1  # beneath, PANNs hears no music at all, not even far beneath the voice


@dataclass(frozen=True, slots=True)
class Waiting:
    """Ten seconds of a stream that nobody has listened to yet; start: stream clock."""

    stream: int
    start: int
    pcm: Pcm


class StreamTagger:
    """The streams of one worker."""

    def __init__(self, sounds: PannsService, storage: Storage, settings: PannsSettings) -> None:
        self._sounds = sounds
        self._storage = storage
        self._settings = settings
        self._cutters: dict[int, PassageCutter] = {}
        self._waiting: deque[Waiting] = deque()
        self._some = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._said: dict[
            str, tuple[int, SoundSummary]
        ] = {}  # up to where a stream was listened to, and what it was last
        self._is_on = False
        self._is_behind = False  # and has said so

    @property
    def is_on(self) -> bool:
        """Whether it listens; where PANNs is not to be had, nothing waits for it."""
        return self._is_on

    async def idle(self) -> None:
        """Until all that waits has been listened to."""
        await self._idle.wait()

    def hear(self, stream: int, deliveries: Iterable[Delivery]) -> None:
        """Takes in what the worker has matched. Never waits."""
        if not self._is_on:
            return
        cutter = self._cutters.setdefault(stream, PassageCutter())
        for delivery in deliveries:
            if isinstance(delivery.record, Window):
                for start, pcm in cutter.feed(delivery.record):
                    self._wait(Waiting(stream, start, pcm))

    def forget(self, stream: int) -> None:
        """Of a stream that was removed nothing stays."""
        self._cutters.pop(stream, None)
        self._said.pop(str(stream), None)

    def needs_search(self, name: str, start: int) -> bool:
        """Whether fingerprints from stream clock `start` on are worth a search: not where somebody only talks."""
        if not self._settings.gate or (said := self._said.get(name)) is None:
            return True
        until, heard = said
        is_fresh = until <= start + PASSAGE_SAMPLES and start < until + GATE_FRESH_SAMPLES
        return not (is_fresh and heard.kind == "speech" and heard.music < MAX_GATE_MUSIC)

    async def run(self) -> None:
        """Until cancelled. Where PANNs is not to be had it says so once and ends at once."""
        if not self._settings.listen or (reason := self._sounds.unavailable_reason()) is not None:
            log.info("panns.off", reason=reason if self._settings.listen else "panns.listen is off")
            return
        self._is_on = True  # already: what comes while the network is loaded waits for it
        try:
            if await self._load():
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._sweep(), name="sweep-sounds")
                    await self._listen()
        finally:
            self._is_on = False
            self._waiting.clear()
            self._idle.set()

    async def _load(self) -> bool:
        """Whether PANNs is there now; whatever it is, the worker goes on."""
        backoff = Backoff(RETRY_FIRST_S, MAX_RETRY_S)
        while True:
            try:
                await self._sounds.loaded()
            except ModelUnavailable as error:
                log.warning("panns.off", reason=str(error))
                return False
            except PASSING as error:
                log.warning("panns.retrying", error=with_cause(error))
                await asyncio.sleep(backoff.next_s())
            except Exception as error:
                log.exception("panns.off", exc_info=error)
                return False
            else:
                return True

    def _wait(self, one: Waiting) -> None:
        if len(self._waiting) >= MAX_WAITING:
            dropped = self._waiting.popleft()
            metrics.PANNS_DROPPED.inc(PASSAGE_SAMPLES / SAMPLE_RATE_HZ)
            if not self._is_behind:
                self._is_behind = True
                log.warning("panns.behind", stream=dropped.stream, next="give it a GPU, more threads or fewer streams")
        self._waiting.append(one)
        metrics.PANNS_WAITING.set(len(self._waiting))
        self._idle.clear()
        self._some.set()

    async def _listen(self) -> None:
        backoff = Backoff(RETRY_FIRST_S, MAX_RETRY_S)
        while True:
            await self._some.wait()
            batch = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            try:
                await self._take(batch)
                backoff.reset()
            except PASSING as error:
                log.warning("panns.retrying", error=with_cause(error))
                self._waiting.extendleft(reversed(batch))
                await asyncio.sleep(backoff.next_s())
            except Exception as error:  # whatever it is, the worker goes on
                log.exception("panns.failed", passages=len(batch), exc_info=error)
                metrics.PANNS_DROPPED.inc(len(batch) * PASSAGE_SAMPLES / SAMPLE_RATE_HZ)
            metrics.PANNS_WAITING.set(len(self._waiting))
            if not self._waiting:
                self._some.clear()
                self._idle.set()
                self._is_behind = False

    async def _take(self, batch: Sequence[Waiting]) -> None:
        known = await self._storage.sounds.passage_ends({one.stream for one in batch})
        new = [one for one in batch if one.start >= known.get(one.stream, one.start)]
        if not new:
            return
        info = (await self._sounds.loaded()).info
        listened = await self._sounds.listen([one.pcm for one in new])
        sounding = [i for i in range(len(new)) if listened.vectors[i].any()]
        similar = dict(zip(sounding, await self._similar([listened.vectors[i] for i in sounding]), strict=True))
        for i, one in enumerate(new):
            heard = summarize(listened.probabilities[i]) if i in similar else SILENT
            passage = Passage(one.start, one.start + PASSAGE_SAMPLES, similar.get(i, ()))
            written = await self._storage.sounds.add_passage(TaggedPassage(one.stream, passage, heard), info)
            self._said[str(one.stream)] = (passage.end, heard)
            if written.is_new:
                metrics.PASSAGES.labels(heard.kind).inc()
                metrics.SIMILAR.labels(one.stream).inc(written.n_similar)

    async def _similar(self, vectors: Sequence[Floats]) -> list[tuple[SimilarTrack, ...]]:
        """The tracks that each passage resembles."""
        found: list[tuple[SimilarTrack, ...]] = []
        for vector in vectors:  # one after the other, so that few tracks' exact vectors are in memory at once
            tracks = await self._sounds.candidates(vector[None], TOP_K)
            found.append(similar_tracks(vector, await self._sounds.references(tracks), self._settings.similar_score))
        return found

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            try:
                await self._storage.sounds.delete_explained()
                oldest_s = time.time() - self._settings.keep_days * 86_400
                await self._storage.sounds.delete_passages(round(oldest_s * SAMPLE_RATE_HZ))
            except DependencyError as error:
                log.warning("panns.not_swept", error=with_cause(error))
