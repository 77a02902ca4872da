"""`airtrace streams`: add, list, remove."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from monitor.commands import output
from monitor.commands.client import connect
from monitor.errors import AirtraceError
from monitor.settings import Settings

NAME = re.compile(r"[^\x00-\x1f/]{1,100}")  # what the API takes, said in words


async def add(settings: Settings, name: str, url: str) -> int:
    if not NAME.fullmatch(name):
        raise AirtraceError("a stream's name has 1 to 100 characters, and no slash or control character among them")
    async with connect(settings) as client:
        stream = await client.post("/streams", json={"name": name, "url": url})
    output.print_status(f"monitoring {stream['name']} at {stream['url']} while `airtrace run` is up")
    return 0


async def list_(settings: Settings, *, as_json: bool) -> int:
    async with connect(settings) as client:
        streams = await client.get("/streams")
    if as_json:
        output.as_json(streams)
    else:
        rows = [
            (stream["name"], _state(stream), output.clock(stream["heard_until"]), _behind(stream), stream["url"])
            for stream in streams
        ]
        columns = ("name", "state", "heard until (UTC)", "behind", "url")
        output.table(columns, rows, "no streams yet: airtrace streams add NAME URL")
    return 0


def _state(stream: dict[str, Any]) -> str:
    return f"{stream['state']} ({stream['reason']})" if stream["reason"] else str(stream["state"])


def _behind(stream: dict[str, Any]) -> str:
    return "" if stream["behind_s"] is None else f"{stream['behind_s']:.0f} s"


async def remove(settings: Settings, name: str) -> int:
    async with connect(settings) as client:
        await client.delete(f"/streams/{quote(name, safe='')}")
    output.print_status(f"removed {name}; its matches and coverage stay")
    return 0
