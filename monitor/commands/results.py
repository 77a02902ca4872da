"""`airtrace matches`, `coverage` and `alerts`: what was found, and when each stream was monitored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitor.commands import output
from monitor.commands.client import Client, connect
from monitor.errors import NotFound
from monitor.settings import Settings


async def matches(settings: Settings, stream: str | None, state: str | None, limit: int, *, as_json: bool) -> int:
    """Prints matches, newest first."""
    async with connect(settings) as client:
        found = await client.get("/matches", stream=stream, state=state, limit=limit)
        if not found:
            await _check(client, stream)
    if as_json:
        output.as_json(found)
    else:
        columns = ("start (UTC)", "length", "stream", "track", "position", "score", "state")
        _table(columns, found, [_match(match) for match in found], "no matches yet")
    return 0


async def coverage(settings: Settings, stream: str | None, limit: int, *, as_json: bool) -> int:
    """Prints monitored intervals and gaps, newest first."""
    async with connect(settings) as client:
        intervals = await client.get("/coverage", stream=stream, limit=limit)
        if not intervals:
            await _check(client, stream)
    if as_json:
        output.as_json(intervals)
    else:
        rows = [
            (i["stream"], output.clock(i["start"]), output.minutes(output.length_s(i)), i["state"], i["reason"])
            for i in intervals
        ]
        columns = ("stream", "from (UTC)", "length", "state", "reason")
        _table(columns, intervals, rows, "no stream has been monitored yet")
    return 0


async def alerts(settings: Settings, state: str | None, limit: int, *, as_json: bool) -> int:
    """Prints alerts, newest first."""
    async with connect(settings) as client:
        raised = await client.get("/alerts", state=state, limit=limit)
    if as_json:
        output.as_json(raised)
    else:
        rows = [
            (a["id"], output.clock(a["raised_at"]), a["severity"], a["state"], a["stream"], a["track"]["title"])
            for a in raised
        ]
        output.table(("id", "raised (UTC)", "severity", "state", "stream", "track"), rows, "no alerts")
    return 0


def _table(
    columns: Sequence[str], found: Sequence[dict[str, Any]], rows: Sequence[tuple[object, ...]], empty: str
) -> None:
    """Prints rows, with what they sound like if PANNs has tagged any of them."""
    if any(each["sound"] for each in found):
        columns = (*columns, "sounds like")
        rows = [(*row, _sound(each["sound"])) for row, each in zip(rows, found, strict=True)]
    output.table(columns, rows, empty)


def _sound(sound: dict[str, Any] | None) -> str:
    """The most frequent kind of sound, and its share of what was tagged."""
    if sound is None:
        return ""
    return f"{output.kind(sound['kind'])} ({sound['shares'][sound['kind']]:.0%})"


async def _check(client: Client, stream: str | None) -> None:
    """Raises NotFound if there is no such stream now. A removed stream's results are still found by its name."""
    if stream is not None and all(known["name"] != stream for known in await client.get("/streams")):
        raise NotFound(f"there is no stream named {stream!r}; see `airtrace streams list`")


def _match(match: dict[str, Any]) -> tuple[object, ...]:
    return (
        output.clock(match["start"]),
        output.minutes(output.length_s(match)),
        match["stream"]["name"],
        output.named(match["track"]),
        output.minutes(match["track_start_s"]),
        f"{match['score']:.2f}",
        match["state"],
    )
