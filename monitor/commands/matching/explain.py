"""`airtrace explain`: explains why something did or did not match at a moment of a recording or a stream."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from monitor.commands import output, times
from monitor.commands.client import Client, connect
from monitor.errors import AirtraceError, NotFound
from monitor.settings import Settings

COLUMNS = ("track", "id", "from", "to", "at", "speed", "votes", "llr", "left", "cosine", "context", "why")


class BadTime(AirtraceError):
    """The value of --at is not a time."""

    exit_code = 2


async def explain(
    settings: Settings, source: str, at: str, *, for_s: float, track: int | None, png: Path | None, as_json: bool
) -> int:
    """Prints the hypotheses at a moment of a file or a stream, best first, and draws the first one into `png`.

    Raises:
        BadTime: `at` is not a time.
        NotFound: there is neither a file nor a stream of this name.
        AirtraceError: the file cannot be read, or `png` cannot be written.
    """
    path, now = Path(source), datetime.now(UTC)
    query = {"for_s": for_s, "track": track, "image": png is not None}
    if _exists(path):
        found = await _explain_file(settings, path, {"at_s": position_s(at), **query})
    else:
        found = await _explain_stream(settings, source, {"at": instant(at, now).isoformat(), **query})
    image = found.pop("image")
    if png is not None:
        _write(png, image)
    if as_json:
        output.as_json(found)
    else:
        _print(found)
    return 0


def position_s(at: str) -> float:
    """The position in a recording that --at names, in seconds; raises BadTime."""
    try:
        return times.seconds(at)
    except ValueError as error:
        raise BadTime(f"--at: {error}") from error


def instant(at: str, now: datetime) -> datetime:
    """The instant on a stream that --at names; raises BadTime."""
    try:
        return times.instant(at, now)
    except ValueError as error:
        raise BadTime(f"--at: {error}; for a recording, give a file that exists") from error


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a stream's name can be longer than a file name, or look like a path in a closed directory
        return False


async def _explain_file(settings: Settings, path: Path, query: dict[str, Any]) -> dict[str, Any]:
    form = {name: str(value) for name, value in query.items() if value is not None}
    try:
        with path.open("rb") as file:
            async with connect(settings) as client:
                files = {"file": (output.utf8_safe(path.name), file)}
                found: dict[str, Any] = await client.post("/explain", files=files, data=form)
    except OSError as error:
        raise AirtraceError(output.utf8_safe(f"{path}: {error.strerror}")) from error
    return found


async def _explain_stream(settings: Settings, name: str, query: dict[str, Any]) -> dict[str, Any]:
    async with connect(settings) as client:
        await _check(client, name)
        found: dict[str, Any] = await client.get(f"/streams/{quote(name, safe='')}/explain", **query)
    return found


async def _check(client: Client, name: str) -> None:
    """Raises NotFound for an unknown stream; the name may also be a mistyped file name."""
    if all(stream["name"] != name for stream in await client.get("/streams")):
        raise NotFound(f"there is neither a file nor a stream named {name!r}; see `airtrace streams list`")


def _write(png: Path, image: str | None) -> None:
    if image is None:
        output.print_status(f"did not draw {png}: there is no hypothesis to draw")
        return
    try:
        png.write_bytes(base64.b64decode(image))
    except OSError as error:
        raise AirtraceError(f"cannot write {png} ({error.strerror}): choose another file") from error


def _print(found: dict[str, Any]) -> None:
    print(output.printable(found["summary"]))
    if found["silent_segments"]:
        print(f"silent: {found['silent_segments']} of {found['segments']} segments")
    if found["missing_s"]:
        print(f"missing: {found['missing_s']:g} s of the interval were not heard or are no longer kept")
    origin = None if found["origin"] is None else datetime.fromisoformat(found["origin"])
    if rows := [_row(one, origin) for one in found["hypotheses"]]:
        output.table(COLUMNS, rows, "")


def _row(one: dict[str, Any], origin: datetime | None) -> tuple[object, ...]:
    return (
        one["track"]["title"],
        one["track"]["id"],
        ("< " if one["may_start_earlier"] else "") + _when(one["start_s"], origin),
        ("> " if one["may_end_later"] else "") + _when(one["end_s"], origin),
        output.minutes(one["track_start_s"]),
        f"{one['speed']:.3f}",
        f"{one['votes']:z.0f}" if one["votes"] == int(one["votes"]) else f"{one['votes']:z.1f}",
        f"{one['llr']:z.1f}",
        f"{one['remaining_llr']:z.1f}",
        f"{one['cosine']:.2f}",
        f"{one['local_context']:.2f}",
        one["reason"],
    )


def _when(seconds: float, origin: datetime | None) -> str:
    """m:ss in a recording, the time of day in UTC on a stream."""
    if origin is None:
        return output.minutes(seconds)
    return f"{origin.astimezone(UTC) + timedelta(seconds=seconds):%H:%M:%S}"
