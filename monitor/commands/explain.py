"""`airtrace explain`: why something did or did not match at a moment of a recording or of a stream."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from monitor.commands import output
from monitor.commands.client import Client, connect
from monitor.errors import AirtraceError, NotFound
from monitor.settings import Settings

POSITION = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")  # h:mm:ss.s, m:ss.s or seconds
TIME_OF_DAY = re.compile(r"(\d{1,2}):(\d{2})(?::([0-5]\d(?:\.\d+)?))?")
COLUMNS = ("track", "id", "from", "to", "at", "speed", "votes", "llr", "left", "cosine", "context", "why")


class BadTime(AirtraceError):
    """What stands behind --at is no time."""

    exit_code = 2


async def explain(
    settings: Settings, source: str, at: str, *, for_s: float, track: int | None, png: Path | None, as_json: bool
) -> int:
    """Prints what was in question at a moment of a file, or else of a stream, best first; draws the first.

    Raises:
        BadTime: `at` is no time.
        NotFound: there is neither such a file nor such a stream.
    """
    path, now = Path(source), datetime.now(UTC)
    query = {"for_s": for_s, "track": track, "picture": png is not None}
    if _is_there(path):
        found = await _of_file(settings, path, {"at_s": position_s(at), **query})
    else:
        found = await _of_stream(settings, source, {"at": instant(at, now).isoformat(), **query})
    picture = found.pop("picture")
    if png is not None:
        _write(png, picture)
    if as_json:
        output.as_json(found)
    else:
        _print(found)
    return 0


def position_s(text: str) -> float:
    """A place in a recording, in seconds.

    Raises:
        BadTime: it is none.
    """
    if (read := POSITION.fullmatch(text)) is None:
        raise BadTime(
            f"--at {text!r} is no place in a recording: give seconds, m:ss or h:mm:ss, such as 83.5 or 1:23.5"
        )
    hours, minutes, seconds = read.groups()
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds)


def instant(text: str, now: datetime) -> datetime:
    """An instant of a stream, in UTC where the text names no zone; a time of day is the last one that was.

    Raises:
        BadTime: it is none.
    """
    try:
        if (read := TIME_OF_DAY.fullmatch(text)) is None:
            at = datetime.fromisoformat(text)
            return at if at.tzinfo else at.replace(tzinfo=UTC)
        hours, minutes, seconds = read.groups()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        at = midnight.replace(hour=int(hours), minute=int(minutes)) + timedelta(seconds=float(seconds or 0))
    except ValueError as error:
        raise BadTime(
            f"--at {text!r} is no time of a stream: give 14:03:07 or 2026-01-31T14:03:07, in UTC or with its zone; "
            "and of a recording, a file that is there"
        ) from error
    return at if at <= now else at - timedelta(days=1)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a stream's name can be longer than a file's, or lie in a directory that is closed to us
        return False


async def _of_file(settings: Settings, path: Path, query: dict[str, Any]) -> dict[str, Any]:
    form = {name: str(value) for name, value in query.items() if value is not None}
    try:
        with path.open("rb") as file:
            async with connect(settings) as client:
                files = {"file": (output.utf8_safe(path.name), file)}
                found: dict[str, Any] = await client.post("/explain", files=files, data=form)
    except OSError as error:
        raise AirtraceError(output.utf8_safe(f"{path}: {error.strerror}")) from error
    return found


async def _of_stream(settings: Settings, name: str, query: dict[str, Any]) -> dict[str, Any]:
    async with connect(settings) as client:
        await _check(client, name)
        found: dict[str, Any] = await client.get(f"/streams/{quote(name, safe='')}/explain", **query)
    return found


async def _check(client: Client, name: str) -> None:
    """The name may be that of a file that is somewhere else."""
    if all(stream["name"] != name for stream in await client.get("/streams")):
        raise NotFound(f"there is neither a file nor a stream named {name!r}: see `airtrace streams list`")


def _write(png: Path, picture: str | None) -> None:
    if picture is None:
        output.print_status(f"{png} is not drawn: there is no hypothesis to draw")
        return
    try:
        png.write_bytes(base64.b64decode(picture))
    except OSError as error:
        raise AirtraceError(f"{png} cannot be written ({error.strerror}): name another file") from error


def _print(found: dict[str, Any]) -> None:
    print(output.printable(found["summary"]))
    if found["silent_segments"]:
        print(f"silent: {found['silent_segments']} of {found['segments']} segments")
    if found["missing_s"]:
        print(f"missing: {found['missing_s']:g} s of the interval were not heard, or are no longer there")
    origin = None if found["origin"] is None else datetime.fromisoformat(found["origin"])
    if rows := [_row(one, origin) for one in found["hypotheses"]]:
        output.table(COLUMNS, rows, "")


def _row(one: dict[str, Any], origin: datetime | None) -> tuple[object, ...]:
    return (
        one["track"]["title"],
        one["track"]["id"],
        ("< " if one["may_begin_earlier"] else "") + _when(one["start_s"], origin),
        ("> " if one["may_end_later"] else "") + _when(one["end_s"], origin),
        output.minutes(one["track_start_s"]),
        f"{one['speed']:.3f}",
        f"{one['votes']:z.1f}",
        f"{one['llr']:z.1f}",
        f"{one['llr_left']:z.1f}",
        f"{one['cosine']:.2f}",
        f"{one['local_context']:.2f}",
        one["reason"],
    )


def _when(seconds: float, origin: datetime | None) -> str:
    """In a recording m:ss, of a stream the time of day in UTC."""
    if origin is None:
        return output.minutes(seconds)
    return f"{origin.astimezone(UTC) + timedelta(seconds=seconds):%H:%M:%S}"
