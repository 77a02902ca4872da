"""The tables of sounds: what streams sound like (passages), and the tracks that they resemble (similar matches)."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from monitor.core.segments import PASSAGE_SAMPLES
from monitor.core.similar_runs import MAX_GAP_SAMPLES, Passage, SimilarRun, extend_runs
from monitor.detect.audioset import Kind, SoundSummary
from monitor.detect.detector import DetectorInfo
from monitor.storage import rows
from monitor.storage.database import Database, QueryRunner

# The id of a similar match is derived from its key, so that a replay after a crash finds the row written before.
RUN_NAMESPACE = uuid.UUID("8e0e60c7-3d47-4c5f-8a53-6d3a6f5d7b52")


@dataclass(frozen=True, slots=True)
class TaggedPassage:
    """Ten seconds of a stream: when (stream clock), what it sounds like, and which tracks it resembles."""

    stream: int
    passage: Passage
    heard: SoundSummary


@dataclass(frozen=True, slots=True)
class Written:
    """The result of adding a passage: whether it is new, and how many similar matches began with it."""

    is_new: bool
    n_similar: int


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage as it is stored; starts and ends are stream clock values."""

    stream_id: int
    stream_name: str
    starts: int
    ends: int
    heard: SoundSummary


@dataclass(frozen=True, slots=True)
class Similar:
    """An interval of a stream (stream clock) that resembles a track.

    review: pending, or what a listener decided: confirmed or dismissed.
    """

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


class SoundTable:
    """Passages and similar matches."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Writing

    async def add_passage(self, tagged: TaggedPassage, info: DetectorInfo) -> Written:
        """Writes a passage and extends or begins its similar matches, in one transaction; twice changes nothing."""
        passage, heard = tagged.passage, tagged.heard
        labels = [[label.name, label.score] for label in heard.labels]
        similar = [[each.track, each.score] for each in passage.similar]
        values = (heard.kind, heard.music, heard.speech, labels, similar, info.version, info.checksum)
        async with self._database.transaction() as connection:
            place = (tagged.stream, passage.start, passage.end)
            if await connection.fetchval("passage_insert", *place, *values) is None:
                return Written(False, 0)
            return Written(True, await self._add_similar(connection, tagged, info) if passage.similar else 0)

    async def _add_similar(self, connection: QueryRunner, tagged: TaggedPassage, info: DetectorInfo) -> int:
        """Extends or begins the similar matches of a passage; returns how many it began."""
        stream, start = tagged.stream, tagged.passage.start
        before = await connection.fetchrow("passage_before", stream, start, info.checksum)
        recent = await connection.fetch("similar_recent", stream, info.checksum, start - MAX_GAP_SAMPLES)
        runs = [
            SimilarRun(row["track_id"], row["starts"], row["ends"], row["score_sum"], row["scored"]) for row in recent
        ]
        begun: list[uuid.UUID] = []
        for run in extend_runs(tagged.passage, rows.to_passage(before) if before else None, runs):
            values = (info.version, info.checksum, run.start, run.end, run.score_sum, run.scored)
            key = uuid.uuid5(RUN_NAMESPACE, f"{stream}/{info.checksum}/{run.track}/{run.start}")
            if await connection.fetchval("similar_upsert", key, stream, run.track, *values):
                begun.append(key)
        await connection.execute("similar_delete_explained", stream)
        return int(await connection.fetchval("similar_count", begun)) if begun else 0

    async def delete_explained(self) -> None:
        """Deletes pending similar matches that a match, found in the meantime, explains."""
        await self._database.execute("similar_delete_explained", None)

    async def delete_passages(self, before: int) -> None:
        """Deletes passages that began before a stream clock value."""
        await self._database.execute("passages_delete", before)

    async def review(self, similar: uuid.UUID, review: str, note: str | None) -> bool:
        """Stores a listener's review; False if there is no such similar match."""
        return await self._database.fetchval("similar_review", similar, review, note) is not None

    # Reading

    async def list_similar(
        self, stream: str | None = None, review: str | None = None, limit: int = 100
    ) -> list[Similar]:
        """Similar matches, newest first."""
        return [Similar(**row) for row in await self._database.fetch("similar_list", stream, review, limit)]

    async def get_similar(self, similar: uuid.UUID) -> Similar | None:
        """A similar match by its id."""
        row = await self._database.fetchrow("similar", similar)
        return Similar(**row) if row else None

    async def list_passages(
        self, stream: str | None = None, since: int | None = None, limit: int = 1000
    ) -> list[StoredPassage]:
        """The newest passages that end after `since` (stream clock), by stream, newest first."""
        return [
            StoredPassage(row["stream_id"], row["stream_name"], row["starts"], row["ends"], rows.to_sound_summary(row))
            for row in await self._database.fetch("passages", stream, since, limit)
        ]

    async def passage_ends(self, streams: Collection[int]) -> dict[int, int]:
        """The end of the newest passage of each stream; no entry for a stream without passages."""
        found = await self._database.fetch("passage_ends", list(streams))
        return {row["stream_id"]: row["ends"] for row in found}

    async def within(self, intervals: Sequence[StreamInterval]) -> list[dict[Kind, int]]:
        """For each interval, the number of samples of each kind of sound; samples without a passage do not count."""
        found: list[dict[Kind, int]] = [{} for _ in intervals]
        if intervals:
            columns = [
                list(range(len(intervals))),
                *([getattr(each, name) for each in intervals] for name in ("stream_id", "starts", "ends")),
            ]
            for row in await self._database.fetch("sounds_within", *columns, PASSAGE_SAMPLES):
                found[row["place"]][row["kind"]] = row["samples"]
        return found

    async def latest(self, streams: Collection[int], since: int) -> dict[int, Kind]:
        """The kind of each stream's newest passage, if that ends after `since` (stream clock)."""
        found = await self._database.fetch("sounds_latest", list(streams), since)
        return {row["stream_id"]: row["kind"] for row in found}
