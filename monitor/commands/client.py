"""How a command reaches the API: that of the running `airtrace run`, or one that it serves itself for the time being.

Either way a command speaks HTTP, so there is only one way in.
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

# Long enough to decode and embed a ten-hour recording on a slow machine. A dead server breaks the connection.
READ_TIMEOUT_S = 3600.0
# Other commands use the home for a second or two; `airtrace run` needs a few seconds to start or stop.
BUSY_S = 15.0
BUSY_POLL_S = 0.1


class ApiError(AirtraceError):
    """The API answered with a problem (RFC 9457). `is_unavailable`: a dependency is unreachable, so others fail too."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or "the API refused the request"))
        self.problem = problem
        self.is_unavailable = problem.get("status") == 503
        self.exit_code = 4 if self.is_unavailable else 1  # type: ignore[misc]


class Client:
    """The API's methods. Every problem is raised as an ApiError, a broken connection as a DependencyError."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON at a path; query parameters that are None are left out."""
        known = {name: value for name, value in query.items() if value is not None}
        return await self._call("GET", path, params=known)

    async def post(self, path: str, **options: Any) -> Any:
        """Sends POST with the options of httpx; returns the JSON of the answer."""
        return await self._call("POST", path, **options)

    async def put(self, path: str, **options: Any) -> Any:
        """Sends PUT with the options of httpx; returns the JSON of the answer."""
        return await self._call("PUT", path, **options)

    async def patch(self, path: str, **options: Any) -> Any:
        """Sends PATCH with the options of httpx; returns the JSON of the answer."""
        return await self._call("PATCH", path, **options)

    async def delete(self, path: str) -> Any:
        """Sends DELETE."""
        return await self._call("DELETE", path)

    async def raw_lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines of a streamed answer as they arrive, each with its line break."""
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
        """The JSON lines of a streamed answer, as they arrive. A line that is a problem is raised."""
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
    """A client of the API at `url`."""
    timeout = httpx2.Timeout(10.0, read=READ_TIMEOUT_S, write=READ_TIMEOUT_S)
    async with httpx2.AsyncClient(base_url=url, timeout=timeout, trust_env=False) as http:
        yield Client(http)


@asynccontextmanager
async def connect(settings: Settings, *, recover: bool = True) -> AsyncIterator[Client]:
    """A client of the process that owns the home: the running monitor, or else this process.

    Raises:
        HomeBusy: another command owned the home for BUSY_S.
        HomeError: the home cannot be used.
        DependencyError: a dependency is unreachable.
    """
    async with AsyncExitStack() as stack:
        found = await _running_or_held(settings.home, stack) if settings.needs_home else None
        url = found if isinstance(found, str) else await _serve(settings, found, stack, recover=recover)
        yield await stack.enter_async_context(at(url))


async def _running_or_held(path: Path, stack: AsyncExitStack) -> str | home.Home:
    """The URL of the running monitor; or else the home, owned until the stack is closed."""
    deadline_s = asyncio.get_running_loop().time() + BUSY_S
    while True:
        try:
            return home.running_at(path) or stack.enter_context(home.held(path))
        except HomeBusy:
            if asyncio.get_running_loop().time() > deadline_s:
                raise
            await asyncio.sleep(BUSY_POLL_S)


async def _serve(settings: Settings, held: home.Home | None, stack: AsyncExitStack, *, recover: bool) -> str:
    from monitor import parts as app  # heavy: only imported if nobody else serves the API
    from monitor.processes import http_server

    parts = await stack.enter_async_context(app.open_parts(settings, held, recover=recover))
    return await stack.enter_async_context(http_server.serve_http(parts, "127.0.0.1", 0))


def _unreachable(error: Exception) -> DependencyError:
    return DependencyError(
        f"the running airtrace does not answer ({type(error).__name__}): check its log or restart it"
    )


def _problem(response: httpx2.Response) -> dict[str, Any]:
    try:
        problem: dict[str, Any] = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        problem = {"status": response.status_code, "title": f"HTTP {response.status_code}"}
    return problem
