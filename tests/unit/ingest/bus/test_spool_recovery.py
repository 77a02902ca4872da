"""A damaged spool loses what is damaged and nothing else."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ingest.bus.port import Delivery
from ingest.bus.spool import FILE_BYTES, Spool
from ingest.bus.spool_files import decode_frame
from ingest.errors import BusError, WireError
from ingest.wire import Window

BIG = FILE_BYTES // 2  # two such windows fill a file
MAX_MB = 16


async def publish(spool: Spool, first: int, end: int, n_bytes: int = 64) -> None:
    """Publishes silence: what is left of it looks like empty frames."""
    for sequence in range(first, end):
        await spool.publish(Window(1, uuid.UUID(int=7), sequence, 0, sequence, bytes(n_bytes)))


async def anywhere(_: int) -> int:
    return 0


async def read_to_the_end(spool: Spool) -> list[int]:
    """Reads and commits what is kept; returns the sequences."""
    taken: list[Delivery] = []
    async with aclosing(spool.deliveries(anywhere)) as batches:
        while not taken or taken[-1].offset + 1 < spool.next_offset:
            taken += await anext(batches)
            await spool.commit({0: taken[-1].offset + 1})
    return [each.record.sequence for each in taken if isinstance(each.record, Window)]


def log_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.log"))


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def letters(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in (folder / "rejected").iterdir())


async def test_zeros_in_an_older_file_are_no_records(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 5, BIG)  # files of 2 records: 0-1, 2-3, 4
        second = spool._files[0].bounds[1]
    older, *_ = log_files(tmp_path)
    overwrite(older, second, bytes(older.stat().st_size - second))
    async with Spool(tmp_path, MAX_MB) as spool:
        assert [(file.first, file.next_offset) for file in spool._files] == [(0, 1), (2, 4), (4, 5)]
        assert await read_to_the_end(spool) == [0, 2, 3, 4]
        assert spool.committed == 5 == spool.next_offset
    assert letters(tmp_path) == []


async def test_no_file_has_records_that_the_next_one_starts_with(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 3, BIG)
    older, newest = log_files(tmp_path)
    with older.open("ab") as file:
        file.write(newest.read_bytes() * 2)
    async with Spool(tmp_path, MAX_MB) as spool:
        assert await read_to_the_end(spool) == [0, 1, 2]


async def test_remains_of_a_record_are_cut_off_before_a_new_file_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fills_the_disk(fd: int, parts: Sequence[bytes], at: int) -> int:
        return os.pwrite(fd, b"".join(parts)[:5000], at)

    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 1, FILE_BYTES - 1000)
        with monkeypatch.context() as full:
            full.setattr("os.pwritev", fills_the_disk)
            with pytest.raises(BusError, match="No space left"):
                await publish(spool, 1, 2, BIG)
        while len(log_files(tmp_path)) == 1:
            await publish(spool, spool.next_offset, spool.next_offset + 1)
        assert log_files(tmp_path)[0].stat().st_size == spool._files[0].bounds[-1]


async def test_nothing_is_committed_that_was_not_published(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 2)
        await spool.commit({0: 9})
        assert spool.committed == 2
        assert await spool.drain(1) == 0


@pytest.mark.parametrize("frame", [b"", bytes(12), bytes(40)])
def test_an_empty_frame_is_not_a_record(frame: bytes) -> None:
    with pytest.raises(WireError):
        decode_frame(frame)


async def test_a_flipped_bit_loses_one_record_of_the_newest_file(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 20)
        end = spool._files[0].bounds[7]
    overwrite(log_files(tmp_path)[0], end - 1, b"\1")
    async with Spool(tmp_path, MAX_MB) as spool:
        assert spool.next_offset == 20
        assert await read_to_the_end(spool) == [*range(6), *range(7, 20)]
        assert spool.committed == 20
    assert letters(tmp_path) == [6]


async def test_a_final_record_with_a_wrong_checksum_is_cut_off(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 5)
        _, *begins, end = spool._files[0].bounds
    (log,) = log_files(tmp_path)
    overwrite(log, begins[0] - 1, b"\1")
    overwrite(log, end - 1, b"\1")
    async with Spool(tmp_path, MAX_MB) as spool:
        assert spool.next_offset == 4
        assert log.stat().st_size == begins[-1]
        await publish(spool, 7, 8)
        assert await read_to_the_end(spool) == [1, 2, 3, 7]


async def test_a_committed_offset_after_the_end_means_that_everything_comes_again(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 5)
    (tmp_path / "committed").write_bytes(b"%020d" % 90)
    with capture_logs() as logs:
        async with Spool(tmp_path, MAX_MB) as spool:
            assert (spool.committed, spool.next_offset) == (0, 90)  # it may be true: no offset is reused
    assert [entry["event"] for entry in logs] == ["spool.committed_damaged"]
    async with Spool(tmp_path, MAX_MB) as spool:
        assert spool.committed == 0
        await publish(spool, 5, 6)
        assert await read_to_the_end(spool) == [0, 1, 2, 3, 4, 5]
        assert spool.committed == 91


async def test_missing_records_are_not_waited_for(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 5)
    (tmp_path / "committed").write_bytes(b"%020d" % 90)
    async with Spool(tmp_path, MAX_MB) as spool:
        await spool.commit({0: 5})
        assert await spool.drain(1) == 0


@pytest.mark.parametrize(
    "content",
    [b"9" * 20, b"0" * 19 + b"90", b"-5", b"garbage", b"garbage that is longer than twenty bytes", b"\xff\xfe\0"],
)
async def test_a_damaged_committed_offset_is_reported_once_and_repaired(tmp_path: Path, content: bytes) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 5)
    (tmp_path / "committed").write_bytes(content)
    with capture_logs() as logs:
        for _ in range(2):
            async with Spool(tmp_path, MAX_MB) as spool:
                assert spool.committed == 0
    assert [entry["event"] for entry in logs] == ["spool.committed_damaged"]
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 5, 6)
        await read_to_the_end(spool)
    assert (tmp_path / "committed").read_bytes() == b"%020d" % spool.next_offset
    async with Spool(tmp_path, MAX_MB) as spool:
        assert spool.committed == spool.next_offset


async def test_a_committed_offset_with_something_behind_it_is_cut(tmp_path: Path) -> None:
    async with Spool(tmp_path, MAX_MB) as spool:
        await publish(spool, 0, 5)
    (tmp_path / "committed").write_bytes(b"%020d\n\n\n\n" % 3)
    async with Spool(tmp_path, MAX_MB) as spool:
        assert spool.committed == 3
        assert (tmp_path / "committed").read_bytes() == b"%020d" % 3
