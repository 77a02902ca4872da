"""Runs the demo's Airtrace: the installed `airtrace run` as a separate process with its own home."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from monitor.demo.errors import DemoError
from monitor.errors import HomeBusy
from monitor.local.home import held, running_at

START_S = 120.0  # a new home creates its database first
STOP_S = 20.0  # it drains, and stops its PostgreSQL
FREE_S = 10.0  # an `airtrace run` whose demo was killed notices it, drains and stops
POLL_S = 0.1


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[str]:
    """Runs Airtrace, and yields the address of its API.

    Raises:
        DemoError: it does not start; the message has the last line of its log.
        HomeBusy: another demo is running.
        HomeError: the home cannot be used.
    """
    await _wait_until_free(home)
    log_file = home / "run.log"
    process = await _start(home, log_file)
    try:
        yield await _address(process, home, log_file)
    finally:
        await asyncio.shield(_stop(process))


async def _wait_until_free(home: Path) -> None:
    """Also creates the home. Otherwise the address found in it could be that of another demo's `airtrace run`."""
    deadline_s = asyncio.get_running_loop().time() + FREE_S
    while True:
        try:
            with held(home):
                return
        except HomeBusy:
            if asyncio.get_running_loop().time() > deadline_s:
                raise
            await asyncio.sleep(POLL_S)


async def _start(home: Path, log_file: Path) -> Process:
    with log_file.open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "monitor", "--home", str(home), "run", "--port", "0"),
            *("--parent", str(os.getpid())),
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
            env={name: value for name, value in os.environ.items() if not name.startswith("AIRTRACE_")},
            start_new_session=True,  # Ctrl-C reaches the demo, which stops Airtrace
        )


async def _address(process: Process, home: Path, log_file: Path) -> str:
    try:
        async with asyncio.timeout(START_S):
            while process.returncode is None:
                if (url := _announced(home)) is not None:
                    return url
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        pass
    raise DemoError(f"`airtrace run` does not start: {_last_line(log_file)}")


def _announced(home: Path) -> str | None:
    try:
        return running_at(home)
    except HomeBusy:  # it holds the home, but does not serve yet
        return None


async def _stop(process: Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _last_line(log_file: Path) -> str:
    lines = log_file.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"see {log_file}"
