"""Programs are run to their end, and ended with their caller."""

import asyncio
import os
from pathlib import Path

import pytest

from monitor.demo.processes import run
from tests.waiting import until


async def test_a_programs_status_and_output_are_returned():
    done = await run(["sh", "-c", "cat; echo no >&2; exit 3"], given=b"sound")
    assert (done.status, done.out, done.err) == (3, b"sound", "no\n")


async def test_a_cancelled_caller_leaves_no_program_behind(tmp_path: Path):
    started = tmp_path / "pid"
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(run(["sh", "-c", "echo $$ > new; mv new pid; exec sleep 60"], folder=tmp_path))
        await until(started.exists, timeout_s=5)
        waiting.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
