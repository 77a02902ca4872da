"""The tail holds what follows without a hole, within its space, and nothing else."""

from __future__ import annotations

import uuid

from ingest.bus.port import Delivery
from ingest.bus.spool_tail import SpoolTail
from ingest.wire import Gap, GapReason, Window


def delivery(offset: int, n_bytes: int = 10) -> Delivery:
    return Delivery(0, offset, Window(1, uuid.UUID(int=1), offset, 0, offset, bytes(n_bytes)))


def offsets(tail: SpoolTail, offset: int, max_records: int = 100, max_bytes: int = 1000) -> list[int]:
    return [each.offset for each in tail.take(offset, max_records, max_bytes)]


def following(offset: int, *deliveries: Delivery, max_bytes: int = 100) -> SpoolTail:
    tail = SpoolTail(max_bytes)
    tail.follow(offset)
    for each in deliveries:
        tail.add(each)
    return tail


def test_it_holds_nothing_before_it_follows() -> None:
    tail = SpoolTail(100)
    tail.add(delivery(0))
    assert not tail.is_next(1)
    assert offsets(tail, 0) == []


def test_what_follows_is_taken_once_and_in_order() -> None:
    tail = following(7, delivery(7), delivery(8))
    assert tail.is_next(9)
    assert offsets(tail, 7) == [7, 8]
    assert offsets(tail, 9) == []
    tail.add(delivery(9))
    assert offsets(tail, 9) == [9]


def test_records_are_taken_in_batches_bounded_in_records_and_bytes() -> None:
    tail = following(0, *map(delivery, range(8)))
    assert offsets(tail, 0, max_records=3) == [0, 1, 2]
    assert offsets(tail, 3, max_bytes=15) == [3, 4]
    assert offsets(tail, 5, max_bytes=1) == [5]


def test_after_a_record_that_has_no_space_it_holds_nothing_more() -> None:
    tail = following(0, delivery(0, 60), delivery(1, 60), delivery(2))
    assert not tail.is_next(3)
    assert offsets(tail, 0) == [0]
    tail.add(delivery(1))
    assert offsets(tail, 1) == []


def test_what_was_taken_makes_space() -> None:
    tail = following(0, delivery(0, 60))
    for offset in range(1, 5):
        assert offsets(tail, offset - 1) == [offset - 1]
        tail.add(delivery(offset, 60))
    assert offsets(tail, 4) == [4]


def test_a_missing_record_ends_it() -> None:
    tail = following(0, delivery(0), delivery(2))
    assert not tail.is_next(1)
    assert offsets(tail, 0) == [0]
    tail.add(delivery(1))
    assert offsets(tail, 1) == []


def test_what_it_holds_can_be_taken_after_its_end() -> None:
    tail = following(0, delivery(0))
    tail.end()
    tail.add(delivery(1))
    assert not tail.is_next(1)
    assert offsets(tail, 0) == [0]
    assert offsets(tail, 1) == []


def test_a_reader_elsewhere_gets_nothing_and_ends_it() -> None:
    tail = following(5, delivery(5))
    assert offsets(tail, 3) == []
    assert not tail.is_next(6)
    assert offsets(tail, 5) == []


def test_gaps_take_no_space() -> None:
    gaps = [Delivery(0, offset, Gap(1, 0, 1, GapReason.STALLED)) for offset in range(200)]
    assert len(offsets(following(0, *gaps), 0, max_records=1000)) == 200
