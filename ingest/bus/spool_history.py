"""Past windows from the files of a spool, whether or not a process has it open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ingest.bus.history import HistorySlice
from ingest.bus.spool_files import PREFIX, decode_frame
from ingest.errors import BusError, WireError
from ingest.wire import Window


class SpoolHistory:
    """Reads the files of a spool."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def windows(self, stream_id: int, partition: int, begin: int, end: int) -> HistorySlice:
        """See `WindowHistory`. There is only one partition."""
        return await asyncio.to_thread(self._read, stream_id, begin, end)

    def _read(self, stream_id: int, begin: int, end: int) -> HistorySlice:
        found: list[Window] = []
        oldest, newest = None, None
        try:
            for window in self._windows(stream_id):
                oldest = window.start if oldest is None else min(oldest, window.start)
                newest = window.end if newest is None else max(newest, window.end)
                if window.start < end and window.end > begin:
                    found.append(window)
        except OSError as error:
            raise BusError(
                f"the spool {self._folder} cannot be read ({error.strerror or error}): check its disk and permissions"
            ) from error
        return HistorySlice(tuple(found), oldest, newest)

    def _windows(self, stream_id: int) -> Iterator[Window]:
        if not self._folder.is_dir():
            raise BusError(
                f"there is no log of windows in {self._folder}: if windows are published to Kafka, "
                "set AIRTRACE_KAFKA__BOOTSTRAP here, too"
            )
        for path in sorted(self._folder.glob("*.log")):
            try:
                with path.open("rb") as file:
                    yield from _windows_in(file, str(stream_id))
            except FileNotFoundError:  # just removed, as the worker no longer needs it
                continue


def _windows_in(file: BinaryIO, key: str) -> Iterator[Window]:
    """A stream's windows in one file, up to the first incomplete record, which is still being written."""
    while len(prefix := file.read(PREFIX.size)) == PREFIX.size:
        _, head_bytes, value_bytes = PREFIX.unpack(prefix)
        head = file.read(head_bytes)
        try:
            is_ours = json.loads(head)["key"] == key
        except (ValueError, KeyError, TypeError):
            return
        if not is_ours:
            file.seek(value_bytes, 1)
            continue
        try:
            record = decode_frame(b"".join((prefix, head, file.read(value_bytes))))
        except WireError:
            continue
        if isinstance(record, Window):
            yield record
