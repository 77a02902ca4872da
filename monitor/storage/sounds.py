"""What streams sound like and what they resemble, in PostgreSQL. A base of monitor/storage/matches.py's Store."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from monitor.core.segments import PASSAGE_SAMPLES
from monitor.core.similar_runs import HOLE_SAMPLES, Passage, Run, SimilarTrack, extend_runs
from monitor.detect.audioset import Kind, Label, SoundSummary
from monitor.detect.detector import DetectorInfo

# Runs are named by what they are, so that a replay after a crash finds the rows it wrote before.
RUN_NAMESPACE = uuid.UUID("8e0e60c7-3d47-4c5f-8a53-6d3a6f5d7b52")


@dataclass(frozen=True, slots=True)
class TaggedPassage:
    """Ten seconds of a stream: where (stream clock), what it sounds like, what it resembles."""

    stream: int
    passage: Passage
    heard: SoundSummary


@dataclass(frozen=True, slots=True)
class Written:
    """What writing a passage came to: whether it was new, and how many similar matches began with it."""

    is_new: bool
    n_similar: int


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage that was stored; starts and ends are stream clock values."""

    stream_id: int
    stream_name: str
    starts: int
    ends: int
    heard: SoundSummary


@dataclass(frozen=True, slots=True)
class Similar:
    """A stretch of a stream that resembles a track. review: pending, confirmed or dismissed, by whoever listened."""

    id: uuid.UUID
    stream_id: int
    stream_name: str
    track: dict[str, object]
    version: str
    starts: int
    ends: int
    score: float
    review: str
    note: str | None
    found_at: datetime
    reviewed_at: datetime | None


@dataclass(frozen=True, slots=True)
class StreamInterval:
    """An interval of a stream, in stream clock values."""

    stream_id: int
    starts: int
    ends: int


class SoundStore:
    """Passages and similar matches, behind the store's pool."""

    _pool: asyncpg.Pool
    _sql: dict[str, str]

    # Streams

    async def passage_ends(self, streams: Collection[int]) -> dict[int, int]:
        """Up to where each of the streams has passages; those without any are left out."""
        rows = await self._pool.fetch(self._sql["passage_ends"], list(streams))
        return {row["stream_id"]: row["ends"] for row in rows}

    async def write_passage(self, one: TaggedPassage, info: DetectorInfo) -> Written:
        """Writes a passage, and prolongs or begins what it resembles, in one transaction; twice changes nothing."""
        passage, heard = one.passage, one.heard
        labels = [[label.name, label.score] for label in heard.labels]
        similar = [[each.track, each.score] for each in passage.similar]
        values = (heard.kind, heard.music, heard.speech, labels, similar, info.version, info.checksum)
        async with self._pool.acquire() as connection, connection.transaction():
            is_new = await connection.fetchval(
                self._sql["passage_insert"], one.stream, passage.start, passage.end, *values
            )
            if is_new is None:
                return Written(False, 0)
            return Written(True, await self._resemble(connection, one, info) if passage.similar else 0)

    async def _resemble(self, connection: Any, one: TaggedPassage, info: DetectorInfo) -> int:
        """How many similar matches the passage began."""
        start = one.passage.start
        before = await connection.fetchrow(self._sql["passage_before"], one.stream, start, info.checksum)
        rows = await connection.fetch(self._sql["similar_recent"], one.stream, info.checksum, start - HOLE_SAMPLES)
        runs = [Run(row["track_id"], row["starts"], row["ends"], row["score_sum"], row["scored"]) for row in rows]
        begun: list[uuid.UUID] = []
        for run in extend_runs(one.passage, _passage(before) if before else None, runs):
            values = (info.version, info.checksum, run.start, run.end, run.score_sum, run.scored)
            key = uuid.uuid5(RUN_NAMESPACE, f"{one.stream}/{info.checksum}/{run.track}/{run.start}")
            if await connection.fetchval(self._sql["similar_upsert"], key, one.stream, run.track, *values):
                begun.append(key)
        await connection.execute(self._sql["similar_explained"], one.stream)
        return int(await connection.fetchval(self._sql["similars_there"], begun)) if begun else 0

    async def forget_explained(self) -> None:
        """Deletes similar matches that a play, found meanwhile, accounts for; what somebody has reviewed stays."""
        await self._pool.execute(self._sql["similar_explained"], None)

    async def forget_passages(self, before: int) -> None:
        """Deletes passages that began before a stream clock value."""
        await self._pool.execute(self._sql["passages_delete"], before)

    # Reading

    async def passages(
        self, stream: str | None = None, since: int | None = None, limit: int = 1000
    ) -> list[StoredPassage]:
        """By stream, newest first; `since` is a stream clock value that a passage must end behind."""
        return [
            StoredPassage(row["stream_id"], row["stream_name"], row["starts"], row["ends"], _heard(row))
            for row in await self._pool.fetch(self._sql["passages"], stream, since, limit)
        ]

    async def sounds_within(self, intervals: Sequence[StreamInterval]) -> list[dict[Kind, int]]:
        """For each interval how many samples of it sounded like what, by kind; what nobody listened to is missing."""
        found: list[dict[Kind, int]] = [{} for _ in intervals]
        if intervals:
            columns = [
                list(range(len(intervals))),
                *([getattr(each, name) for each in intervals] for name in ("stream_id", "starts", "ends")),
            ]
            for row in await self._pool.fetch(self._sql["sounds_within"], *columns, PASSAGE_SAMPLES):
                found[row["place"]][row["kind"]] = row["samples"]
        return found

    async def sounds_now(self, streams: Collection[int], since: int) -> dict[int, Kind]:
        """What streams sounded like last, of those with a passage that ends behind a stream clock value."""
        rows = await self._pool.fetch(self._sql["sounds_now"], list(streams), since)
        return {row["stream_id"]: row["kind"] for row in rows}

    async def similars(self, stream: str | None = None, review: str | None = None, limit: int = 100) -> list[Similar]:
        """Newest first."""
        return [Similar(**row) for row in await self._pool.fetch(self._sql["similars"], stream, review, limit)]

    async def similar(self, similar: uuid.UUID) -> Similar | None:
        row = await self._pool.fetchrow(self._sql["similar"], similar)
        return Similar(**row) if row else None

    async def review_similar(self, similar: uuid.UUID, review: str, note: str | None) -> bool:
        """Stores what somebody heard; False when there is no such similar match."""
        return await self._pool.fetchval(self._sql["similar_review"], similar, review, note) is not None


def _passage(row: Any) -> Passage:
    return Passage(row["starts"], row["ends"], tuple(SimilarTrack(*each) for each in row["similar"]))


def _heard(row: Any) -> SoundSummary:
    labels = tuple(Label(*each) for each in row["labels"])
    return SoundSummary(row["kind"], row["music"], row["speech"], labels)
