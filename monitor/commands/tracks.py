"""`airtrace tracks`: add, list, show, families, delete, rebuild."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from monitor.client import Client, Refused, connect
from monitor.commands import output
from monitor.errors import AirtraceError
from monitor.settings import Settings

# In a directory, only files with these endings are tried; a file that is named outright always is.
AUDIO_SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        *(
            "aac",
            "ac3",
            "aif",
            "aiff",
            "amr",
            "ape",
            "au",
            "caf",
            "dsf",
            "flac",
            "g722",
            "gsm",
            "m4a",
            "m4b",
            "mka",
            "mp2",
        ),
        *("mp3", "mp4", "mpc", "oga", "ogg", "opus", "ra", "rf64", "snd", "spx", "tta", "voc", "w64", "wav", "webm"),
        *("weba", "wma", "wv"),
    )
)


async def add(settings: Settings, paths: Sequence[Path], *, as_json: bool) -> int:
    """Registers files and directories; the exit code is 1 when any file could not be used."""
    files, missing = _files(paths)
    rows = [_failed(path, f"{path.name}: there is no such file or directory") for path in missing]
    with output.steps(len(files) + len(missing), quiet=as_json) as shown:
        for row in rows:
            _show(row, shown)
        if files:
            async with connect(settings) as client:
                rows += await _add_all(client, files, shown)
    _report(rows, as_json=as_json)
    return 1 if any(row["status"] == "failed" for row in rows) or not rows else 0


async def list_(settings: Settings, query: str | None, *, as_json: bool) -> int:
    async with connect(settings) as client:
        tracks = await client.get("/tracks", query=query, limit=10_000)
    if as_json:
        output.as_json(tracks)
    else:
        rows = [
            (t["id"], t["title"], t["artist"], output.minutes(t["duration_s"]), _ids(t["family"]), t["source"])
            for t in tracks
        ]
        empty = "no tracks yet: airtrace tracks add FILE..." if query is None else f"no track matches {query!r}"
        output.table(("id", "title", "artist", "length", "family", "source"), rows, empty)
    return 0


async def show(settings: Settings, track: int, *, as_json: bool) -> int:
    """Everything that is known of one track, and its family."""
    async with connect(settings) as client:
        known = await client.get(f"/tracks/{track}")
    if as_json:
        output.as_json(known)
        return 0
    rows = [(name, known[name]) for name in ("title", "artist", "album", "isrc", "source", "status")]
    rows += [("length", output.minutes(known["duration_s"])), ("added (UTC)", output.clock(known["added_at"]))]
    rows += [("family", f"{other['id']}: {_named(other)}") for other in known["family"]]
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


async def delete(settings: Settings, track: int) -> int:
    async with connect(settings) as client:
        await client.delete(f"/tracks/{track}")
    output.say(f"deleted track {track}; its past matches stay")
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


def _ids(tracks: Sequence[dict[str, Any]]) -> str:
    """Of a long family the first three."""
    more = f" and {len(tracks) - 3} more" if len(tracks) > 3 else ""
    return ", ".join(str(track["id"]) for track in tracks[:3]) + more


def _named(track: dict[str, Any]) -> str:
    return f"{track['artist']} - {track['title']}" if track["artist"] else str(track["title"])


def _files(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Every file that is meant, and every path that is not there."""
    files: list[Path] = []
    missing: list[Path] = []
    for path in paths:
        if path.is_dir():
            files.extend(_audio_below(path))
        elif path.exists():
            files.append(path)
        else:
            missing.append(path)
    return list(dict.fromkeys(file.absolute() for file in files)), missing


def _audio_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file():
            yield path


async def _add_all(client: Client, files: Sequence[Path], shown: output.Steps) -> list[dict[str, Any]]:
    """One row a file, in the order of the files; as many at once as there are cores to decode them."""
    at_once = asyncio.Semaphore(min(4, os.cpu_count() or 1))

    async def one(path: Path) -> dict[str, Any]:
        async with at_once:
            row = await _add_one(client, path)
        _show(row, shown)
        return row

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(path), name=f"add {path.name}") for path in files]
    return [task.result() for task in tasks]


def _show(row: dict[str, Any], shown: output.Steps) -> None:
    path = Path(row["file"])
    if row["error"]:  # by its whole path: there may be many of the name
        shown.failed(f"{path}: {row['error'].removeprefix(f'{path.name}: ')}")
    else:
        shown.done(f"{row['status']} {path.name}")


async def _add_one(client: Client, path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            answer = await client.post(
                "/tracks",
                files={"file": (output.sendable(path.name), file)},
                data={"source": output.sendable(str(path))},
            )
    except Refused as error:
        if error.exit_code == 4:
            raise
        return _failed(path, str(error), error.problem.get("reason"))
    except OSError as error:
        return _failed(path, f"{path.name}: {error.strerror}", "unreadable")
    status = "known" if answer["known"] else "added"
    return _row(path, status, track=answer["track"]["id"])


def _failed(path: Path, error: str, reason: str | None = "missing") -> dict[str, Any]:
    return _row(path, "failed", reason=reason, error=output.sendable(error))


def _row(
    path: Path, status: str, *, track: int | None = None, reason: str | None = None, error: str | None = None
) -> dict[str, Any]:
    file = output.sendable(str(path))
    return {"file": file, "status": status, "track": track, "reason": reason, "error": error}


def _report(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        output.as_json(rows)
        return
    if not rows:
        raise AirtraceError("no audio files there: name files, or a directory that has some")
    counts = {status: sum(row["status"] == status for row in rows) for status in ("added", "known", "failed")}
    out = output.console()
    out.print(f"{counts['added']} added, {counts['known']} known already, {counts['failed']} failed")
