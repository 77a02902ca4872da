"""A pipe is read at once, or when there is something, and ends when its writers have."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from ingest.sources.pipe import DEFAULT_BYTES, Pipe


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with closing(Pipe()) as pipe:
        yield pipe


def test_an_empty_pipe_gives_none_and_an_ended_one_gives_nothing(pipe: Pipe) -> None:
    assert pipe.read_now(10) is None
    os.write(pipe.write_end, b"abc")
    assert pipe.read_now(2) == b"ab"
    assert pipe.read_now(10) == b"c"
    pipe.close_write_end()
    assert pipe.read_now(10) == b""


async def test_a_read_waits_for_data_and_for_the_end(pipe: Pipe) -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(0.01, os.write, pipe.write_end, b"abc")
    assert await pipe.read(10) == b"abc"
    loop.call_later(0.01, pipe.close_write_end)
    assert await pipe.read(10) == b""


async def test_a_cancelled_read_loses_no_data(pipe: Pipe) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await pipe.read(10)
    os.write(pipe.write_end, b"abc")
    assert await pipe.read(10) == b"abc"


async def test_a_watched_pipe_calls_back_until_it_is_unwatched(pipe: Pipe) -> None:
    readable = asyncio.Event()
    pipe.watch(readable.set)
    os.write(pipe.write_end, b"abc")
    async with asyncio.timeout(10):
        await readable.wait()
    pipe.unwatch()
    readable.clear()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not readable.is_set()
    assert pipe.read_now(10) == b"abc"


def test_the_writer_may_be_as_far_ahead_as_the_capacity_says() -> None:
    with closing(Pipe(2 * DEFAULT_BYTES)) as pipe:
        assert pipe.capacity in (DEFAULT_BYTES, 2 * DEFAULT_BYTES)  # the system limits what each user's pipes may take
        os.set_blocking(pipe.write_end, False)
        assert os.write(pipe.write_end, bytes(4 * DEFAULT_BYTES)) == pipe.capacity


async def test_a_pipe_may_be_closed_twice_and_while_it_is_watched(pipe: Pipe) -> None:
    pipe.watch(lambda: None)
    pipe.close()
    pipe.close()
    pipe.unwatch()
