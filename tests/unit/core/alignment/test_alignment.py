"""Alignments: positions in a track at instants of a stream."""

from monitor.core.alignment.alignment import Alignment


def test_an_alignment_is_exact_at_clock_values_of_today_and_at_other_speeds() -> None:
    now = 32_000 * 1_800_000_000
    alignment = Alignment(now, 80_000.0, 1.02)
    assert alignment.position_at(now + 3_600 * 32_000) == 80_000 + 1.02 * 3_600 * 32_000
    assert alignment.distance_to(Alignment(now - 32_000, 80_000.0 - 1.02 * 32_000, 1.02)) == 0
