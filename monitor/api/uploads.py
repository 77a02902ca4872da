"""Uploaded files: on disk under their own names during a request, and never larger than allowed."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path, PurePath

from fastapi import UploadFile
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.api.problems import problem

MAX_NAME_BYTES = 200  # file systems allow 255 with the suffix
MAX_SUFFIX_BYTES = 40
ESCAPED = {"%22": '"', "%0A": "\n", "%0D": "\r"}  # clients escape these in the header that carries the name
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@asynccontextmanager
async def on_disk(upload: UploadFile) -> AsyncIterator[Path]:
    """The upload as a file with the client's file name, which error messages contain and decoders look at."""
    with tempfile.TemporaryDirectory(prefix="airtrace-") as folder:
        path = Path(folder) / safe_name(upload.filename)
        await asyncio.to_thread(_copy, upload, path)
        yield path


def safe_name(name: str | None) -> str:
    """The last part of a file name, without control characters and not too long for file systems. Keeps the suffix."""
    last = PurePath((name or "").replace("\\", "/")).name
    for sent, meant in ESCAPED.items():
        last = last.replace(sent, meant)
    last = CONTROL.sub(" ", last)
    if last in ("", ".", ".."):
        return "upload"
    return _shortened(PurePath(last).stem, MAX_NAME_BYTES) + _shortened(PurePath(last).suffix, MAX_SUFFIX_BYTES)


def _shortened(text: str, max_bytes: int) -> str:
    return text.encode()[:max_bytes].decode(errors="ignore")


def _copy(upload: UploadFile, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(upload.file, target)


class SizeLimit:
    """Middleware that refuses bodies larger than `max_bytes`, whether or not they announce their size."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > self._max_bytes:
            await self._refuse(scope, receive, send)
            return
        received, started = 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise _TooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            if started or received <= self._max_bytes:  # otherwise it is the application's answer to the broken request
                started = True
                await send(message)

        with suppress(_TooLarge):
            await self._app(scope, counted, watched)
        if received > self._max_bytes and not started:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        max_mb = self._max_bytes // 1_000_000
        detail = f"Uploads are limited to {max_mb} MB; raise api.max_upload_mb to allow more."
        await problem(413, "The upload is too large", detail)(scope, receive, send)


class _TooLarge(Exception):
    """More bytes arrived than are allowed."""
