"""`airtrace tracks`: every command but `add`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monitor.catalog.metadata import validate_metadata
from monitor.commands import output
from monitor.commands.client import connect
from monitor.commands.tracks.files import UnchangedFile
from monitor.errors import AirtraceError, MetadataError
from monitor.settings import Settings

PAGE_TRACKS = 10_000  # the API's maximum


async def list_(settings: Settings, query: str | None, status: str | None = None, *, as_json: bool) -> int:
    """Prints all tracks, or those whose names, identifiers or ids contain `query`."""
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
        if any(t["status"] != "ready" for t in tracks):  # nearly all are ready, and the column would say nothing
            columns = (*columns[:4], "status", *columns[4:])
            rows = [(*row[:4], t["status"], *row[4:]) for row, t in zip(rows, tracks, strict=True)]  # type: ignore[misc]
        empty = "no tracks yet: airtrace tracks add FILE..." if query is None else f"no track matches {query!r}"
        output.table(columns, rows, empty if status is None else f"no track has the status {status}")
    return 0


async def show(settings: Settings, track: int, *, as_json: bool) -> int:
    """Prints a track's metadata, its excluded intervals and its family."""
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
    """Prints the families of at least two tracks."""
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
        empty = "no two tracks are nearly identical"
        output.table(("family", "id", "title", "artist", "source"), rows, empty)
    return 0


async def edit(settings: Settings, track: int, given: dict[str, str], fields: Sequence[str], *, as_json: bool) -> int:
    """Changes a track's metadata. `fields` are NAME=VALUE; an empty value removes the field.

    Raises:
        MetadataError: a value is invalid, or nothing is to change.
    """
    changes = validate_metadata(given).model_dump(mode="json", exclude_unset=True)
    async with connect(settings) as client:
        if fields:
            known = await client.get(f"/tracks/{track}")
            changes["fields"] = _fields(known["fields"], fields)
        if not changes:
            raise MetadataError("nothing", "nothing to change: see airtrace tracks edit --help")
        changed = await client.patch(f"/tracks/{track}", json=changes)
    _print(changed, f"changed track {track}", as_json=as_json)
    return 0


async def replace(settings: Settings, track: int, file: Path, *, as_json: bool) -> int:
    """Replaces a track's audio.

    Raises:
        AirtraceError: the file cannot be read.
    """
    try:
        with file.open("rb") as opened:
            async with connect(settings) as client:
                unchanged = UnchangedFile(opened, file.name, settings.api.max_upload_mb * 1_000_000)
                changed = await client.put(
                    f"/tracks/{track}/audio",
                    files={"file": (output.utf8_safe(file.name), unchanged)},
                    data={"source": output.utf8_safe(str(file.absolute()))},
                )
    except OSError as error:
        raise AirtraceError(f"{file}: {error.strerror}") from error
    _print(changed, f"replaced the audio of track {track}; its past matches are kept", as_json=as_json)
    return 0


async def exclude(
    settings: Settings, track: int, intervals: Sequence[tuple[float, float]], note: str | None, *, as_json: bool
) -> int:
    """Sets a track's excluded intervals, in seconds; without any, the whole track matches again."""
    body = [{"start_s": start_s, "end_s": end_s, "note": note} for start_s, end_s in intervals]
    async with connect(settings) as client:
        changed = await client.put(f"/tracks/{track}/excluded", json=body)
    n_excluded = len(changed["excluded"])
    text = f"track {track} has {n_excluded or 'no'} excluded interval{'' if n_excluded == 1 else 's'}"
    _print(changed, text, as_json=as_json)
    return 0


async def retire(settings: Settings, track: int, *, as_json: bool) -> int:
    """Stops matching a track."""
    async with connect(settings) as client:
        changed = await client.post(f"/tracks/{track}/retire")
    text = f"retired track {track}; its past matches are kept (to undo: airtrace tracks restore {track})"
    _print(changed, text, as_json=as_json)
    return 0


async def restore(settings: Settings, track: int, *, as_json: bool) -> int:
    """Matches a retired track again."""
    async with connect(settings) as client:
        changed = await client.post(f"/tracks/{track}/restore")
    _print(changed, f"track {track} is {changed['status']}", as_json=as_json)
    return 0


async def delete(settings: Settings, track: int) -> int:
    """Deletes a track."""
    async with connect(settings) as client:
        await client.delete(f"/tracks/{track}")
    output.print_status(f"deleted track {track}; its past matches are kept")
    return 0


async def rebuild(settings: Settings, *, as_json: bool) -> int:
    """Embeds the tracks of previous models again and rebuilds the index; the exit code is 1 if a file failed."""
    async with connect(settings, recover=False) as client:
        rows = [
            {"track": line["track"]["id"], "file": line["track"]["source"], "error": line["error"]}
            async for line in client.lines("/tracks/rebuild")
        ]
    if as_json:
        output.as_json(rows)
    else:
        failed = [(row["track"], row["file"], row["error"]) for row in rows if row["error"]]
        output.table(("id", "file", "error"), failed, f"rebuilt the index; {len(rows)} tracks were embedded again")
    return 1 if any(row["error"] for row in rows) else 0


async def enroll(settings: Settings, *, as_json: bool) -> int:
    """Computes the missing PANNs vectors; the exit code is 1 if a file failed."""
    rows = []
    async with connect(settings) as client:
        async for line in client.lines("/sounds/enroll"):
            rows.append(line)
            if not as_json:
                output.print_status(f"{line['track']} {Path(line['source']).name}: {line['error'] or 'done'}")
    failed = sum(row["error"] is not None for row in rows)
    if as_json:
        output.as_json(rows)
    else:
        output.print_status(f"computed PANNs vectors for {len(rows) - failed} tracks, {failed} failed")
    return 1 if failed else 0


def _print(track: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        output.as_json(track)
    else:
        output.print_status(text)


def _fields(known: dict[str, str], changes: Sequence[str]) -> dict[str, str]:
    fields = dict(known)
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or not name:
            raise MetadataError("fields", f"{change!r} is not of the form NAME=VALUE")
        fields[name] = value
    return {name: value for name, value in fields.items() if value}


def _interval(excluded: dict[str, Any]) -> str:
    note = f" ({excluded['note']})" if excluded["note"] else ""
    return f"{excluded['start_s']:g}-{excluded['end_s']:g} s{note}"


def _ids(tracks: Sequence[dict[str, Any]]) -> str:
    """The first three ids of a family."""
    more = f" and {len(tracks) - 3} more" if len(tracks) > 3 else ""
    return ", ".join(str(track["id"]) for track in tracks[:3]) + more
