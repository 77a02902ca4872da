"""The coverage ledger as batches write it."""

from __future__ import annotations

import itertools

from monitor.storage.records import Interval
from monitor.storage.storage import Storage
from tests.service.storage.samples import INFO, SECOND, START, a_stream, batch


async def test_coverage_has_no_holes_and_joins_equal_neighbors(storage: Storage) -> None:
    stream = await a_stream(storage)
    s = [START + i * SECOND for i in range(8)]
    pieces = [
        (Interval(s[0], s[1]), Interval(s[1], s[2])),
        (Interval(s[2], s[3], "stalled"),),
        (Interval(s[3], s[4], "stalled"), Interval(s[4], s[5], "ended")),
        (Interval(s[5], s[6]),),
        (Interval(s[6], s[7]),),
    ]
    position: int | None = None
    for piece in pieces:
        await storage.batches.write(batch(stream, position, piece[-1].ends, *piece), INFO)
        position = piece[-1].ends
    ledger = [(c.starts, c.ends, c.reason) for c in reversed(await storage.coverage.list("radio-one"))]
    assert ledger == [(s[0], s[2], None), (s[2], s[4], "stalled"), (s[4], s[5], "ended"), (s[5], s[7], None)]
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ledger))


async def test_coverage_of_different_streams_is_not_joined(storage: Storage) -> None:
    one, two = await a_stream(storage), await a_stream(storage, "radio-two")
    await storage.batches.write(batch(one, None, START + SECOND, Interval(START, START + SECOND)), INFO)
    await storage.batches.write(
        batch(two, None, START + 2 * SECOND, Interval(START + SECOND, START + 2 * SECOND)), INFO
    )
    assert {c.stream_name: (c.starts, c.ends) for c in await storage.coverage.list()} == {
        "radio-one": (START, START + SECOND),
        "radio-two": (START + SECOND, START + 2 * SECOND),
    }


async def test_a_stream_with_many_gaps_leaves_room_for_the_others(storage: Storage) -> None:
    one, two = await a_stream(storage), await a_stream(storage, "radio-two")
    s = [START + i * SECOND for i in range(8)]
    many = (
        Interval(before, after, "ended" if i % 2 else "stalled")
        for i, (before, after) in enumerate(itertools.pairwise(s))
    )
    await storage.batches.write(batch(one, None, s[7], *many), INFO)
    await storage.batches.write(batch(two, None, s[7], Interval(s[5], s[7])), INFO)
    newest = [(c.stream_name, c.starts) for c in await storage.coverage.list(limit=3)]
    assert newest == [("radio-one", s[6]), ("radio-one", s[5]), ("radio-two", s[5])]
