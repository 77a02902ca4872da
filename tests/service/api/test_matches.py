"""Matches, alerts and coverage over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import httpx2
import pytest

from monitor.core.families import RelatedTrack
from monitor.core.tracking.play import Play
from monitor.detect.logmel import LogMelDetector
from monitor.parts import Airtrace
from monitor.storage.records import Metadata
from monitor.storage.storage import Storage
from monitor.storage.tables.families import FamilyTable
from tests.service.api.http import API, a_track, client_of, iso
from tests.songs import ANCHOR, SECOND


async def test_a_match_has_its_times_position_and_metadata(client: httpx2.AsyncClient, on_air: Play) -> None:
    [match] = (await client.get(f"{API}/matches")).json()
    assert (match["id"], match["state"], match["stream"]["name"]) == (str(on_air.id), "open", "radio-one")
    assert (match["start"], match["end"]) == (iso(on_air.start), iso(on_air.end))
    assert (match["track_start_s"], match["track_end_s"], match["score"]) == (30, 45, 0.9)
    assert (match["track"]["title"], match["track"]["artist"], match["track"]["id"]) == (
        "Nocturne",
        "The Owls",
        on_air.track,
    )
    assert (await client.get(f"{API}/matches/{on_air.id}")).json() == match


class CountingFamilies:
    """The table of families; remembers the tracks it was asked for."""

    def __init__(self, table: FamilyTable) -> None:
        self._table = table
        self.asked: list[set[int]] = []

    async def members_of(self, tracks: set[int]) -> Any:
        self.asked.append(set(tracks))
        return await self._table.members_of(tracks)


async def test_a_match_names_the_family_of_its_track(
    airtrace_without_index: Airtrace, storage: Storage, on_air: Play
) -> None:
    families = CountingFamilies(storage.families)
    counting = replace(airtrace_without_index, storage=replace(storage, families=cast("FamilyTable", families)))
    async with client_of(counting) as client:
        await _each_names_its_family(client, storage, on_air, families)


async def _each_names_its_family(
    client: httpx2.AsyncClient, storage: Storage, on_air: Play, families: CountingFamilies
) -> None:
    assert [found["alternatives"] for found in await everything_of(client, "matches", "alerts")] == [[], []]
    info = LogMelDetector().info
    other = await a_track(storage, 2, Metadata("Nocturne (fast)", "/a/f.wav", "The Owls"))
    await storage.families.add_relations(other, [RelatedTrack(on_air.track, 1.0, 1.0, 1.05)], info)
    families.asked.clear()
    relative = {"id": other, "title": "Nocturne (fast)", "artist": "The Owls", "source": "/a/f.wav"}
    assert [found["alternatives"] for found in await everything_of(client, "matches", "alerts")] == [
        [relative],
        [relative],
    ]
    assert families.asked == [{on_air.track}, {on_air.track}]  # once per page
    assert (await client.get(f"{API}/matches/{on_air.id}")).json()["alternatives"] == [relative]
    await storage.tracks.delete(other)
    assert [found["alternatives"] for found in await everything_of(client, "matches", "alerts")] == [[], []]


async def everything_of(client: httpx2.AsyncClient, *nouns: str) -> list[dict[str, Any]]:
    return [one for noun in nouns for one in (await client.get(f"{API}/{noun}")).json()]


@pytest.mark.parametrize(
    ("query", "n"),
    [
        ({"stream": "radio-one"}, 1),
        ({"stream": "radio-two"}, 0),
        ({"state": "open"}, 1),
        ({"state": "closed"}, 0),
        ({"since": iso(ANCHOR + 14 * SECOND)}, 1),
        ({"since": iso(ANCHOR + 15 * SECOND)}, 0),
        ({"since": "0001-01-01T00:00:00Z"}, 1),
        ({"since": "9999-12-31T23:59:59Z"}, 0),
    ],
)
async def test_matches_are_filtered(client: httpx2.AsyncClient, on_air: Play, query: dict[str, str], n: int) -> None:
    response = await client.get(f"{API}/matches", params=query)
    assert response.status_code == 200, response.text
    assert len(response.json()) == n


async def test_coverage_and_alerts_are_listed(client: httpx2.AsyncClient, on_air: Play) -> None:
    covered, gap = (await client.get(f"{API}/coverage", params={"stream": "radio-one"})).json()
    assert (covered["state"], covered["reason"], covered["end"]) == ("covered", None, iso(ANCHOR + 20 * SECOND))
    assert (gap["state"], gap["reason"], gap["start"]) == ("gap", "connecting", iso(ANCHOR - 5 * SECOND))
    assert (await client.get(f"{API}/coverage", params={"stream": "radio-two"})).json() == []
    [alert] = (await client.get(f"{API}/alerts", params={"state": "open"})).json()
    assert (alert["match_id"], alert["severity"], alert["track"]["title"]) == (str(on_air.id), "warning", "Nocturne")
    assert (await client.get(f"{API}/alerts", params={"state": "resolved"})).json() == []
