"""What the API says of how intervals sounded."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.api.sounds.schemas import MAX_SOUND, sounds_of
from monitor.storage.records import Coverage
from monitor.storage.sounds import StreamInterval

SECOND = 32_000


class Kept:
    """Notes what is asked for."""

    def __init__(self, *found: dict[str, int]) -> None:
        self.found = found
        self.asked: list[StreamInterval] = []

    async def sounds_within(self, intervals: Sequence[StreamInterval]) -> list[dict[str, int]]:
        self.asked = list(intervals)
        return list(self.found)


def covered(starts: int, ends: int) -> Coverage:
    return Coverage("radio", starts, ends, "covered", None, 7)


async def test_an_interval_says_what_most_of_it_was_and_how_much_was_listened_to() -> None:
    kept = Kept({"music": 20 * SECOND, "music_under_speech": 60 * SECOND}, {})
    said, nothing = await sounds_of(kept, [covered(0, 90 * SECOND), covered(90 * SECOND, 95 * SECOND)])
    assert said is not None
    assert (said.kind, said.listened_s) == ("music_under_speech", 80)
    assert said.shares == {"music": 0.25, "music_under_speech": 0.75}
    assert nothing is None  # not silence: nobody has listened


async def test_of_a_stream_that_was_covered_for_months_the_last_day_is_looked_at() -> None:
    kept = Kept({"speech": SECOND})
    await sounds_of(kept, [covered(0, 90 * MAX_SOUND)])
    assert kept.asked == [StreamInterval(7, 89 * MAX_SOUND, 90 * MAX_SOUND)]
