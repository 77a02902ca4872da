"""Child processes are awaited without a thread for each."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from ingest.sources import child_watcher

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 12) or not child_watcher._has_pidfds(), reason="asyncio does it itself, or has no pidfds"
)


async def exit_code(code: int) -> int:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", f"raise SystemExit({code})")
    return await process.wait()


@pytest.fixture(autouse=True)
def watching() -> None:
    child_watcher.install()


async def test_the_exit_codes_arrive_and_no_thread_waits_for_them() -> None:
    before = threading.active_count()
    sleeper = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(600)")
    assert threading.active_count() == before
    assert await asyncio.gather(*map(exit_code, (0, 3, 7))) == [0, 3, 7]
    sleeper.kill()
    assert await sleeper.wait() == -9


def test_it_belongs_to_no_loop() -> None:
    assert [asyncio.run(exit_code(code)) for code in (1, 2)] == [1, 2]
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(asyncio.run(exit_code(5))))
    thread.start()
    thread.join(30)
    assert codes == [5]
