"""The demo's Airtrace: the installed `airtrace run` as a process of its own, in a home of its own."""

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

START_S = 120.0  # a new home makes its database first
STOP_S = 20.0  # it drains, and stops its PostgreSQL
FREE_S = 10.0  # an `airtrace run` whose demo was killed notices that, and drains and stops too
POLL_S = 0.1


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[str]:
    """Address of its API, while it runs.

    Raises:
        DemoError: it does not start; the message has its last words.
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
    """Makes the home, too. What was said about `airtrace run` would otherwise be said by that of another demo."""
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
            start_new_session=True,  # a Ctrl-C reaches us, and we end it
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
    raise DemoError(f"`airtrace run` does not start: {_last_words(log_file)}")


def _announced(home: Path) -> str | None:
    try:
        return running_at(home)
    except HomeBusy:  # it has the home, and nothing to serve yet
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


def _last_words(log_file: Path) -> str:
    lines = log_file.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"see {log_file}"
