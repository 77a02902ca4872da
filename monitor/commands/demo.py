"""`airtrace demo`: real music on a real station, recognised live by a real `airtrace run`, and how right that was.

1. music     fetched into a cache, or the user's own directory
2. plan      which of it is the catalog, which stays unknown, and what is on the air when
3. start     `airtrace run` on the demo's own home, while the programme is mixed and encoded
4. register  the catalog, through the API
5. listen    the station goes on the air with Airtrace as its listener
6. report    what was said beside what was broadcast
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from monitor.commands import client, output
from monitor.commands.client import Client
from monitor.demo import monitor_process
from monitor.demo.errors import DemoError
from monitor.demo.mixing import Broadcast, render
from monitor.demo.music import SoundSet, Step, cache_folder, fetch, from_directory
from monitor.demo.programme import Programme, Recording, plan
from monitor.demo.report import compare, show
from monitor.demo.screen import Screen
from monitor.demo.station import Station
from monitor.settings import Settings

STREAM = "demo"
AT_ONCE = 2  # files on their way to the catalog: one is decoded while the other is embedded
POLL_S = 1.0
TICK_S = 0.25
# After its last second on the air: a window is filled, travels, is matched and written.
AFTERWARDS_S = 20.0
END_LEEWAY_S = 1.0  # the encoder's padding, and the last fraction of a segment
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, `kill`, a terminal that is closed


async def demo(settings: Settings, music: Path | None, seconds: int, seed: int, *, as_json: bool) -> int:
    """Runs the whole demo; prints the report. A signal ends it and all that it started; the exit code says which."""
    return await _until_signalled(_demo(settings, music, seconds, seed, as_json=as_json))


async def _until_signalled(work: Coroutine[Any, Any, int]) -> int:
    """The first signal cancels; more of them do not keep the demo from stopping what it started, which is bounded."""
    received: list[int] = []
    task = asyncio.create_task(work, name="demo")

    def on_signal(number: int) -> None:
        if not received:
            task.cancel()
        received.append(number)

    loop = asyncio.get_running_loop()
    for number in ENDING:
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        return 128 + received[0]
    finally:
        for number in ENDING:
            loop.remove_signal_handler(number)


async def _demo(settings: Settings, music: Path | None, seconds: int, seed: int, *, as_json: bool) -> int:
    console = output.console(stderr=as_json)
    sounds = await _music(music, console)
    programme = plan(sounds.music, sounds.speech, seed, float(seconds), repeating=sounds.repeating)
    home = settings.home / "demo"
    async with AsyncExitStack() as stack:
        _say(console, f"starting Airtrace on {home}")
        url = await stack.enter_async_context(monitor_process.running(home))
        api = await stack.enter_async_context(client.at(url))
        async with asyncio.TaskGroup() as group:
            rendering = group.create_task(render(programme), name="render")
            group.create_task(_register(api, programme, console), name="register")
        broadcast: Broadcast = rendering.result()
        station = await stack.enter_async_context(Station(broadcast.mp3, broadcast.byte_rate))
        _say(console, f"on the air at {station.url} for {seconds} s; live page {url}, API {url}/docs")
        matches = await _listen(api, programme, station, console)
    if station.on_air_at is None:
        raise DemoError("nobody listened to the station")
    report = compare(programme, matches, station.on_air_at)
    if as_json:
        output.as_json(report.as_json())
    else:
        show(report, console)
    return 0


async def _music(folder: Path | None, console: Console) -> SoundSet:
    if folder is not None:
        _say(console, f"looking for music in {folder}")
        return await from_directory(folder)
    _say(console, f"music in {cache_folder()}")

    def line(step: Step) -> None:
        console.print(f"   {step}", markup=False, highlight=False)

    return await fetch(cache_folder(), line)


async def _register(api: Client, programme: Programme, console: Console) -> None:
    """Makes the catalog what the programme says: nothing that is to be unknown may be left from another run."""
    there = {track["source"]: track["id"] for track in await api.get("/tracks", limit=10_000)}
    wanted = {str(recording.path): recording for recording in programme.catalog}
    for source in there.keys() - wanted.keys():
        await api.delete(f"/tracks/{there[source]}")
    missing = [wanted[source] for source in sorted(wanted.keys() - there.keys())]
    _say(console, f"catalog of {len(wanted)} tracks, {len(missing)} to register; {len(programme.unknown)} stay unknown")
    if missing:
        await _add_all(api, missing)


async def _add_all(api: Client, recordings: Sequence[Recording]) -> None:
    turns = asyncio.Semaphore(AT_ONCE)
    with output.steps(len(recordings), quiet=False) as shown:

        async def add(recording: Recording) -> None:
            async with turns:
                with recording.path.open("rb") as file:
                    upload = {"file": (recording.path.name, file)}
                    await api.post("/tracks", files=upload, data={"source": str(recording.path)})
            shown.done(recording.path.name)

        async with asyncio.TaskGroup() as group:
            for recording in recordings:
                group.create_task(add(recording), name=f"add {recording.path.name}")


async def _listen(api: Client, programme: Programme, station: Station, console: Console) -> list[dict[str, Any]]:
    """Shows what is said while the programme is on the air; gives all that was said about it."""
    for stream in await api.get("/streams"):  # of a run that was killed
        await api.delete(f"/streams/{stream['name']}")
    stream = await api.post("/streams", json={"name": STREAM, "url": station.url})
    with Screen(programme, console, lambda: station.elapsed_s, lambda: station.on_air_at) as screen:
        async with asyncio.timeout(programme.duration_s + AFTERWARDS_S + monitor_process.START_S):
            while not station.over:
                screen.show(await _matches(api, stream["id"]))
                await _ticking(screen)
        await _heard_to_the_end(api, station, screen)
        matches = await _matches(api, stream["id"])
        screen.show(matches)
    await api.delete(f"/streams/{STREAM}")
    return matches


async def _ticking(screen: Screen) -> None:
    for _ in range(round(POLL_S / TICK_S)):
        screen.tick()
        await asyncio.sleep(TICK_S)


async def _matches(api: Client, stream: int) -> list[dict[str, Any]]:
    """Those of this run's stream: the name is used by every run."""
    found = await api.get("/matches", stream=STREAM, limit=1000)
    return [match for match in found if match["stream"]["id"] == stream]


async def _heard_to_the_end(api: Client, station: Station, screen: Screen) -> None:
    """Until the end of the programme has been matched, or should have been."""
    for _ in range(round(AFTERWARDS_S / POLL_S)):
        (stream,) = await api.get("/streams")
        if stream["heard_until"] and _broadcast_s(stream["heard_until"], station) > station.duration_s - END_LEEWAY_S:
            return
        await _ticking(screen)


def _broadcast_s(instant: str, station: Station) -> float:
    on_air_at = station.on_air_at or datetime.now(UTC)
    return (datetime.fromisoformat(instant) - on_air_at).total_seconds()


def _say(console: Console, text: str) -> None:
    console.print(f"== {text}", markup=False, highlight=False, soft_wrap=True)
