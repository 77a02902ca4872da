"""`airtrace tracks`: all of it but adding, which is in intake.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monitor.catalog.metadata import checked
from monitor.commands import output
from monitor.commands.add_tracks import UnchangedFile
from monitor.commands.client import connect
from monitor.errors import AirtraceError, MetadataError
from monitor.settings import Settings

PAGE_TRACKS = 10_000  # the API gives no more at once


async def list_(settings: Settings, query: str | None, status: str | None = None, *, as_json: bool) -> int:
    """All tracks, or those with a text in their names, codes or ids."""
    async with connect(settings) as client:
        tracks: list[dict[str, Any]] = []
        while page := await client.get("/tracks", query=query, status=status, limit=PAGE_TRACKS, offset=len(tracks)):
            tracks += page
            if len(page) < PAGE_TRACKS:
                break
    if as_json:
        output.as_json(tracks)
    else:
        rows = [
            (t["id"], t["title"], t["artist"], output.minutes(t["duration_s"]), _ids(t["family"]), t["source"])
            for t in tracks
        ]
        columns: tuple[str, ...] = ("id", "title", "artist", "length", "family", "source")
        if any(t["status"] != "ready" for t in tracks):  # rare enough to be seen only where it says something
            columns = (*columns[:4], "status", *columns[4:])
            rows = [(*row[:4], t["status"], *row[4:]) for row, t in zip(rows, tracks, strict=True)]  # type: ignore[misc]
        empty = "no tracks yet: airtrace tracks add FILE..." if query is None else f"no track matches {query!r}"
        output.table(columns, rows, empty if status is None else f"no track is {status}")
    return 0


async def show(settings: Settings, track: int, *, as_json: bool) -> int:
    """Everything that is known of one track, and its family."""
    async with connect(settings) as client:
        known = await client.get(f"/tracks/{track}")
    if as_json:
        output.as_json(known)
        return 0
    rows = [(name, known[name]) for name in ("title", "artist", "album", "isrc", "source", "status")]
    more = ("label", "rights_holder", "iswc", "upc", "valid_from", "valid_until", "own_id", "error")
    rows += [(name.replace("_", " "), known[name]) for name in more if known[name]]
    rows += [("territories", " ".join(known["territories"]))] if known["territories"] else []
    rows += [(name, value) for name, value in sorted(known["fields"].items())]
    rows += [("excluded", _interval(each)) for each in known["excluded"]]
    rows += [("detectors", ", ".join(known["detectors"]))]
    rows += [("length", output.minutes(known["duration_s"])), ("added (UTC)", output.clock(known["added_at"]))]
    rows += [("family", f"{other['id']}: {output.named(other)}") for other in known["family"]]
    output.table(("track", str(track)), rows, "")
    return 0


async def families(settings: Settings, limit: int, *, as_json: bool) -> int:
    """The families of two and more."""
    async with connect(settings) as client:
        found = await client.get("/tracks/families", limit=limit)
    if as_json:
        output.as_json(found)
    else:
        rows = [
            (number, track["id"], track["title"], track["artist"], track["source"])
            for number, family in enumerate(found, start=1)
            for track in family["tracks"]
        ]
        empty = "no two tracks are near-identical"
        output.table(("family", "id", "title", "artist", "source"), rows, empty)
    return 0


async def edit(settings: Settings, track: int, said: dict[str, str], fields: Sequence[str], *, as_json: bool) -> int:
    """Changes what is known of a track; `fields` are NAME=VALUE, and an empty value takes one away."""
    details = checked(said).model_dump(mode="json", exclude_unset=True)
    async with connect(settings) as client:
        if fields:
            known = await client.get(f"/tracks/{track}")
            details["fields"] = _fields(known["fields"], fields)
        if not details:
            raise MetadataError("nothing", "nothing to change: see airtrace tracks edit --help")
        changed = await client.patch(f"/tracks/{track}", json=details)
    _tell(changed, f"changed track {track}", as_json=as_json)
    return 0


async def replace(settings: Settings, track: int, file: Path, *, as_json: bool) -> int:
    """Gives a track another recording."""
    try:
        with file.open("rb") as opened:
            async with connect(settings) as client:
                steady = UnchangedFile(opened, file.name, settings.api.max_upload_mb * 1_000_000)
                changed = await client.put(
                    f"/tracks/{track}/audio",
                    files={"file": (output.utf8_safe(file.name), steady)},
                    data={"source": output.utf8_safe(str(file.absolute()))},
                )
    except OSError as error:
        raise AirtraceError(f"{file}: {error.strerror}") from error
    _tell(changed, f"replaced the audio of track {track}; its past matches stay", as_json=as_json)
    return 0


async def exclude(
    settings: Settings, track: int, intervals: Sequence[tuple[float, float]], note: str | None, *, as_json: bool
) -> int:
    """Sets the intervals of a track that never match, in seconds; none takes all away."""
    body = [{"start_s": start_s, "end_s": end_s, "note": note} for start_s, end_s in intervals]
    async with connect(settings) as client:
        changed = await client.put(f"/tracks/{track}/excluded", json=body)
    _tell(changed, f"{len(changed['excluded'])} intervals of track {track} never match", as_json=as_json)
    return 0


async def retire(settings: Settings, track: int, *, as_json: bool) -> int:
    async with connect(settings) as client:
        changed = await client.post(f"/tracks/{track}/retire")
    _tell(changed, f"retired track {track}; its past matches stay; airtrace tracks restore {track}", as_json=as_json)
    return 0


async def restore(settings: Settings, track: int, *, as_json: bool) -> int:
    async with connect(settings) as client:
        changed = await client.post(f"/tracks/{track}/restore")
    _tell(changed, f"track {track} is {changed['status']}", as_json=as_json)
    return 0


async def delete(settings: Settings, track: int) -> int:
    async with connect(settings) as client:
        await client.delete(f"/tracks/{track}")
    output.print_status(f"deleted track {track}; its past matches stay")
    return 0


async def rebuild(settings: Settings, *, as_json: bool) -> int:
    """Re-embeds tracks of other models, fills the index anew; the exit code is 1 when a file could not be used."""
    async with connect(settings, recover=False) as client:
        rows = [
            {"track": line["track"]["id"], "file": line["track"]["source"], "error": line["error"]}
            async for line in client.lines("/tracks/rebuild")
        ]
    if as_json:
        output.as_json(rows)
    else:
        failed = [(row["track"], row["file"], row["error"]) for row in rows if row["error"]]
        output.table(("id", "file", "why not"), failed, f"the index is new; {len(rows)} tracks were re-embedded")
    return 1 if any(row["error"] for row in rows) else 0


def _tell(track: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        output.as_json(track)
    else:
        output.print_status(text)


def _fields(known: dict[str, str], changes: Sequence[str]) -> dict[str, str]:
    fields = dict(known)
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or not name:
            raise MetadataError("fields", f"{change!r}: NAME=VALUE is needed")
        fields[name] = value
    return {name: value for name, value in fields.items() if value}


def _interval(excluded: dict[str, Any]) -> str:
    note = f" ({excluded['note']})" if excluded["note"] else ""
    return f"{excluded['start_s']:g}-{excluded['end_s']:g} s{note}"


def _ids(tracks: Sequence[dict[str, Any]]) -> str:
    """Of a long family the first three."""
    more = f" and {len(tracks) - 3} more" if len(tracks) > 3 else ""
    return ", ".join(str(track["id"]) for track in tracks[:3]) + more
