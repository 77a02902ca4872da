"""How a command reaches the parts: through the running `airtrace run`, or by opening them itself for a while.

Either way it speaks HTTP to the same API, so that there is one way in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson

from monitor.errors import AirtraceError, DependencyError, HomeBusy
from monitor.local import home
from monitor.settings import Settings

# Long enough to decode and embed a ten-hour recording on a slow machine; a dead server is noticed by its connection.
READ_TIMEOUT_S = 3600.0
# Other commands take a second or two, and an `airtrace run` that starts or stops a few.
BUSY_S = 15.0
BUSY_POLL_S = 0.1


class ApiError(AirtraceError):
    """The API answered with a problem."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or "the API refused"))
        self.problem = problem
        self.exit_code = 4 if problem.get("status") == 503 else 1  # type: ignore[misc]


class Client:
    """The API, with problems as exceptions."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def get(self, path: str, **query: Any) -> Any:
        known = {name: value for name, value in query.items() if value is not None}
        return await self._call("GET", path, params=known)

    async def post(self, path: str, **options: Any) -> Any:
        return await self._call("POST", path, **options)

    async def put(self, path: str, **options: Any) -> Any:
        return await self._call("PUT", path, **options)

    async def patch(self, path: str, **options: Any) -> Any:
        return await self._call("PATCH", path, **options)

    async def delete(self, path: str) -> Any:
        return await self._call("DELETE", path)

    async def raw_lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines of a long answer as they come, each with its end."""
        try:
            async with self._http.stream("GET", f"/api/v1{path}") as response:
                if response.is_error:
                    await response.aread()
                    raise ApiError(_problem(response))
                rest = b""
                async for data in response.aiter_bytes():
                    *whole, rest = (rest + data).split(b"\n")
                    for line in whole:
                        yield line + b"\n"
        except httpx2.TransportError as error:
            raise _unreachable(error) from error

    async def lines(self, path: str, **options: Any) -> AsyncIterator[dict[str, Any]]:
        """The JSON lines of a long answer, as they come; a problem among them is raised."""
        try:
            async with self._http.stream(
                "POST", f"/api/v1{path}", headers={"Accept": "application/x-ndjson"}, **options
            ) as response:
                if response.is_error:
                    await response.aread()
                    raise ApiError(_problem(response))
                async for line in response.aiter_lines():
                    value = orjson.loads(line)
                    if "title" in value and "status" in value:
                        raise ApiError(value)
                    yield value
        except httpx2.TransportError as error:
            raise _unreachable(error) from error

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = await self._http.request(method, f"/api/v1{path}", **options)
        except httpx2.TransportError as error:
            raise _unreachable(error) from error
        if response.is_error:
            raise ApiError(_problem(response))
        return orjson.loads(response.content) if response.content else None


@asynccontextmanager
async def at(url: str) -> AsyncIterator[Client]:
    """A client of the API at an address."""
    timeout = httpx2.Timeout(10.0, read=READ_TIMEOUT_S, write=READ_TIMEOUT_S)
    async with httpx2.AsyncClient(base_url=url, timeout=timeout, trust_env=False) as http:
        yield Client(http)


@asynccontextmanager
async def connect(settings: Settings, *, recover: bool = True) -> AsyncIterator[Client]:
    """A client of whatever has the home: the running monitor, or this process for now.

    Raises:
        HomeBusy: another command has the home, and does not let go of it within BUSY_S.
        HomeError: the home cannot be used.
        DependencyError: a part cannot be reached.
    """
    embedded = settings.database.dsn is None or settings.milvus.uri is None
    async with AsyncExitStack() as stack:
        found = await _running_or_held(settings.home, stack) if embedded else None
        url = found if isinstance(found, str) else await _serve(settings, found, stack, recover=recover)
        yield await stack.enter_async_context(at(url))


async def _running_or_held(path: Path, stack: AsyncExitStack) -> str | home.Home:
    """Address of the running monitor, or else the home, held until the stack ends."""
    deadline_s = asyncio.get_running_loop().time() + BUSY_S
    while True:
        try:
            return home.running_at(path) or stack.enter_context(home.held(path))
        except HomeBusy:
            if asyncio.get_running_loop().time() > deadline_s:
                raise
            await asyncio.sleep(BUSY_POLL_S)


async def _serve(settings: Settings, held: home.Home | None, stack: AsyncExitStack, *, recover: bool) -> str:
    from monitor import parts as app  # opens servers and models: only where nobody else has
    from monitor.processes import http_server

    parts = await stack.enter_async_context(app.open_parts(settings, held, recover=recover))
    return await stack.enter_async_context(http_server.serve_http(parts, "127.0.0.1", 0))


def _unreachable(error: Exception) -> DependencyError:
    return DependencyError(f"the running airtrace does not answer ({type(error).__name__}): see its log, or restart it")


def _problem(response: httpx2.Response) -> dict[str, Any]:
    try:
        problem: dict[str, Any] = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        problem = {"status": response.status_code, "title": f"HTTP {response.status_code}"}
    return problem
