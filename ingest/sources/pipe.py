"""The read end of a pipe on the event loop: read at once, or wait until there is something.

asyncio's own reader wakes the loop for every piece that the writer sends. This one leaves the data in the kernel until
somebody asks for it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress

DEFAULT_BYTES = 64 * 1024  # the capacity of a pipe on Linux, and on macOS once it is used


class Pipe:
    """A pipe that a child process writes to. Give it `write_end`, close that, then read; `close` at the end."""

    def __init__(self, capacity: int = DEFAULT_BYTES) -> None:
        """`capacity`: how many bytes the writer may be ahead, if the system allows it; see `capacity`."""
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._watched_by: asyncio.AbstractEventLoop | None = None
        self.capacity = _resize(self._read_end, capacity)

    def close_write_end(self) -> None:
        """The child has its own copy now. While ours is open, the pipe never ends."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def close(self) -> None:
        """Closes what is still open."""
        self.close_write_end()
        self.unwatch()
        if self._read_end >= 0:
            os.close(self._read_end)
            self._read_end = -1

    def read_now(self, max_bytes: int) -> bytes | None:
        """What is in the pipe, up to `max_bytes`; None if that is nothing, b"" at the end."""
        try:
            return os.read(self._read_end, max_bytes)
        except BlockingIOError:
            return None

    async def read(self, max_bytes: int) -> bytes:
        """Same as `read_now`, but waits for the next data. A cancellation loses none."""
        while (data := self.read_now(max_bytes)) is None:
            readable = asyncio.Event()
            self.watch(readable.set)
            try:
                await readable.wait()
            finally:
                self.unwatch()
        return data

    def watch(self, on_readable: Callable[[], object]) -> None:
        """Calls back as long as there is something to read, also at the end; one callback at a time."""
        self._watched_by = asyncio.get_running_loop()
        self._watched_by.add_reader(self._read_end, on_readable)

    def unwatch(self) -> None:
        """Ends `watch`."""
        if self._watched_by is not None:
            self._watched_by.remove_reader(self._read_end)
            self._watched_by = None


def _resize(pipe: int, capacity: int) -> int:
    """Asks for a capacity; returns the one that the pipe has: only Linux can change it, up to a limit for each user."""
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return DEFAULT_BYTES
    with suppress(OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, capacity)
    return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
