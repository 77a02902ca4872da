"""The tables of families: which tracks contain the same recording, wholly or in part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from monitor.core.families import FamilyRelation, RelatedTrack
from monitor.detect.detector import DetectorInfo
from monitor.storage import rows
from monitor.storage.database import Database
from monitor.storage.records import FamilyMember

MAX_FAMILY = 50  # members listed for a track; an owner of more versions knows of them


class FamilyTable:
    """Relations between pairs of tracks, and the families that follow from them (see `monitor.core.families`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tracks_without_known_family(self, info: DetectorInfo, limit: int | None = None) -> list[int]:
        """Ids of ready tracks whose relations have not been searched yet, at most `limit`."""
        found = await self._database.fetch("tracks_without_known_family", info.name, info.checksum, limit)
        return [row["id"] for row in found]

    async def add_relations(self, track: int, related: Collection[RelatedTrack], info: DetectorInfo) -> None:
        """Stores the relations that were found for a track, and that its family is known.

        Relations that were found for other tracks stay.
        """
        relations: list[tuple[int, int, float, float, bool]] = []
        for each in related:
            relations.append((track, each.track, each.share, each.speed, each.is_part))
            relations.append((each.track, track, each.related_share, 1 / each.speed, each.is_part))
        async with self._database.transaction() as connection:
            await connection.executemany("family_relation_upsert", relations)
            await connection.execute("fingerprint_family_known", track, info.name, info.checksum)

    async def relations(self) -> list[FamilyRelation]:
        """All relations, each pair once."""
        found = await self._database.fetch("family_relations")
        return [FamilyRelation(row["track_id"], row["member_id"], row["part"]) for row in found]

    async def members_of(self, tracks: Collection[int], max_members: int = MAX_FAMILY) -> dict[int, list[FamilyMember]]:
        """The other ready members of each track's family, the first `max_members`; no entry for a track without any."""
        found: defaultdict[int, list[FamilyMember]] = defaultdict(list)
        if tracks:
            for row in await self._database.fetch("family_members", list(tracks), max_members):
                found[row["root"]].append(rows.to_family_member(row))
        return dict(found)

    async def as_members(self, tracks: Collection[int]) -> dict[int, FamilyMember]:
        """Tracks by their ids, in the form of family members; only those that exist."""
        found = await self._database.fetch("tracks_by_id", list(tracks))
        return {row["id"]: rows.to_family_member(row) for row in found}
