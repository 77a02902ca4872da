"""`airtrace demo`: broadcasts real music, has a real `airtrace run` recognize it live, and reports how accurate it was.

1. music     downloaded to a cache, or from the user's own directory
2. plan      which recordings are the catalog, which stay unknown, and what is on air when
3. start     `airtrace run` on the demo's own home, while the program is mixed and encoded
4. register  the catalog, through the API
5. listen    the station goes on air with Airtrace as its listener
6. report    what Airtrace found next to what was broadcast
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
from monitor.demo.program import Program, Recording, plan
from monitor.demo.report import compare, show
from monitor.demo.screen import Screen
from monitor.demo.station import Station
from monitor.settings import Settings

STREAM = "demo"
MAX_UPLOADS = 2  # one file is decoded while the other is embedded
POLL_S = 1.0
TICK_S = 0.25
# After the last second on air, a window still has to be filled, published, matched and written.
SETTLE_S = 20.0
END_TOLERANCE_S = 1.0  # the encoder's padding, and the last fraction of a segment
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, `kill`, a closed terminal


async def demo(settings: Settings, music: Path | None, seconds: int, seed: int, *, as_json: bool) -> int:
    """Runs the demo and prints its report. A signal stops everything; the exit code is then 128 + signal."""
    return await _until_signalled(_demo(settings, music, seconds, seed, as_json=as_json))


async def _until_signalled(work: Coroutine[Any, Any, int]) -> int:
    """Cancels the work at the first signal. Further signals do not interrupt the cleanup, which takes bounded time."""
    received: list[int] = []
    task = asyncio.create_task(work, name="demo")

    def on_signal(number: int) -> None:
        if not received:
            task.cancel()
        received.append(number)

    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        return 128 + received[0]
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


async def _demo(settings: Settings, music: Path | None, seconds: int, seed: int, *, as_json: bool) -> int:
    console = output.console(stderr=as_json)
    sounds = await _music(music, console)
    program = plan(sounds.music, sounds.speech, seed, float(seconds), repeating=sounds.repeating)
    home = settings.home / "demo"
    async with AsyncExitStack() as stack:
        _print(console, f"starting Airtrace on {home}")
        url = await stack.enter_async_context(monitor_process.running(home))
        api = await stack.enter_async_context(client.at(url))
        async with asyncio.TaskGroup() as group:
            rendering = group.create_task(render(program), name="render")
            group.create_task(_register(api, program, console), name="register")
        broadcast: Broadcast = rendering.result()
        station = await stack.enter_async_context(Station(broadcast.mp3, broadcast.byte_rate))
        _print(console, f"on the air at {station.url} for {seconds} s; live page {url}, API {url}/docs")
        matches = await _listen(api, program, station, console)
    if station.on_air_at is None:
        raise DemoError("Airtrace never connected to the demo's station")
    report = compare(program, matches, station.on_air_at)
    if as_json:
        output.as_json(report.as_json())
    else:
        show(report, console)
    return 0


async def _music(folder: Path | None, console: Console) -> SoundSet:
    if folder is not None:
        _print(console, f"looking for music in {folder}")
        return await from_directory(folder)
    _print(console, f"music in {cache_folder()}")

    def line(step: Step) -> None:
        console.print(f"   {step}", markup=False, highlight=False)

    return await fetch(cache_folder(), line)


async def _register(api: Client, program: Program, console: Console) -> None:
    """Makes the catalog exactly what the program needs: tracks of an earlier run may have to be unknown in this one."""
    present = {track["source"]: track["id"] for track in await api.get("/tracks", limit=10_000)}
    wanted = {str(recording.path): recording for recording in program.catalog}
    for source in present.keys() - wanted.keys():
        await api.delete(f"/tracks/{present[source]}")
    missing = [wanted[source] for source in sorted(wanted.keys() - present.keys())]
    _print(console, f"catalog of {len(wanted)} tracks, {len(missing)} to register; {len(program.unknown)} stay unknown")
    if missing:
        await _add_all(api, missing)


async def _add_all(api: Client, recordings: Sequence[Recording]) -> None:
    limit = asyncio.Semaphore(MAX_UPLOADS)
    with output.steps(len(recordings), quiet=False) as shown:

        async def add(recording: Recording) -> None:
            async with limit:
                with recording.path.open("rb") as file:
                    upload = {"file": (recording.path.name, file)}
                    await api.post("/tracks", files=upload, data={"source": str(recording.path)})
            shown.done(recording.path.name)

        async with asyncio.TaskGroup() as group:
            for recording in recordings:
                group.create_task(add(recording), name=f"add {recording.path.name}")


async def _listen(api: Client, program: Program, station: Station, console: Console) -> list[dict[str, Any]]:
    """Shows the matches while the program is on air; returns all of them."""
    for stream in await api.get("/streams"):  # left by a run that was killed
        await api.delete(f"/streams/{stream['name']}")
    stream = await api.post("/streams", json={"name": STREAM, "url": station.url})
    if stream["warning"] is not None:
        _print(console, f"warning: {stream['warning']}")
    with Screen(program, console, lambda: station.elapsed_s, lambda: station.on_air_at) as screen:
        async with asyncio.timeout(program.duration_s + SETTLE_S + monitor_process.START_S):
            while not station.over:
                screen.show(await _matches(api, stream["id"]))
                await _tick_for_poll(screen)
        await _wait_for_the_end(api, station, screen)
        matches = await _matches(api, stream["id"])
        screen.show(matches)
    await api.delete(f"/streams/{STREAM}")
    return matches


async def _tick_for_poll(screen: Screen) -> None:
    for _ in range(round(POLL_S / TICK_S)):
        screen.tick()
        await asyncio.sleep(TICK_S)


async def _matches(api: Client, stream: int) -> list[dict[str, Any]]:
    """The matches of this run's stream; earlier runs used the same name."""
    found = await api.get("/matches", stream=STREAM, limit=1000)
    return [match for match in found if match["stream"]["id"] == stream]


async def _wait_for_the_end(api: Client, station: Station, screen: Screen) -> None:
    """Waits until the end of the program has been matched, or should have been."""
    for _ in range(round(SETTLE_S / POLL_S)):
        stream = await api.get(f"/streams/{STREAM}")
        if (
            stream["heard_until"]
            and _broadcast_s(stream["heard_until"], station) > station.duration_s - END_TOLERANCE_S
        ):
            return
        await _tick_for_poll(screen)


def _broadcast_s(instant: str, station: Station) -> float:
    on_air_at = station.on_air_at or datetime.now(UTC)
    return (datetime.fromisoformat(instant) - on_air_at).total_seconds()


def _print(console: Console, text: str) -> None:
    console.print(f"== {text}", markup=False, highlight=False, soft_wrap=True)
