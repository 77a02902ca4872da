"""`airtrace similar` and `airtrace tracks enrol`: what sounds like a clip, and what of streams somebody must hear."""

from __future__ import annotations

from pathlib import Path

from monitor.commands import output
from monitor.commands.client import connect
from monitor.settings import Settings


async def search(settings: Settings, path: Path, limit: int, *, as_json: bool) -> int:
    """Prints the tracks that sound most like a clip, and what it sounds like."""
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
        for each in found["alike"]
    ]
    empty = "no track has PANNs vectors yet: airtrace tracks enrol"
    output.table(("id", "score", "title", "artist", "at", "position"), rows, empty)
    labels = ", ".join(f"{label['name']} {label['score']:.2f}" for label in found["labels"])
    output.print_status(f"sounds like {output.kind(found['kind'])}: {labels or 'no class in particular'}")
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


async def review(settings: Settings, similar: str, said: str, note: str | None) -> int:
    """Stores what somebody who listened says."""
    async with connect(settings) as client:
        await client.put(f"/similar/{similar}", json={"review": said, "note": note})
    output.print_status(f"{similar} is {said}")
    return 0


async def enrol(settings: Settings, *, as_json: bool) -> int:
    """Gives tracks that have none their PANNs vectors; the exit code is 1 when a file could not be used."""
    rows = []
    async with connect(settings) as client:
        async for line in client.lines("/sounds/enrol"):
            rows.append(line)
            if not as_json:
                output.print_status(f"{line['track']} {Path(line['source']).name}: {line['error'] or 'done'}")
    if as_json:
        output.as_json(rows)
    else:
        failed = sum(row["error"] is not None for row in rows)
        output.print_status(f"{len(rows) - failed} tracks have PANNs vectors now, {failed} failed")
    return 1 if any(row["error"] for row in rows) else 0


async def sounds(settings: Settings, stream: str | None, limit: int, *, as_json: bool) -> int:
    """Prints what streams sounded like."""
    async with connect(settings) as client:
        found = await client.get("/sounds", stream=stream, limit=limit)
    if as_json:
        output.as_json(found)
        return 0
    rows = [
        (
            each["stream"],
            output.clock(each["start"]),
            output.kind(each["kind"]),
            ", ".join(f"{label['name']} {label['score']:.2f}" for label in each["labels"]),
        )
        for each in found
    ]
    output.table(("stream", "start (UTC)", "sounds like", "labels"), rows, "PANNs has not listened to a stream yet")
    return 0
