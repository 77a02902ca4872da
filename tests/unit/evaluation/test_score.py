"""The score: seconds, plays, errors, latency and false plays, by examples and by properties that always hold."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.evaluation.errors import EvaluationError
from monitor.evaluation.plays import Result, Truth, shared_s
from monitor.evaluation.report import Deviation, Latency, Report, Seconds
from monitor.evaluation.score import score
from tests.unit.evaluation.rows import RECORDINGS, as_play, as_result, play, plays, result, results

FIXED = ("tp_s", "fp_s", "fn_s")


def scored(truth: list[Truth], found: list[Result], families: dict[str, str] | None = None) -> Report:
    return score(truth, found, RECORDINGS, families or {})


def same(one: Truth, other: Truth) -> bool:
    return (one.recording, one.track) == (other.recording, other.track)


def seconds(report: Report) -> list[float]:
    return [getattr(report.seconds, name) for name in FIXED]


# Seconds


def test_seconds_are_right_wrong_or_missed_without_tolerance() -> None:
    report = scored([play(10, 40)], [result(12, 45)])
    assert report.seconds == Seconds(28, 5, 2)
    assert report.seconds.precision == pytest.approx(28 / 33)
    assert report.seconds.recall == pytest.approx(28 / 30)
    assert report.seconds.f1 == pytest.approx(56 / 63)


def test_naming_another_track_is_wrong_and_misses_the_play() -> None:
    assert scored([play(10, 40, "x.ogg")], [result(10, 40, "y.ogg")]).seconds == Seconds(0, 30, 30)


def test_the_same_track_in_another_recording_is_wrong() -> None:
    assert scored([play(10, 40)], [result(10, 40, recording="b.wav")]).seconds == Seconds(0, 30, 30)


def test_simultaneous_tracks_are_counted_separately() -> None:
    report = scored([play(0, 20, "x.ogg"), play(10, 30, "y.ogg")], [result(0, 30, "x.ogg")])
    assert report.seconds == Seconds(20, 10, 20)


def test_overlapping_results_are_counted_once() -> None:
    assert scored([play(0, 20)], [result(0, 15), result(5, 25)]).seconds == Seconds(20, 5, 0)


def test_precision_needs_results_and_recall_needs_plays() -> None:
    silent, unknown = scored([play(0, 20)], []), scored([], [result(0, 20)])
    assert (silent.seconds.precision, silent.seconds.recall, silent.seconds.f1) == (None, 0, 0)
    assert (unknown.seconds.precision, unknown.seconds.recall, unknown.seconds.f1) == (0, None, 0)
    assert scored([], []).seconds.f1 is None


def test_members_of_a_family_count_as_the_same_track() -> None:
    truth, found = [play(0, 20, "x.ogg")], [result(0, 10, "x edit.ogg"), result(10, 20, "x live.ogg")]
    families = {"x.ogg": "x", "x edit.ogg": "x", "x live.ogg": "another"}
    assert scored(truth, found, families).seconds == Seconds(10, 10, 10)
    assert scored(truth, found, {"x edit.ogg": "x.ogg"}).seconds == Seconds(10, 10, 10)


# Kinds and bands


def test_a_kind_has_the_seconds_of_its_plays_and_of_their_results() -> None:
    truth = [play(0, 20, kind="clear"), play(50, 80, kind="bed", snr_db=-3)]
    report = scored(truth, [result(0, 25), result(60, 80), result(200, 210), result(50, 80, "y.ogg")])
    kinds = {row.name: row for row in report.kinds}
    assert list(kinds) == ["bed", "clear"]
    assert kinds["clear"].seconds == Seconds(20, 5, 0)
    assert kinds["bed"].seconds == Seconds(20, 0, 10)
    assert report.false_play_s == 40
    assert report.seconds == Seconds(40, 45, 10)


@pytest.mark.parametrize(
    ("snr_db", "band"),
    [
        (None, "clear"),
        (0.1, ">0 dB"),
        (0, "0 to -6 dB"),
        (-6, "0 to -6 dB"),
        (-6.1, "-6 to -12 dB"),
        (-12, "-6 to -12 dB"),
        (-12.1, "-12 to -18 dB"),
        (-18, "-12 to -18 dB"),
        (-18.1, "below -18 dB"),
    ],
)
def test_a_play_is_in_the_band_of_its_snr(snr_db: float | None, band: str) -> None:
    (row,) = scored([play(0, 20, snr_db=snr_db)], [result(0, 15)]).bands
    assert (row.name, row.plays, row.found, row.seconds.recall) == (band, 1, 1, 0.75)


def test_plays_of_five_seconds_or_more_are_also_counted_separately() -> None:
    report = scored([play(0, 5), play(10, 14.9), play(20, 30)], [result(11, 14), result(20, 31)])
    assert (report.all.plays, report.all.found) == (3, 2)
    assert (report.long.plays, report.long.found) == (2, 1)
    assert report.long.seconds == Seconds(10, 1, 5)
    assert report.missed == (play(0, 5),)


# Plays


def test_reports_per_found_play_ignore_missed_and_false_plays() -> None:
    truth = [play(0, 20), play(50, 80), play(100, 120)]
    found = [result(0, 8), result(9, 14), result(15, 20), result(50, 80), result(200, 210)]
    report = scored(truth, found)
    assert (report.all.found, report.reports_per_found_play) == (2, 2.0)
    assert report.false_plays == (found[-1],)


def test_a_result_belongs_to_the_play_that_it_overlaps_most() -> None:
    report = scored([play(0, 20), play(20, 40)], [result(0, 21), result(20, 40)])
    assert report.reports_per_found_play == 1.0
    assert report.start == Deviation(2, 0, 0, 0)
    assert report.end == Deviation(2, 0.5, pytest.approx(0.95), 0.5)  # type: ignore[arg-type]


def test_a_piece_of_two_overlapping_plays_counts_in_both_rows() -> None:
    report = scored([play(0, 30, kind="music"), play(10, 20, kind="bed")], [result(0, 30)])
    assert {row.name: row.seconds for row in report.kinds} == {"music": Seconds(30, 0, 0), "bed": Seconds(10, 0, 0)}
    assert report.seconds == Seconds(30, 0, 0)


def test_of_two_overlapping_plays_a_result_belongs_to_the_better_covered_one() -> None:
    report = scored([play(0, 30), play(10, 20)], [result(0, 30), result(10, 20)])
    assert report.reports_per_found_play == 1.0
    assert report.end == Deviation(2, 0, 0, 0)


def test_errors_refer_to_the_first_start_and_the_last_end() -> None:
    report = scored([play(10, 40)], [result(25, 39, at_s=15), result(12, 20, at_s=2)])
    assert report.start == Deviation(1, 2, 2, 2)
    assert report.end == Deviation(1, 1, 1, -1)


def test_errors_have_a_size_and_a_bias() -> None:
    truth = [play(100 * i, 100 * i + 50) for i in range(5)]
    found = [result(100 * i + off, 100 * i + 50) for i, off in enumerate((-1, -0.5, 0.1, 0.2, 3))]
    report = scored(truth, found)
    assert report.start is not None
    assert report.start.median_s == pytest.approx(0.5)
    assert report.start.p95_s == pytest.approx(2.6)
    assert report.start.bias_s == pytest.approx(0.1)


def test_the_position_is_compared_at_the_reported_start() -> None:
    late = [result(14, 40, at_s=24.3)]  # after 4 s at speed 1.05 the true position is 24.2
    report = scored([play(10, 40, at_s=20, speed=1.05)], late)
    assert report.position is not None
    assert report.position.bias_s == pytest.approx(0.1)


def test_another_member_of_the_family_has_no_position_error() -> None:
    report = scored([play(10, 40)], [result(10, 40, "y.ogg", at_s=50)], {"x.ogg": "f", "y.ogg": "f"})
    assert report.all.found == 1
    assert report.position is None


# False plays


def test_the_false_play_rate_uses_recordings_without_plays() -> None:
    found = [result(50, 60), result(0, 5, recording="b.wav"), result(9, 19, recording="b.wav"), result(0, 20)]
    report = scored([play(0, 20)], found)
    assert len(report.false_plays) == 3
    assert report.false_play_s == 25
    assert (report.unknown_s, report.unknown_false_plays) == (9000, 2)
    assert report.false_plays_per_hour == pytest.approx(2 / 2.5)


def test_without_such_recordings_there_is_no_rate() -> None:
    report = score([play(0, 20)], [result(50, 60)], {"a.wav": 100.0})
    assert (report.unknown_s, report.false_plays_per_hour) == (0, None)


# Latency


def test_latency_is_the_time_from_the_start_of_a_play_to_its_first_report() -> None:
    truth = [play(100, 200), play(300, 400), play(500, 600, snr_db=-6), play(700, 800)]
    found = [
        result(102, 150, reported_s=104),
        result(150, 200, reported_s=152),
        result(300, 400, reported_s=302),
        result(510, 600, reported_s=515),
        result(700, 800),
    ]
    report = scored(truth, found)
    assert report.latency_clear == Latency(2, 3, pytest.approx(3.9))  # type: ignore[arg-type]
    assert report.latency_covered == Latency(1, 15, 15)


def test_latency_is_unknown_without_times_of_reports() -> None:
    report = scored([play(100, 200)], [result(100, 200)])
    assert (report.latency_clear, report.latency_covered) == (None, None)


# Invalid input


def test_a_row_of_an_unknown_recording_is_rejected() -> None:
    with pytest.raises(EvaluationError, match=r"truth: d\.wav \(and 1 more\) is not"):
        scored([play(0, 1, recording="d.wav"), play(0, 1, recording="e.wav")], [])
    with pytest.raises(EvaluationError, match=r"results: d\.wav is not among the recordings: add"):
        scored([], [result(0, 1, recording="d.wav")])


# Properties


@given(plays)
def test_perfect_results_have_no_errors(truth: list[Truth]) -> None:
    report = scored(truth, [as_result(each) for each in truth])
    perfect = 1.0 if truth else None
    for row in (report.all, *report.kinds, *report.bands):
        assert row.found == row.plays
        assert (row.seconds.precision, row.seconds.recall, row.seconds.f1) == (perfect, perfect, perfect)
    assert report.reports_per_found_play == perfect
    for off in (report.start, report.end, report.position):
        assert off == (Deviation(len(truth), 0, 0, 0) if truth else None)
    assert (report.missed, report.false_plays, report.false_play_s) == ((), (), 0)


@given(plays, results, st.data())
def test_splitting_a_result_keeps_the_seconds(truth: list[Truth], found: list[Result], data: st.DataObject) -> None:
    whole = [*found, result(5, 25)]
    cut_s = data.draw(st.floats(5.001, 24.999))
    pieces = [*found, result(5, cut_s), result(cut_s, 25, at_s=cut_s - 5)]
    assert seconds(scored(truth, pieces)) == pytest.approx(seconds(scored(truth, whole)), abs=1e-9)


@given(plays, results)
def test_exchanging_truth_and_results_exchanges_precision_and_recall(truth: list[Truth], found: list[Result]) -> None:
    one = scored(truth, found).seconds
    other = scored([as_play(each) for each in found], [as_result(each) for each in truth]).seconds
    assert one == Seconds(other.tp_s, other.fn_s, other.fp_s)
    assert (one.precision, one.recall) == (other.recall, other.precision)
    assert one.f1 == pytest.approx(other.f1)


@given(plays, results, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    truth: list[Truth], found: list[Result], chance: st.random.Random
) -> None:
    shuffled = list(truth), list(found)
    for rows in shuffled:
        chance.shuffle(rows)  # type: ignore[arg-type]
    one, other = scored(truth, found), scored(*shuffled)
    assert dataclasses.asdict(one.all) == dataclasses.asdict(other.all)
    assert (one.kinds, one.bands, one.start, one.end) == (other.kinds, other.bands, other.start, other.end)


@given(plays, results)
def test_the_rows_of_a_table_add_up(truth: list[Truth], found: list[Result]) -> None:
    apart = [  # overlapping plays of a track count in both rows
        each
        for i, each in enumerate(truth)
        if not any(same(each, other) and shared_s(each, other) for other in truth[:i])
    ]
    report = scored(apart, found)
    for rows in (report.kinds, report.bands):
        assert sum(row.plays for row in rows) == len(apart)
        assert sum(row.found for row in rows) == report.all.found
        for name in ("tp_s", "fn_s"):
            assert sum(getattr(row.seconds, name) for row in rows) == getattr(report.seconds, name)
        assert sum(row.seconds.fp_s for row in rows) + report.false_play_s >= report.seconds.fp_s


@given(results)
def test_without_plays_every_result_is_false(found: list[Result]) -> None:
    report = scored([], found)
    assert len(report.false_plays) == report.unknown_false_plays == len(found)
    assert report.seconds.fp_s == report.false_play_s
