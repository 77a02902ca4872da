"""Serves the API within a process that does other work as well."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from monitor.errors import DependencyError
from monitor.parts import Airtrace
from monitor.processes.http_app import create_app

GRACE_S = 3
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # reaches a server that is bound to all addresses  # noqa: S104


class _Server(uvicorn.Server):
    """Leaves the signals to the process, which has more to stop than this server."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve_http(airtrace: Airtrace, host: str, port: int) -> AsyncIterator[str]:
    """Serves the API until the context ends; yields its URL.

    Raises:
        DependencyError: the port is in use, or the address does not belong to this machine.
    """
    bound = _bind(host, port)
    config = uvicorn.Config(
        create_app(airtrace),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_S,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[bound]), name="api")
    try:
        while not server.started:
            if task.done():
                await task
                raise DependencyError("the API did not start")
            await asyncio.sleep(0.01)
        shown = LOOPBACK.get(host, f"[{host}]" if ":" in host else host)
        yield f"http://{shown}:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        await asyncio.shield(task)
        bound.close()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise DependencyError(
            f"port {port} on {host} cannot be used ({error.strerror}): choose another with --port or AIRTRACE_API__PORT"
        ) from error
    return bound
