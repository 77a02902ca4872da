"""Who may call the API: requests must name a known host, and pages must be our own.

The embedded mode has no passwords because it listens only on loopback. Without these checks, any web page that a person
has open could send it requests (cross-site request forgery) or read it under another host name (DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.api.problems import problem


class SameOrigin:
    """Middleware that refuses requests from the pages of other sites."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and origin.partition("://")[2] != headers.get("host", ""):
                refusal = problem(403, "Not allowed", "Requests from the pages of other sites are refused.")
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


class KnownHosts:
    """Middleware that refuses unknown Host headers: Starlette's check, with a problem instead of its plain text."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        """`hosts`: names without ports, IPv6 addresses in brackets; "*" for any, "*.example.com" for subdomains."""
        self._app = app
        self._hosts = tuple(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or await self._is_known(scope, receive):
            await self._app(scope, receive, send)
            return
        refusal = problem(403, "Not allowed", "Airtrace does not serve this host name; add it to api.hosts.")
        await refusal(scope, receive, send)

    async def _is_known(self, scope: Scope, receive: Receive) -> bool:
        passed = False

        async def note(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal passed
            passed = True

        await TrustedHostMiddleware(note, self._hosts, www_redirect=False)(scope, receive, _ignore)
        return passed


def in_host_header(address: str) -> str:
    """An address to listen on, as it appears in a Host header."""
    return f"[{address}]" if ":" in address else address


async def _ignore(message: Message) -> None:
    """Discards Starlette's own refusal."""
