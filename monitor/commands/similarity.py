"""`airtrace similar`, `review` and `sounds`: what resembles the catalog, and what the streams sounded like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monitor.commands import output
from monitor.commands.client import connect
from monitor.settings import Settings


async def search(settings: Settings, path: Path, limit: int, *, as_json: bool) -> int:
    """Prints the tracks that sound most like a clip, and the clip's own labels."""
    async with connect(settings) as client:
        with path.open("rb") as file:
            files = {"file": (output.utf8_safe(path.name), file)}
            found = await client.post("/sounds/search", params={"limit": limit}, files=files)
    if as_json:
        output.as_json(found)
        return 0
    rows = [
        (
            each["track"]["id"],
            f"{each['score']:.3f}",
            each["track"]["title"],
            each["track"]["artist"],
            output.minutes(each["at_s"]),
            output.minutes(each["track_at_s"]),
        )
        for each in found["similar"]
    ]
    empty = "no track has PANNs vectors yet: airtrace tracks enroll"
    output.table(("id", "score", "title", "artist", "at", "position"), rows, empty)
    output.print_status(f"sounds like {output.kind(found['kind'])}: {_labels(found) or 'no particular label'}")
    return 0


async def list_(settings: Settings, stream: str | None, review: str | None, limit: int, *, as_json: bool) -> int:
    """Prints the similar matches of streams."""
    async with connect(settings) as client:
        found = await client.get("/similar", stream=stream, review=review, limit=limit)
    if as_json:
        output.as_json(found)
        return 0
    rows = [
        (
            each["id"],
            output.clock(each["start"]),
            output.minutes(output.length_s(each)),
            each["stream"]["name"],
            each["track"]["title"],
            f"{each['score']:.3f}",
            each["review"],
        )
        for each in found
    ]
    columns = ("id", "start (UTC)", "length", "stream", "resembles", "score", "review")
    output.table(columns, rows, "nothing on the streams resembles the catalog")
    return 0


async def review(settings: Settings, similar: str, verdict: str, note: str | None) -> int:
    """Stores a reviewer's verdict on a similar match."""
    async with connect(settings) as client:
        await client.put(f"/similar/{similar}", json={"review": verdict, "note": note})
    output.print_status(f"{similar} is {verdict}")
    return 0


async def sounds(settings: Settings, stream: str | None, limit: int, *, as_json: bool) -> int:
    """Prints what streams sounded like."""
    async with connect(settings) as client:
        found = await client.get("/sounds", stream=stream, limit=limit)
    if as_json:
        output.as_json(found)
        return 0
    rows = [(each["stream"], output.clock(each["start"]), output.kind(each["kind"]), _labels(each)) for each in found]
    output.table(("stream", "start (UTC)", "sounds like", "labels"), rows, "PANNs has not tagged any stream yet")
    return 0


def _labels(found: dict[str, Any]) -> str:
    return ", ".join(f"{label['name']} {label['score']:.2f}" for label in found["labels"])
