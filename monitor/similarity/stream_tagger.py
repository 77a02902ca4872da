"""Tags streams beside the worker: labels every ten seconds of audio, and finds tracks that it resembles.

It never delays the worker: audio that PANNs cannot keep up with is skipped and counted. It has no state that must
survive. Passages are stored by their start, so tagging them again after a crash or a rebalance changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from ingest.backoff import Backoff, retry
from ingest.bus.port import Delivery
from ingest.wire import Window
from monitor import metrics
from monitor.core.segments import PASSAGE_SAMPLES, SAMPLE_RATE_HZ
from monitor.core.similar_runs import Passage, SimilarTrack, similar_tracks
from monitor.detect.audioset import SILENT, SoundSummary, summarize
from monitor.errors import DependencyError, ModelUnavailable, RowDeleted, with_cause
from monitor.settings import PannsSettings
from monitor.similarity.panns_service import PannsService
from monitor.similarity.passages import PassageCutter, Pcm
from monitor.similarity.search import Floats, SimilaritySearch
from monitor.storage.storage import Storage
from monitor.storage.tables.sounds import TaggedPassage

log = structlog.get_logger(__name__)

MAX_WAITING = 64  # passages: ten minutes of audio, and 41 MB
BATCH_PASSAGES = 8
TOP_K = 20
DELETE_EVERY_S = 60.0
RETRY_FIRST_S, MAX_RETRY_S = 0.5, 10.0
TRANSIENT = (DependencyError, RowDeleted, OSError)
# Older labels say nothing about the present. This allows for one passage and the time to tag it.
GATE_FRESH_SAMPLES = 3 * PASSAGE_SAMPLES
MAX_GATE_MUSIC = 0.1  # below it, PANNs finds no music, not even far below the voice


@dataclass(frozen=True, slots=True)
class WaitingPassage:
    """Ten seconds of a stream that are not tagged yet; `start` is a stream clock value."""

    stream: int
    start: int
    pcm: Pcm


class StreamTagger:
    """Tags the streams of one worker."""

    def __init__(
        self,
        panns: PannsService,
        search: SimilaritySearch,
        storage: Storage,
        settings: PannsSettings,
        *,
        max_waiting: int = MAX_WAITING,
        retry_first_s: float = RETRY_FIRST_S,
    ) -> None:
        """Starts nothing; see `run`.

        Args:
            panns: labels the audio.
            search: finds similar tracks.
            storage: the tables; passages are written there.
            settings: whether and how to tag.
            max_waiting: passages that may wait; further ones push out the oldest.
            retry_first_s: the first wait after a failure, in seconds.
        """
        self._panns = panns
        self._search = search
        self._storage = storage
        self._settings = settings
        self._max_waiting = max_waiting
        self._retry_first_s = retry_first_s
        self._cutters: dict[int, PassageCutter] = {}
        self._waiting: deque[WaitingPassage] = deque()
        self._has_waiting = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._latest: dict[str, tuple[int, SoundSummary]] = {}  # by stream name: the end of its last passage, its sound
        self._is_on = False
        self._is_behind = False  # and a warning has been logged

    @property
    def is_on(self) -> bool:
        """Whether audio is tagged, or waits for PANNs to be loaded. False if PANNs is unavailable."""
        return self._is_on

    async def idle(self) -> None:
        """Waits until every waiting passage has been tagged."""
        await self._idle.wait()

    def feed(self, stream: int, deliveries: Iterable[Delivery]) -> None:
        """Takes the windows that the worker has matched. Never waits."""
        if not self._is_on:
            return
        cutter = self._cutters.setdefault(stream, PassageCutter())
        for delivery in deliveries:
            if isinstance(delivery.record, Window):
                for start, pcm in cutter.feed(delivery.record):
                    self._enqueue(WaitingPassage(stream, start, pcm))

    def forget(self, stream: int) -> None:
        """Drops the state of a stream that was removed."""
        self._cutters.pop(stream, None)
        self._latest.pop(str(stream), None)

    def needs_search(self, name: str, start: int) -> bool:
        """Whether fingerprints starting at stream clock `start` are worth a search; not if there is only speech."""
        if not self._settings.gate or (latest := self._latest.get(name)) is None:
            return True
        until, sound = latest
        is_fresh = until <= start + PASSAGE_SAMPLES and start < until + GATE_FRESH_SAMPLES
        return not (is_fresh and sound.kind == "speech" and sound.music < MAX_GATE_MUSIC)

    async def run(self) -> None:
        """Tags until cancelled. If PANNs is unavailable, logs the reason once and returns."""
        if not self._settings.listen or (reason := self._panns.unavailable_reason()) is not None:
            log.info("panns.off", reason=reason if self._settings.listen else "panns.listen is off")
            return
        self._is_on = True  # already now, so that audio waits while the network is loaded
        try:
            if await self._load():
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._delete_old(), name="delete-old-passages")
                    await self._tag_waiting()
        finally:
            self._is_on = False
            self._waiting.clear()
            self._idle.set()

    async def _load(self) -> bool:
        """Loads PANNs; False if that is impossible. Whatever fails, the worker continues."""
        try:
            await retry(
                self._panns.loaded,
                backoff=Backoff(self._retry_first_s, MAX_RETRY_S),
                retry_on=TRANSIENT,
                on_error=_log_retry,
            )
        except ModelUnavailable as error:
            log.warning("panns.off", reason=str(error))
            return False
        except Exception as error:
            log.exception("panns.off", exc_info=error)
            return False
        return True

    def _enqueue(self, passage: WaitingPassage) -> None:
        if len(self._waiting) >= self._max_waiting:
            dropped = self._waiting.popleft()
            metrics.PANNS_DROPPED.inc(PASSAGE_SAMPLES / SAMPLE_RATE_HZ)
            if not self._is_behind:
                self._is_behind = True
                log.warning("panns.behind", stream=dropped.stream, next="give it a GPU, more threads or fewer streams")
        self._waiting.append(passage)
        metrics.PANNS_WAITING.set(len(self._waiting))
        self._idle.clear()
        self._has_waiting.set()

    async def _tag_waiting(self) -> None:
        backoff = Backoff(self._retry_first_s, MAX_RETRY_S)
        while True:
            await self._has_waiting.wait()
            await retry(self._tag_next, backoff=backoff, retry_on=TRANSIENT, on_error=_log_retry)
            metrics.PANNS_WAITING.set(len(self._waiting))
            if not self._waiting:
                self._has_waiting.clear()
                self._idle.set()
                self._is_behind = False

    async def _tag_next(self) -> None:
        """Tags the oldest passages. They wait again after a temporary failure; a permanent one drops them."""
        batch = [self._waiting.popleft() for _ in range(min(BATCH_PASSAGES, len(self._waiting)))]
        try:
            await self._tag(batch)
        except TRANSIENT:
            self._waiting.extendleft(reversed(batch))
            metrics.PANNS_WAITING.set(len(self._waiting))
            raise
        except Exception as error:  # the worker continues, whatever it was
            log.exception("panns.failed", passages=len(batch), exc_info=error)
            metrics.PANNS_DROPPED.inc(len(batch) * PASSAGE_SAMPLES / SAMPLE_RATE_HZ)

    async def _tag(self, batch: Sequence[WaitingPassage]) -> None:
        ends = await self._storage.sounds.passage_ends({one.stream for one in batch})
        new = [one for one in batch if one.start >= ends.get(one.stream, one.start)]
        if not new:
            return
        info = (await self._panns.loaded()).info
        output = await self._panns.listen([one.pcm for one in new])
        audible = [i for i in range(len(new)) if output.vectors[i].any()]
        similar = dict(zip(audible, await self._similar([output.vectors[i] for i in audible]), strict=True))
        for i, one in enumerate(new):
            sound = summarize(output.probabilities[i]) if i in similar else SILENT
            passage = Passage(one.start, one.start + PASSAGE_SAMPLES, similar.get(i, ()))
            written = await self._storage.sounds.add_passage(TaggedPassage(one.stream, passage, sound), info)
            self._latest[str(one.stream)] = (passage.end, sound)
            if written.is_new:
                metrics.PASSAGES.labels(sound.kind).inc()
                metrics.SIMILAR.labels(one.stream).inc(written.n_similar)

    async def _similar(self, vectors: Sequence[Floats]) -> list[tuple[SimilarTrack, ...]]:
        """The tracks that each passage resembles."""
        found: list[tuple[SimilarTrack, ...]] = []
        for vector in vectors:  # one after another, so that the exact vectors of few tracks are in memory at once
            tracks = await self._search.candidates(vector[None], TOP_K)
            found.append(similar_tracks(vector, await self._search.references(tracks), self._settings.similar_score))
        return found

    async def _delete_old(self) -> None:
        while True:
            await asyncio.sleep(DELETE_EVERY_S)
            try:
                await self._storage.sounds.delete_explained()
                oldest_s = time.time() - self._settings.keep_days * 86_400
                await self._storage.sounds.delete_passages(round(oldest_s * SAMPLE_RATE_HZ))
            except DependencyError as error:
                log.warning("panns.deletion_failed", error=with_cause(error))


def _log_retry(error: Exception, wait_s: float) -> None:
    log.warning("panns.retrying", error=with_cause(error), wait_s=round(wait_s, 1))
