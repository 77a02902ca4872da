"""`airtrace streams`: add, list, remove."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from monitor.commands import output
from monitor.commands.client import connect
from monitor.errors import AirtraceError
from monitor.settings import Settings

NAME = re.compile(r"[^\x00-\x1f/]{1,100}")  # what the API accepts, checked here for a readable message


async def add(settings: Settings, name: str, url: str) -> int:
    """Starts monitoring a stream.

    Raises:
        AirtraceError: the name is not allowed.
    """
    if not NAME.fullmatch(name):
        raise AirtraceError("a stream's name must have 1 to 100 characters, without slashes and control characters")
    async with connect(settings) as client:
        stream = await client.post("/streams", json={"name": name, "url": url})
    role = "ingest" if settings.kafka.bootstrap else "run"
    output.print_status(f"added {stream['name']} ({stream['url']}); `airtrace {role}` monitors it while it runs")
    _print_warning(stream["warning"])
    return 0


async def list_(settings: Settings, *, as_json: bool) -> int:
    """Prints the monitored streams and their state."""
    async with connect(settings) as client:
        streams = await client.get("/streams")
        capacity = await client.get("/capacity")
    if as_json:
        output.as_json(streams)
    else:
        rows = [
            (stream["name"], _state(stream), output.clock(stream["heard_until"]), _behind(stream), stream["url"])
            for stream in streams
        ]
        columns = ("name", "state", "heard until (UTC)", "behind", "url")
        output.table(columns, rows, "no streams yet: airtrace streams add NAME URL")
    _print_warning(capacity["warning"])
    return 0


async def remove(settings: Settings, name: str) -> int:
    """Stops monitoring a stream."""
    async with connect(settings) as client:
        await client.delete(f"/streams/{quote(name, safe='')}")
    output.print_status(f"removed {name}; its matches and coverage are kept")
    return 0


def _print_warning(warning: str | None) -> None:
    if warning is not None:
        output.print_status(f"warning: {warning}")


def _state(stream: dict[str, Any]) -> str:
    return f"{stream['state']} ({stream['reason']})" if stream["reason"] else str(stream["state"])


def _behind(stream: dict[str, Any]) -> str:
    return "" if stream["behind_s"] is None else f"{stream['behind_s']:.0f} s"
