"""What intervals of streams sounded like, from the passages that PANNs tagged."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.api.similarity.intervals import MAX_SAMPLES, sounds_of
from monitor.storage.records import Coverage
from monitor.storage.tables.sounds import StreamInterval

SECOND = 32_000


class FakeSounds:
    """The table of passages: returns what it is given and remembers the intervals it was asked for."""

    def __init__(self, *found: dict[str, int]) -> None:
        self.found = found
        self.asked: list[StreamInterval] = []

    async def within(self, intervals: Sequence[StreamInterval]) -> list[dict[str, int]]:
        self.asked = list(intervals)
        return list(self.found)


def covered(starts: int, ends: int) -> Coverage:
    return Coverage("radio", starts, ends, "covered", None, 7)


async def test_an_interval_names_its_most_frequent_kind_and_how_much_was_analyzed() -> None:
    table = FakeSounds({"music": 20 * SECOND, "music_under_speech": 60 * SECOND}, {})
    first, second = await sounds_of(table, [covered(0, 90 * SECOND), covered(90 * SECOND, 95 * SECOND)])
    assert first is not None
    assert (first.kind, first.analyzed_s) == ("music_under_speech", 80)
    assert first.shares == {"music": 0.25, "music_under_speech": 0.75}
    assert second is None  # unknown, which is not silence


async def test_only_the_last_day_of_months_of_coverage_is_read() -> None:
    table = FakeSounds({"speech": SECOND})
    await sounds_of(table, [covered(0, 90 * MAX_SAMPLES)])
    assert table.asked == [StreamInterval(7, 89 * MAX_SAMPLES, 90 * MAX_SAMPLES)]
