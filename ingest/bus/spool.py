"""The in-process bus: a small log on disk with one partition, one process and one consumer.

committed      the next offset to read            rejected/   the dead letters, each after its error
<offset>.log   records in order, starting with this offset

All file access happens in one dedicated thread: the event loop never waits for the disk, and calls cannot overtake
each other, even if their caller was cancelled. Files are not fsynced. A kill loses nothing; a power cut loses what the
system had not written yet, and the worker accounts for it as lost.
"""

from __future__ import annotations

import asyncio
import errno
import os
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import structlog

from ingest import metrics
from ingest.bus.port import Delivery, StartAt
from ingest.bus.spool_files import LogFile, decode_frame, frame_parts, number_in, recover
from ingest.bus.spool_tail import SpoolTail
from ingest.errors import BusError, WireError
from ingest.wire import MAX_INTEGER, Encoded, Record, decode, encode

log = structlog.get_logger(__name__)
T = TypeVar("T")
Args = TypeVarTuple("Args")

PARTITION = 0
KEEP_S = 120.0  # twice the minute that the worker reads again: streams do not advance in step
FILE_BYTES = 2_000_000  # the unit of removal: half a minute of one stream, an eighth of the smallest spool
BATCH_RECORDS = 64
BATCH_BYTES = 8_000_000
TAIL_BYTES = 2 * BATCH_BYTES  # of the newest records, kept in memory: those that arrive while a batch is processed
COMMITTED = b"%020d"  # the content of the file
MAX_REJECTED = 100  # dead letters kept: enough for a diagnosis; all of them are logged and counted


class Spool:
    """The bus of the embedded mode.

    folder: where the log is kept; created if necessary. max_mb: the disk space that it may take.
    keep_s: how long committed records stay readable; less if new records need the space.
    tail_bytes: how much audio of the newest records is kept in memory for the reader.
    """

    can_send = False

    def __init__(self, folder: Path, max_mb: int, keep_s: float = KEEP_S, *, tail_bytes: int = TAIL_BYTES) -> None:
        self.committed = 0  # the next offset to read
        self.next_offset = 0  # the offset of the next record to be published
        self._folder = folder
        self._max_bytes = max_mb * 1_000_000
        self._keep_s = keep_s
        self._files: list[LogFile] = []
        self._n_bytes = 0  # of all files
        self._newest_fd = self._committed_fd = -1
        self._tail = SpoolTail(tail_bytes)
        self._rejected: set[int] = set()  # offsets of dead letters: a commit that ends at one of them skips it
        self._unwritten: deque[tuple[Encoded, asyncio.Future[None]]] = deque()
        self._is_write_scheduled = False
        self._arrived = asyncio.Event()
        self._progressed = asyncio.Event()  # a call in the thread has ended: `committed` may have changed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")

    async def __aenter__(self) -> Spool:
        """Opens the log; raises BusError if the folder cannot be used."""
        try:
            await self._in_thread(self._open)
        except BaseException:
            self._thread.submit(self._close)
            self._thread.shutdown(wait=False)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._in_thread(self._close)
        await asyncio.to_thread(self._thread.shutdown)

    async def publish(self, record: Record) -> None:
        """See `Bus`. Raises BusError if the spool is full of uncommitted records, or its disk is full."""
        await self.append(encode(record))

    async def append(self, encoded: Encoded) -> None:
        """Publishes an encoded record as it is, valid or not; see `publish`."""
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        self._unwritten.append((encoded, written))
        if not self._is_write_scheduled:  # else it goes with those that wait already
            self._is_write_scheduled = True
            self._thread.submit(self._append_waiting, loop)
        await written

    def _report_written(self, results: Sequence[tuple[asyncio.Future[None], Exception | None]]) -> None:
        """Also of callers that were cancelled: their records may have been written."""
        self._arrived.set()
        self._progressed.set()
        for written, error in results:
            if written.done():
                continue
            if error is None:
                written.set_result(None)
            else:
                written.set_exception(error)

    async def deliveries(self, start_at: StartAt) -> AsyncGenerator[Sequence[Delivery], None]:
        """See `Bus`. Never starts after the committed offset: nobody has processed the records in between."""
        requested = await start_at(PARTITION)
        offset = self.committed if requested is None else min(requested, self.committed)
        self._tail.clear()
        try:
            while True:
                self._arrived.clear()
                start = offset
                if batch := self._tail.take(start, BATCH_RECORDS, BATCH_BYTES):
                    offset = batch[-1].offset + 1
                elif not self._tail.is_next(start):
                    batch, offset = await self._in_thread(self._read, start)
                if batch:
                    yield batch
                elif offset == start:
                    await self._arrived.wait()
        finally:
            self._tail.clear()

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """See `Bus`. An offset before the committed one changes nothing."""
        await self._in_thread(self._commit, offsets.get(PARTITION, 0))

    async def reject(self, delivery: Delivery, error: str) -> None:
        """See `Bus`."""
        await self._in_thread(self._dead_letter, delivery.offset, b"".join(frame_parts(encode(delivery.record))), error)

    def holds(self, partition: int) -> bool:
        """See `Bus`. There is only one reader."""
        return partition == PARTITION

    async def send(self, topic: str, message: Encoded) -> None:
        """See `Bus`. There is only the topic of the windows."""
        raise BusError(f"the spool has no topic {topic}: set AIRTRACE_KAFKA__BOOTSTRAP")

    async def drain(self, timeout_s: float) -> int:
        """See `Bus`. Nobody but this process reads the spool."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.committed < self.next_offset:
                    self._progressed.clear()
                    await self._progressed.wait()
        return self.next_offset - self.committed

    async def _in_thread(self, call: Callable[[*Args], T], *args: *Args) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)
        except OSError as error:
            raise self._unusable(error) from error
        finally:
            self._progressed.set()

    def _unusable(self, error: OSError) -> BusError:
        return BusError(
            f"the spool {self._folder} cannot be used ({error.strerror or error}): check its disk and permissions"
        )

    # Everything below runs in the thread.

    def _open(self) -> None:
        (self._folder / "rejected").mkdir(parents=True, exist_ok=True)
        paths = sorted(self._folder.glob("[0-9]" * 20 + ".log"))
        next_firsts = [*(int(path.stem) for path in paths[1:]), None]
        self._files = [recover(path, next_first) for path, next_first in zip(paths, next_firsts, strict=False)]
        self._n_bytes = sum(file.bounds[-1] for file in self._files)
        self._open_committed()
        if self.next_offset > (self._files[-1].next_offset if self._files else 0):
            self._start_file()
        elif self._files:
            self._newest_fd = os.open(self._files[-1].path, os.O_WRONLY)
        self.committed = self._next_present(self.committed)

    def _open_committed(self) -> None:
        """Reads which offset is the next. If that is damaged, everything comes again, which changes nothing."""
        oldest, end = (self._files[0].first, self._files[-1].next_offset) if self._files else (0, 0)
        fd = self._committed_fd = os.open(self._folder / "committed", os.O_RDWR | os.O_CREAT, 0o644)
        content = os.pread(fd, 100, 0)
        number = number_in(content)
        is_possible = 0 <= number <= MAX_INTEGER
        is_damaged = not is_possible or (number > end and bool(self._files))
        self.committed = oldest if is_damaged else max(number, oldest)
        self.next_offset = max(end, number if is_possible else 0)  # no offset is ever reused
        if is_damaged:
            log.warning("spool.committed_damaged", content=repr(content), end=end, again_from=oldest)
        if is_damaged or len(content) > len(COMMITTED % 0):
            os.ftruncate(fd, 0)  # first: an empty one is read as 0, but half of a longer one could be any number
            os.pwrite(fd, COMMITTED % self.committed, 0)

    def _close(self) -> None:
        for fd in (self._newest_fd, self._committed_fd):
            if fd >= 0:
                os.close(fd)
        self._newest_fd = self._committed_fd = -1

    def _append_waiting(self, loop: asyncio.AbstractEventLoop) -> None:
        """Appends all records that wait, and reports them together: on a busy machine, each change of threads waits."""
        self._is_write_scheduled = False  # first: a record that comes later schedules the next call
        results: list[tuple[asyncio.Future[None], Exception | None]] = []
        for _ in range(len(self._unwritten)):
            encoded, written = self._unwritten.popleft()
            error: Exception | None = None
            try:
                if not written.cancelled():
                    self._append(encoded)
            except BusError as full:
                error = full
            except OSError as unusable:
                error = self._unusable(unusable)
                error.__cause__ = unusable
            except Exception as bug:  # the publisher reports it, and the others go on
                error = bug
            results.append((written, error))
        loop.call_soon_threadsafe(self._report_written, results)

    def _append(self, encoded: Encoded) -> None:
        parts = frame_parts(encoded)
        n_bytes = sum(map(len, parts))
        self._make_room(n_bytes)
        if not self._files or self._files[-1].bounds[-1] >= FILE_BYTES:
            self._start_file()
        newest = self._files[-1]
        if os.fstat(self._newest_fd).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, f"somebody has removed {newest.path.name}")
        # Overwrites the remains of a record that did not fit on a full disk.
        if os.pwritev(self._newest_fd, parts, newest.bounds[-1]) < n_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        newest.bounds.append(newest.bounds[-1] + n_bytes)
        self._n_bytes += n_bytes
        offset, self.next_offset = self.next_offset, self.next_offset + 1
        try:
            self._tail.add(Delivery(PARTITION, offset, decode(encoded.key, encoded.headers, encoded.value)))
        except WireError:  # the reader gets it from the file, and rejects it
            self._tail.end()

    def _start_file(self) -> None:
        if self._newest_fd >= 0:  # the remains of a record that did not fit on a full disk could look like records
            os.ftruncate(self._newest_fd, self._files[-1].bounds[-1])
        path = self._folder / f"{self.next_offset:020}.log"
        newest_fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        if self._newest_fd >= 0:
            os.close(self._newest_fd)
        self._newest_fd = newest_fd
        self._files.append(LogFile(path, self.next_offset, [0]))

    def _make_room(self, n_bytes: int) -> None:
        """Removes the oldest files for the new record, but none with records that are not committed."""
        while self._n_bytes + n_bytes > self._max_bytes:
            if self._index(self.committed) == 0:
                waiting = self.next_offset - self.committed
                raise BusError(
                    f"the spool {self._folder} is full, {waiting} records wait for the worker: "
                    "check its log to see why it is behind, or raise AIRTRACE_INGEST__MAX_SPOOL_MB"
                )
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        self._files[0].path.unlink()
        self._n_bytes -= self._files.pop(0).bounds[-1]

    def _index(self, offset: int) -> int:
        """Index of the file with this offset; the oldest file for an offset that is no longer kept."""
        return max(bisect_right(self._files, offset, key=lambda file: file.first) - 1, 0)

    def _read(self, offset: int) -> tuple[list[Delivery], int]:
        """A batch that starts at `offset`, or at the oldest one kept if that is newer; and the next offset to read.

        After the last record, the reader follows the tail in memory.
        """
        batch: list[Delivery] = []
        n_bytes = 0
        for number, frame in self._frames(offset):
            offset = number + 1
            n_bytes += len(frame)
            try:
                batch.append(Delivery(PARTITION, number, decode_frame(frame)))
            except WireError as error:
                self._reject(number, frame, str(error))
            if len(batch) == BATCH_RECORDS or n_bytes >= BATCH_BYTES:
                break
        if offset == self.next_offset:
            self._tail.follow(offset)
        return batch, offset

    def _frames(self, offset: int) -> Iterator[tuple[int, bytes]]:
        for kept in self._files[self._index(offset) :]:
            with kept.path.open("rb") as file:
                for number in range(max(offset, kept.first), kept.next_offset):
                    start, end = kept.bounds[number - kept.first : number - kept.first + 2]
                    file.seek(start)
                    yield number, file.read(end - start)

    def _commit(self, offset: int) -> None:
        offset = self._next_present(offset)
        if offset <= self.committed:
            return
        os.pwrite(self._committed_fd, COMMITTED % offset, 0)  # always as long: a kill leaves the old or the new one
        self.committed = offset
        self._rejected = {rejected for rejected in self._rejected if rejected >= offset}
        self._remove_old_files()

    def _next_present(self, offset: int) -> int:
        """The first offset from this one on that is neither a dead letter nor missing in a damaged file."""
        while True:
            index = self._index(offset)
            following = self._files[index + 1 : index + 2]
            if offset in self._rejected:
                offset += 1
            elif following and offset >= self._files[index].next_offset:
                offset = following[0].first
            else:
                return min(offset, self.next_offset)

    def _remove_old_files(self) -> None:
        """Removes files that were last written more than `keep_s` before the last committed one."""
        while (current := self._index(self.committed)) > 1:
            oldest, last_committed = self._files[0].path, self._files[current - 1].path
            if last_committed.stat().st_mtime - oldest.stat().st_mtime <= self._keep_s:
                break
            self._remove_oldest()

    def _reject(self, offset: int, frame: bytes, error: str) -> None:
        self._dead_letter(offset, frame, error)
        self._rejected.add(offset)
        self._commit(self.committed)

    def _dead_letter(self, offset: int, frame: bytes, error: str) -> None:
        path = self._folder / "rejected" / f"{offset:020}"
        if not path.exists():  # else a replay has met it again
            _replace(path, f"{error}\n".encode() + frame)
            metrics.REJECTED.inc()
            log.error("spool.rejected", offset=offset, error=error, kept=str(path))
            for oldest in sorted(path.parent.glob("[0-9]*"))[:-MAX_REJECTED]:
                oldest.unlink()


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"new-{path.name}")
    unfinished.write_bytes(content)
    unfinished.replace(path)
