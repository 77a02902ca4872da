"""Who may call: only requests that name a host we know, and from pages only our own.

The API of the embedded mode has no passwords: it listens on loopback. That alone would let any web page that a person
has open send it requests (cross-site request forgery) or read it under another name (DNS rebinding).
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from monitor.api.problems import problem


class OnlyKnownHosts:
    """Middleware that refuses unknown Host headers and foreign Origins."""

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(Headers(scope=scope))):
            await problem(403, "Not allowed", refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if "*" not in self._hosts and _without_port(host).lower() not in self._hosts:
            return "This host name is not served here; add it to api.hosts."
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return "Requests from other sites' pages are not taken."
        return None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
