"""Downloads a model's file: goes on where it was broken off, and keeps nothing that is not the published file."""

from __future__ import annotations

import asyncio
import fcntl
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx2

from ingest.backoff import Backoff
from ingest.redact import redact
from monitor.detect.checkpoints import Checkpoint, by_hand, checked
from monitor.errors import ModelUnavailable

TRIES = 5  # in a row that brought nothing; each byte that comes starts the count anew
RETRY_FIRST_S, MAX_RETRY_S = 1.0, 30.0
TIMEOUT_S = 30.0  # without a byte
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")

# Called with the bytes that are there.
Shown = Callable[[int], None]


class _BrokenOff(Exception):
    """It may go on at another try."""


async def fetch(checkpoint: Checkpoint, path: Path, url: str, shown: Shown, backoff: Backoff | None = None) -> None:
    """Brings the file from `url`; what is there of it in a `.part` file beside it is not fetched again.

    Raises:
        ModelUnavailable: it cannot be had there, or is not the published one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with _alone(part) as file:
        timeout = httpx2.Timeout(TIMEOUT_S)
        async with httpx2.AsyncClient(follow_redirects=True, timeout=timeout) as http:
            await _whole(http, checkpoint, path, url, file, shown, backoff or Backoff(RETRY_FIRST_S, MAX_RETRY_S))
        try:
            await asyncio.to_thread(checked, checkpoint, file, part)
        except ModelUnavailable as error:
            part.unlink()
            raise ModelUnavailable(
                f"what {redact(url)} sends is not {checkpoint.file_name} (its md5 is another), and was not kept; "
                f"{by_hand(checkpoint, path)}"
            ) from error
        part.replace(path)


@contextmanager
def _alone(part: Path) -> Iterator[BinaryIO]:
    """The unfinished file, open, which no other process writes meanwhile."""
    with part.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ModelUnavailable(f"another process is fetching {part.stem}: let it finish") from error
        yield file


async def _whole(
    http: httpx2.AsyncClient,
    checkpoint: Checkpoint,
    path: Path,
    url: str,
    file: BinaryIO,
    shown: Shown,
    backoff: Backoff,
) -> None:
    """Tries until every byte is there."""
    failures, wanted = 0, checkpoint.size_bytes
    while (have := file.seek(0, 2)) != wanted:
        if have > wanted:
            file.truncate(0)
            continue
        try:
            await _more(http, checkpoint, url, file, shown)
            reason = "the connection ended early"
        except (_BrokenOff, httpx2.TransportError) as error:
            reason = str(error) or type(error).__name__
        failures = 0 if file.seek(0, 2) > have else failures + 1
        if failures >= TRIES:
            raise ModelUnavailable(
                f"{redact(url)} cannot be fetched ({reason}); {have:,} of {wanted:,} bytes are kept, and the same "
                f"command goes on from there. Without internet: {by_hand(checkpoint, path)}"
            )
        if file.tell() == wanted:
            return
        if failures == 0:
            backoff.reset()
        await asyncio.sleep(backoff.next_s())


async def _more(http: httpx2.AsyncClient, checkpoint: Checkpoint, url: str, file: BinaryIO, shown: Shown) -> None:
    """One request for what is missing, appended as it comes."""
    have = file.seek(0, 2)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    async with http.stream("GET", url, headers=headers) as response:
        if _starts_over(response, checkpoint, url, have):
            file.truncate(0)
            have = 0
        async for block in response.aiter_raw():
            have += len(block)
            if have > checkpoint.size_bytes:
                file.truncate(0)
                raise _other(checkpoint, url, f"it is larger than {checkpoint.size_bytes:,} bytes")
            file.write(block)
            shown(have)
        file.flush()


def _starts_over(response: httpx2.Response, checkpoint: Checkpoint, url: str, have: int) -> bool:
    """Whether the answer is the whole file instead of the rest.

    Raises:
        _BrokenOff: it is neither, but may be another time.
        ModelUnavailable: it is neither, and never will be.
    """
    if response.status_code in PASSING:
        raise _BrokenOff(f"HTTP {response.status_code}")
    if response.status_code == 206 and (found := RANGE.fullmatch(response.headers.get("content-range", ""))):
        first, size = int(found[1]), int(found[2])
        if size != checkpoint.size_bytes:
            raise _other(checkpoint, url, f"it has {size:,} bytes, not {checkpoint.size_bytes:,}")
        if first == have:
            return False
    elif response.status_code == 200:
        announced = response.headers.get("content-length")
        if announced is not None and int(announced) != checkpoint.size_bytes:
            raise _other(checkpoint, url, f"it has {int(announced):,} bytes, not {checkpoint.size_bytes:,}")
        return True
    raise _other(checkpoint, url, f"HTTP {response.status_code}")


def _other(checkpoint: Checkpoint, url: str, reason: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"{redact(url)} does not send {checkpoint.file_name} ({reason}): give another --url, or fetch it by hand from "
        f"{checkpoint.url}"
    )
