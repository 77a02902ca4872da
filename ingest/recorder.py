"""The flight recorder, read beside the worker: a stream's windows of some time ago. Commits nothing, disturbs nobody.

Of Kafka a consumer of its own reads, which belongs to no group; of the spool, its files, which only ever grow at their
end until they are removed as a whole.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from ingest.errors import BusError, WireError
from ingest.settings import KafkaSettings
from ingest.spool import PREFIX, unframed
from ingest.wire import Window


@dataclass(frozen=True, slots=True)
class Recording:
    """Windows of one stream, in the order of the log.

    oldest, newest: stream clock from which and up to which the log has windows of the stream; None where none were
    seen, or where that would take reading all of it.
    """

    windows: tuple[Window, ...]
    oldest: int | None = None
    newest: int | None = None


class Recorder(Protocol):
    """What the log still has of a stream."""

    async def windows(self, stream_id: int, partition: int, begin: int, end: int) -> Recording:
        """The windows that lie, at least partly, in [begin, end) of the stream clock; none when it has none (any more).

        Raises:
            BusError: the log cannot be read.
        """


def recorder(kafka: KafkaSettings, spool: Path) -> Recorder:
    """Reads from Kafka where brokers are named, else from the spool in a folder."""
    if kafka.bootstrap:
        from ingest.kafka_recorder import KafkaRecorder

        return KafkaRecorder(kafka)
    return SpoolRecorder(spool)


class SpoolRecorder:
    """Reads the files of a spool, whether a process has it open or not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def windows(self, stream_id: int, partition: int, begin: int, end: int) -> Recording:
        """See `Recorder`. There is only one partition."""
        return await asyncio.to_thread(self._read, stream_id, begin, end)

    def _read(self, stream_id: int, begin: int, end: int) -> Recording:
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
                f"the spool {self._folder} cannot be read ({error.strerror or error}): see its disk and permissions"
            ) from error
        return Recording(tuple(found), oldest, newest)

    def _windows(self, stream_id: int) -> Iterator[Window]:
        if not self._folder.is_dir():
            raise BusError(
                f"there is no log of windows in {self._folder}: if they travel over Kafka, name its brokers here, too "
                "(AIRTRACE_KAFKA__BOOTSTRAP)"
            )
        for path in sorted(self._folder.glob("*.log")):
            try:
                with path.open("rb") as file:
                    yield from _windows_in(file, str(stream_id))
            except FileNotFoundError:  # it was removed in this moment: no longer needed by the worker
                continue


def _windows_in(file: BinaryIO, key: str) -> Iterator[Window]:
    """A stream's windows in one file, up to where a record is not whole: it is just being written."""
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
            record = unframed(b"".join((prefix, head, file.read(value_bytes))))
        except WireError:
            continue
        if isinstance(record, Window):
            yield record
