"""Downloads a checkpoint: resumes interrupted downloads, and keeps only the published file."""

from __future__ import annotations

import asyncio
import fcntl
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import httpx2

from ingest.backoff import Backoff, retry
from ingest.redact import redact
from monitor.detect.checkpoints import Checkpoint, manual_instructions, verified_digests
from monitor.errors import ModelUnavailable

MAX_FAILURES = 5  # in a row; any received byte resets the count
RETRY_FIRST_S, MAX_RETRY_S = 1.0, 30.0
TIMEOUT_S = 30.0  # without any received byte
TEMPORARY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")

# Called with the number of bytes downloaded so far.
OnProgress = Callable[[int], None]


class _Interrupted(Exception):
    """The transfer failed, but a retry may succeed."""


async def fetch(
    checkpoint: Checkpoint, path: Path, url: str, on_progress: OnProgress, backoff: Backoff | None = None
) -> None:
    """Downloads the file from `url` to `path`, resuming from a `.part` file next to it.

    Raises:
        ModelUnavailable: the URL does not deliver the published file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with _locked(part) as file:
        timeout = httpx2.Timeout(TIMEOUT_S)
        async with httpx2.AsyncClient(follow_redirects=True, timeout=timeout) as http:
            transfer = _Transfer(http, checkpoint, path, url, file, on_progress)
            await transfer.run(backoff or Backoff(RETRY_FIRST_S, MAX_RETRY_S))
        try:
            await asyncio.to_thread(verified_digests, checkpoint, file, part)
        except ModelUnavailable as error:
            part.unlink()
            raise ModelUnavailable(
                f"{redact(url)} sent another file than {checkpoint.file_name} (the md5 differs); it was deleted. "
                f"Instead, {manual_instructions(checkpoint, path)}"
            ) from error
        part.replace(path)


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """Opens the partial file and locks it against other processes.

    Raises:
        ModelUnavailable: another process holds the lock.
    """
    with part.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ModelUnavailable(f"another process is downloading {part.stem}: wait until it is done") from error
        yield file


@dataclass(slots=True)
class _Transfer:
    """Fills the partial file, with as many requests as it takes."""

    http: httpx2.AsyncClient
    checkpoint: Checkpoint
    path: Path
    url: str
    file: BinaryIO
    on_progress: OnProgress
    failures: int = 0  # in a row that brought no byte

    async def run(self, backoff: Backoff) -> None:
        """Sends requests until the file is complete.

        Raises:
            ModelUnavailable: MAX_FAILURES requests in a row brought nothing, or the URL can never deliver the file.
        """
        if self._size() > self.checkpoint.size_bytes:
            self.file.truncate(0)
        if self._size() < self.checkpoint.size_bytes:
            await retry(
                partial(self._attempt, backoff),
                backoff=backoff,
                retry_on=(_Interrupted, httpx2.TransportError),
                on_error=self._on_error,
            )

    async def _attempt(self, backoff: Backoff) -> None:
        before = self._size()
        try:
            await self._request_rest()
        finally:
            if self._size() > before:
                self.failures = 0
                backoff.reset()
            else:
                self.failures += 1
        if self._size() < self.checkpoint.size_bytes:
            raise _Interrupted("the connection closed early")

    def _on_error(self, error: Exception, _wait_s: float) -> None:
        if self.failures >= MAX_FAILURES:
            raise ModelUnavailable(
                f"{redact(self.url)} cannot be downloaded ({str(error) or type(error).__name__}); {self._size():,} of "
                f"{self.checkpoint.size_bytes:,} bytes are kept, and running the command again resumes from there. "
                f"Without internet access: {manual_instructions(self.checkpoint, self.path)}"
            ) from error

    async def _request_rest(self) -> None:
        """Requests the missing bytes and appends them as they arrive."""
        have = self._size()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        async with self.http.stream("GET", self.url, headers=headers) as response:
            if _is_whole_file(response, self.checkpoint, self.url, have):
                self.file.truncate(0)
                have = 0
            async for block in response.aiter_raw():
                have += len(block)
                if have > self.checkpoint.size_bytes:
                    self.file.truncate(0)
                    raise _wrong_file(
                        self.checkpoint, self.url, f"it is larger than {self.checkpoint.size_bytes:,} bytes"
                    )
                self.file.write(block)
                self.on_progress(have)
            self.file.flush()

    def _size(self) -> int:
        """The number of bytes in the file, which is left at its end."""
        return self.file.seek(0, 2)


def _is_whole_file(response: httpx2.Response, checkpoint: Checkpoint, url: str, have: int) -> bool:
    """Whether the response carries the whole file (True) or only the missing bytes (False).

    Raises:
        _Interrupted: it carries neither, and a retry may help.
        ModelUnavailable: it carries neither, and a retry cannot help.
    """
    if response.status_code in TEMPORARY_STATUSES:
        raise _Interrupted(f"HTTP {response.status_code}")
    if response.status_code == 206 and (found := CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))):
        first, size = int(found[1]), int(found[2])
        if size != checkpoint.size_bytes:
            raise _wrong_file(checkpoint, url, f"it has {size:,} bytes, not {checkpoint.size_bytes:,}")
        if first == have:
            return False
    elif response.status_code == 200:
        announced = response.headers.get("content-length")
        if announced is not None and int(announced) != checkpoint.size_bytes:
            raise _wrong_file(checkpoint, url, f"it has {int(announced):,} bytes, not {checkpoint.size_bytes:,}")
        return True
    raise _wrong_file(checkpoint, url, f"HTTP {response.status_code}")


def _wrong_file(checkpoint: Checkpoint, url: str, reason: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"{redact(url)} does not send {checkpoint.file_name} ({reason}): pass another --url, or download it yourself "
        f"from {checkpoint.url}"
    )
