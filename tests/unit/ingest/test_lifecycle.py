"""The first signal asks to stop, the second one exits at once."""

import asyncio
import signal
import subprocess
import sys

import pytest

from ingest.lifecycle import is_set_within

RUNS = """
import asyncio
from ingest import lifecycle, logs

async def main():
    logs.configure("info", "json")
    stop = lifecycle.stop_event()
    print("ready", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    if {stubborn}:
        await asyncio.Event().wait()

asyncio.run(main())
"""


def _started(stubborn: bool) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUNS.format(stubborn=stubborn)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_sets_the_event_and_is_logged_once(number: signal.Signals) -> None:
    with _started(stubborn=False) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        assert (out, process.returncode) == ("stopping\n", 0)
        assert err.count("stopping") == 1


def test_a_second_signal_exits_at_once() -> None:
    with _started(stubborn=True) as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 130


async def test_a_wait_ends_with_the_event_or_at_its_timeout() -> None:
    stop = asyncio.Event()
    assert not await is_set_within(stop, 0.01)
    asyncio.get_running_loop().call_later(0.01, stop.set)
    assert await is_set_within(stop, 10)
    assert await is_set_within(stop, 10)
