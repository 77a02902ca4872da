"""The duration of a request lasts until the last byte of its answer is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from prometheus_client import REGISTRY

from monitor.api.timing import RequestTimer


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def seconds(route: str, status: int) -> float:
    labels = {"method": "GET", "route": route, "status": str(status)}
    return REGISTRY.get_sample_value("airtrace_http_request_seconds_sum", labels) or 0.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def client(clock: Clock) -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()

    async def slow() -> AsyncIterator[bytes]:
        clock.now_s += 10
        yield b"first line\n"
        clock.now_s += 20
        yield b"last line\n"
        clock.now_s += 5

    async def broken() -> AsyncIterator[bytes]:
        yield b"first line\n"
        clock.now_s += 7
        raise RuntimeError("a bug")

    @app.get("/timed/streamed")
    async def streamed() -> StreamingResponse:
        return StreamingResponse(slow())

    @app.get("/timed/broken-off")
    async def broken_off() -> StreamingResponse:
        return StreamingResponse(broken())

    @app.get("/timed/bug")
    async def bug() -> None:
        clock.now_s += 3
        raise RuntimeError("a bug")

    app.add_middleware(RequestTimer, clock_s=clock)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
        yield http


async def test_a_streamed_answer_counts_with_its_whole_duration(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/timed/streamed")).text == "first line\nlast line\n"
    assert seconds("/timed/streamed", 200) == 35


async def test_an_answer_that_breaks_off_counts_with_the_status_that_was_sent(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/timed/broken-off")).text == "first line\n"
    assert seconds("/timed/broken-off", 200) == 7


async def test_a_bug_before_the_answer_counts_as_status_500(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/timed/bug")).status_code == 500
    assert seconds("/timed/bug", 500) == 3
