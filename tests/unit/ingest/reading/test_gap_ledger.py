"""A stream's time without audio is accounted for, each stretch with its own reason."""

from __future__ import annotations

from ingest.reading.gap_ledger import GapLedger
from ingest.timeline import samples
from ingest.wire import Gap, GapReason

T0 = samples(1_700_000_000)


def test_each_reason_gets_a_gap_for_its_own_time() -> None:
    ledger = GapLedger(1, T0)
    ledger.open_gap(T0, GapReason.ENDED)
    ledger.open_gap(T0 + 100, GapReason.CONNECTING)
    ledger.open_gap(T0 + 200, GapReason.CONNECTING)
    ledger.open_gap(T0 + 300, GapReason.NOT_AUDIO)
    assert ledger.gaps(T0 + 50) == [Gap(1, T0, T0 + 50, GapReason.ENDED)]
    assert ledger.gaps(T0 + 350) == [
        Gap(1, T0 + 50, T0 + 100, GapReason.ENDED),
        Gap(1, T0 + 100, T0 + 300, GapReason.CONNECTING),
        Gap(1, T0 + 300, T0 + 350, GapReason.NOT_AUDIO),
    ]
    assert ledger.gaps(T0 + 350) == []
    assert ledger.gaps(T0 + 400) == [Gap(1, T0 + 350, T0 + 400, GapReason.NOT_AUDIO)]


def test_a_reason_starts_where_the_stream_was_last_heard() -> None:
    ledger = GapLedger(1, T0)
    ledger.open_gap(T0, GapReason.CONNECTING)
    ledger.heard(T0 + 500)
    ledger.open_gap(T0 + 400, GapReason.STALLED)
    assert ledger.gaps(T0 + 600) == [Gap(1, T0 + 500, T0 + 600, GapReason.STALLED)]


def test_a_closed_gap_has_one_reason_and_what_follows_has_its_own() -> None:
    ledger = GapLedger(1, T0)
    ledger.open_gap(T0 + 100, GapReason.ENDED)
    assert ledger.close_gap(T0 + 200, GapReason.STOPPED) == [Gap(1, T0, T0 + 200, GapReason.STOPPED)]
    ledger.open_gap(T0 + 210, GapReason.NOT_AUDIO)
    assert ledger.gaps(T0 + 300) == [Gap(1, T0 + 200, T0 + 300, GapReason.NOT_AUDIO)]


def test_a_gap_in_progress_grows_in_steps() -> None:
    ledger = GapLedger(1, T0)
    assert ledger.gaps_in_progress(T0 + samples(4.9)) == []
    assert ledger.gaps_in_progress(T0 + samples(5.1)) == [Gap(1, T0, T0 + samples(5.1), GapReason.CONNECTING)]
    assert ledger.gaps_in_progress(T0 + samples(6)) == []
