"""The spool survives kills, torn files and full disks, and stays within its space."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import uuid
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from ingest.bus.port import Delivery
from ingest.bus.spool import FILE_BYTES, MAX_REJECTED, Spool
from ingest.errors import BusError
from ingest.wire import Encoded, Window

BIG = FILE_BYTES // 2  # two such windows fill a file
MAX_MB = 16
ALIEN = Encoded(b"1", (("airtrace", b"99"),), b"from the future")

# Publishes until it is killed, and prints each offset up to which everything is safe.
WRITER = """
import asyncio, pathlib, sys
from ingest.bus.spool import Spool
from ingest.wire import Gap, GapReason
async def main():
    async with Spool(pathlib.Path(sys.argv[1]), 16) as spool:
        while True:
            await spool.publish(Gap(1, spool.next_offset, spool.next_offset + 1, GapReason.STALLED))
            print(spool.next_offset, flush=True)
asyncio.run(main())
"""


def window(sequence: int, n_bytes: int = 64) -> Window:
    return Window(1, uuid.UUID(int=7), sequence, 0, sequence, random.Random(sequence).randbytes(n_bytes))


async def publish(spool: Spool, first: int, end: int, n_bytes: int = 64) -> None:
    for sequence in range(first, end):
        await spool.publish(window(sequence, n_bytes))


async def take(spool: Spool, n_records: int, begin: int | None = None) -> list[Delivery]:
    async def start_at(_: int) -> int | None:
        return begin

    taken: list[Delivery] = []
    async with asyncio.timeout(10), aclosing(spool.deliveries(start_at)) as batches:
        async for batch in batches:
            taken += batch
            if len(taken) >= n_records:
                break
    return taken


def sequences(deliveries: Sequence[Delivery]) -> list[int]:
    return [delivery.record.sequence for delivery in deliveries if isinstance(delivery.record, Window)]


def log_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.log"))


def aged(path: Path, age_s: float) -> None:
    at = path.stat().st_mtime - age_s
    os.utime(path, (at, at))


async def test_offsets_continue_after_a_restart(tmp_path: Path) -> None:
    for first in (0, 3):
        async with Spool(tmp_path, MAX_MB) as spool:
            assert spool.next_offset == first
            await publish(spool, first, first + 3)
            assert spool.next_offset == first + 3
    async with Spool(tmp_path, MAX_MB) as spool:
        assert [(each.partition, each.offset) for each in await take(spool, 6)] == [(0, n) for n in range(6)]


@pytest.mark.parametrize("lost_bytes", [1, 63, 64, 65, 200, "all but one"])
async def test_an_incomplete_last_record_is_cut_off_and_the_rest_is_kept(tmp_path: Path, lost_bytes: int | str) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 2)
        whole = log_files(tmp_path)[0].stat().st_size
        await publish(spool, 2, 3)
    (log,) = log_files(tmp_path)
    lost = log.stat().st_size - whole - 1 if lost_bytes == "all but one" else lost_bytes
    os.truncate(log, log.stat().st_size - lost)
    async with Spool(tmp_path, MAX_MB) as spool:
        assert spool.next_offset == 2
        assert log.stat().st_size == whole
        await publish(spool, 7, 8)
        assert sequences(await take(spool, 3)) == [0, 1, 7]


@pytest.mark.parametrize("tail", [bytes(500), b"\xff" * 500, b"\x01"])
async def test_garbage_after_the_last_record_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 2)
    with log_files(tmp_path)[0].open("ab") as log:
        log.write(tail)
    async with Spool(tmp_path, MAX_MB) as spool:
        assert spool.next_offset == 2
        await publish(spool, 2, 3)
        assert sequences(await take(spool, 3)) == [0, 1, 2]


@pytest.mark.parametrize("n_bytes", [1, 5000])
async def test_the_remains_of_a_record_on_a_full_disk_are_overwritten(tmp_path: Path, n_bytes: int) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 1)
        with log_files(tmp_path)[0].open("ab") as log:
            log.write(b"\x01" * n_bytes)
        await publish(spool, 1, 2)
        assert sequences(await take(spool, 2)) == [0, 1]
    async with Spool(tmp_path, MAX_MB) as spool:
        assert sequences(await take(spool, 2)) == [0, 1]


async def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, str(tmp_path), stdout=PIPE)
    assert writer.stdout is not None
    safe = 0
    while safe < 200:
        safe = int(await writer.stdout.readline())
    writer.kill()
    *whole_lines, _ = (await writer.stdout.read()).split(b"\n")
    await writer.wait()
    safe = int(whole_lines[-1]) if whole_lines else safe
    async with Spool(tmp_path, MAX_MB) as spool:
        assert spool.next_offset >= safe
        starts = [each.record.start for each in await take(spool, spool.next_offset)]
        assert starts == list(range(spool.next_offset))


async def test_a_record_damaged_on_disk_goes_to_the_dead_letters(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 4, BIG)
        with log_files(tmp_path)[0].open("r+b") as log:
            log.seek(BIG // 2)
            log.write(b"airtrace")
        assert sequences(await take(spool, 3)) == [1, 2, 3]
        assert (spool.committed, spool.next_offset) == (1, 4)
    (letter,) = (tmp_path / "rejected").iterdir()
    assert letter.read_bytes().startswith(b"damaged on disk")


async def test_a_dead_letter_does_not_count_as_uncommitted(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 1)
        for _ in range(3):
            await spool.append(ALIEN)
        await spool.commit({0: (await take(spool, 1))[0].offset + 1})
        assert spool.committed == 4 == spool.next_offset


async def test_dead_letters_are_bounded_and_the_newest_stay(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        for _ in range(MAX_REJECTED + 5):
            await spool.append(ALIEN)
        await publish(spool, 0, 1)
        await take(spool, 1)
    kept = sorted(int(path.name) for path in (tmp_path / "rejected").iterdir())
    assert kept == list(range(5, MAX_REJECTED + 5))


async def test_a_full_spool_says_what_to_do_and_continues_once_there_is_space(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        with pytest.raises(BusError, match=r"15 records wait for the worker.*AIRTRACE_INGEST__MAX_SPOOL_MB"):
            await publish(spool, 0, 20, BIG)
        assert spool.next_offset == 15
        assert sum(path.stat().st_size for path in log_files(tmp_path)) <= MAX_MB * 1_000_000
        await spool.commit({0: 4})
        await publish(spool, 15, 17, BIG)
        assert sequences(await take(spool, 13)) == list(range(4, 17))


async def test_uncommitted_records_take_the_space_of_those_kept_for_a_replay(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        for sequence in range(40):
            await publish(spool, sequence, sequence + 1, BIG)
            await spool.commit({0: sequence + 1})
        replayed = sequences(await take(spool, 12, begin=0))
    assert replayed[-1] == 39
    assert 12 <= len(replayed) <= 15  # there is space for 16, less at most one file


async def test_committed_records_are_kept_for_a_while_and_then_removed(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB, keep_s=120) as spool:
        await publish(spool, 0, 10, BIG)  # files of 2 records: 0-1, 2-3, 4-5, 6-7, 8-9
        for path, age_s in zip(log_files(tmp_path), (400, 200, 100, 50, 0), strict=True):
            aged(path, age_s)
        await spool.commit({0: 7})  # committed within 6-7, so what came 120 s before the end of 4-5 may go
        assert [int(path.stem) for path in log_files(tmp_path)] == [2, 4, 6, 8]
        await spool.commit({0: 9})
        assert [int(path.stem) for path in log_files(tmp_path)] == [4, 6, 8]
        assert sequences(await take(spool, 6, begin=0)) == [4, 5, 6, 7, 8, 9]


async def test_uncommitted_records_are_never_removed_however_old(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB, keep_s=0) as spool:
        await publish(spool, 0, 10, BIG)
        for n, path in enumerate(log_files(tmp_path)):
            aged(path, 10_000 - n)
        await spool.commit({0: 1})
        assert sequences(await take(spool, 9)) == list(range(1, 10))


async def test_offsets_are_not_reused_after_the_end_of_the_log_was_lost(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 5)
        await spool.commit({0: 5})
    os.truncate(log_files(tmp_path)[0], 10)
    async with Spool(tmp_path, MAX_MB) as spool:
        assert (spool.committed, spool.next_offset) == (5, 5)
        await publish(spool, 5, 6)
        assert [each.offset for each in await take(spool, 1, begin=0)] == [5]
    async with Spool(tmp_path, MAX_MB) as spool:
        assert sequences(await take(spool, 1)) == [5]


@pytest.mark.parametrize("content", [None, b"", b"\0\0", b"4x"])
async def test_a_lost_committed_offset_means_that_everything_comes_again(tmp_path: Path, content: bytes | None) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 5)
        await spool.commit({0: 4})
    if content is None:
        (tmp_path / "committed").unlink()
    else:
        (tmp_path / "committed").write_bytes(content)
    async with Spool(tmp_path, MAX_MB) as spool:
        assert sequences(await take(spool, 5)) == [0, 1, 2, 3, 4]


async def test_batches_are_bounded_in_records_and_in_bytes(tmp_path: Path) -> None:
    async with Spool(tmp_path, 64) as spool:
        await publish(spool, 0, 70)
        await publish(spool, 70, 90, BIG)
        async with aclosing(spool.deliveries(committed)) as batches:
            sizes = [len(await anext(batches)) for _ in range(4)]
    assert sizes == [64, 6 + 8, 8, 4]


async def committed(_: int) -> int | None:
    return None


async def test_a_reader_that_keeps_up_reads_no_file(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool, aclosing(spool.deliveries(committed)) as batches:
        await publish(spool, 0, 1)
        assert sequences(await anext(batches)) == [0]
        await publish(spool, 1, 2)
        for path in log_files(tmp_path):
            path.write_bytes(bytes(path.stat().st_size))
        assert sequences(await anext(batches)) == [1]
    assert list((tmp_path / "rejected").iterdir()) == []


async def test_a_reader_that_falls_behind_gets_every_record_once_and_in_order(tmp_path: Path) -> None:
    taken: list[int] = []
    async with (
        Spool(tmp_path, 64, tail_bytes=3 * BIG) as spool,
        aclosing(spool.deliveries(committed)) as batches,
    ):
        for n_new in (1, 2, 5, 1, 12, 3, 1, 1):  # more and less than the memory holds
            await publish(spool, spool.next_offset, spool.next_offset + n_new, BIG)
            while len(taken) < spool.next_offset - n_new // 2:
                taken += sequences(await anext(batches))
    assert taken == list(range(len(taken)))


async def test_an_unreadable_record_is_rejected_while_the_reader_keeps_up(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(10),
        Spool(tmp_path, MAX_MB) as spool,
        aclosing(spool.deliveries(committed)) as batches,
    ):
        await publish(spool, 0, 1)
        assert sequences(await anext(batches)) == [0]
        await spool.append(ALIEN)
        await publish(spool, 2, 3)
        assert sequences(await anext(batches)) == [2]
        await publish(spool, 3, 4)
        assert sequences(await anext(batches)) == [3]
        await spool.commit({0: 1})
        assert spool.committed == 2
    assert [path.name for path in (tmp_path / "rejected").iterdir()] == [f"{1:020}"]


async def test_one_record_that_fails_does_not_fail_those_that_wait_with_it(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        publishing = [spool.publish(window(0)), spool.publish(window(1, 17_000_000)), spool.publish(window(2))]
        results = await asyncio.gather(*publishing, return_exceptions=True)
        assert [type(result) for result in results] == [type(None), BusError, type(None)]
        assert sequences(await take(spool, 2)) == [0, 2]


async def test_a_cancelled_publish_leaves_the_log_in_order(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        async with asyncio.TaskGroup() as group:
            cancelled = group.create_task(spool.publish(window(0, BIG)), name="cancelled")
            await asyncio.sleep(0)  # it has handed its record to the thread
            cancelled.cancel()
            await publish(spool, 1, 3, BIG)
        taken = sequences(await take(spool, spool.next_offset))
    assert taken in ([0, 1, 2], [1, 2])  # the thread had started with it, or not
    async with Spool(tmp_path, MAX_MB) as spool:
        assert sequences(await take(spool, len(taken))) == taken


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BusError, match=r"the spool .*file/spool cannot be used \(Not a directory\)"):
        async with Spool(tmp_path / "file" / "spool", MAX_MB):
            pass


async def test_a_disk_that_fails_later_is_a_bus_error(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 1)
        log_files(tmp_path)[0].unlink()
        with pytest.raises(BusError, match="cannot be used"):
            await publish(spool, 1, 2)
        assert spool.next_offset == 1
