"""What the report makes of right, wrong, late and missing matches."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from monitor.demo.program import Excerpt, Item, Kind, Program
from monitor.demo.report import compare, show

ON_AIR = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
A, B, C, X = (Path(f"/music/{name}.ogg") for name in "ABCX")


def item(kind, start_s, end_s, path=None, track_start_s=0.0):
    return Item(kind, start_s, end_s, Excerpt(path, track_start_s, end_s - start_s) if path else None)


PROGRAM = Program(
    catalog=(),
    unknown=(),
    items=(
        item(Kind.KNOWN, 0, 20, A, 30.0),
        item(Kind.UNKNOWN, 20, 40, X, 5.0),
        item(Kind.SPEECH, 40, 50),
        item(Kind.BED, 50, 80, B, 10.0),
        item(Kind.KNOWN, 77, 100, A, 60.0),
    ),
    duration_s=100.0,
)


def match(path, start_s, end_s, track_start_s, score=0.9):
    def instant(seconds):
        return (ON_AIR + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")

    return {
        "id": f"{path.stem}{start_s}",
        "stream": {"id": 1, "name": "demo"},
        "track": {"id": 1, "title": path.stem, "artist": None, "source": str(path)},
        "detector": "fingerprint",
        "state": "closed",
        "start": instant(start_s),
        "end": instant(end_s),
        "track_start_s": track_start_s,
        "track_end_s": track_start_s + end_s - start_s,
        "score": score,
    }


PERFECT = [match(A, 0, 20, 30.0), match(B, 50, 80, 10.0), match(A, 77, 100, 60.0)]


def test_a_perfect_report_has_no_errors():
    report = compare(PROGRAM, PERFECT, ON_AIR)
    summary = report.summary
    assert (summary.plays, summary.found, summary.false_claims, summary.duplicates) == (3, 3, 0, 0)
    assert (summary.precision, summary.recall, summary.f1) == (1.0, 1.0, 1.0)
    assert [row.start_error_s for row in report.rows if row.known] == [0.0, 0.0, 0.0]
    assert [row.position_error_s for row in report.rows if row.known] == [0.0, 0.0, 0.0]


def test_rows_follow_the_broadcast():
    rows = compare(PROGRAM, PERFECT, ON_AIR).rows
    assert [row.start_s for row in rows] == [0, 20, 40, 50, 77]
    assert [row.known for row in rows] == [True, False, False, True, True]


def test_nothing_reported_is_nothing_wrong_and_nothing_found():
    summary = compare(PROGRAM, [], ON_AIR).summary
    assert (summary.found, summary.false_claims, summary.precision, summary.recall, summary.f1) == (0, 0, 1.0, 0.0, 0.0)
    assert summary.clock_offset_s is None


def test_a_claim_on_unknown_music_is_false_and_named_beside_it():
    report = compare(PROGRAM, [*PERFECT, match(C, 22, 32, 0.0)], ON_AIR)
    assert report.summary.false_claims == 1
    assert report.rows[1].claims == ("C",)
    assert report.summary.precision == pytest.approx(73 / 83, abs=1e-4)
    assert report.summary.recall == 1.0


def test_the_right_track_at_the_wrong_time_is_a_false_claim():
    report = compare(PROGRAM, [match(B, 22, 32, 0.0)], ON_AIR)
    assert report.summary.found == 0
    assert report.rows[1].claims == ("B",)


def test_a_wrong_claim_during_a_known_item_leaves_that_item_found():
    rows = compare(PROGRAM, [*PERFECT, match(C, 5, 15, 0.0)], ON_AIR).rows
    assert rows[0].found
    assert rows[0].claims == ("C",)


def test_a_late_short_report_shows_its_errors():
    row = compare(PROGRAM, [match(A, 2.5, 18.0, 32.9)], ON_AIR).rows[0]
    assert row.start_error_s == pytest.approx(2.5)
    assert row.position_error_s == pytest.approx(0.4)
    assert row.reported_s == pytest.approx(15.5)


def test_a_play_in_two_pieces_is_one_play_and_one_duplicate():
    report = compare(PROGRAM, [match(A, 0, 8, 30.0), match(A, 7, 20, 37.0), *PERFECT[1:]], ON_AIR)
    assert (report.summary.found, report.summary.duplicates) == (3, 1)
    assert report.rows[0].reported_s == pytest.approx(20.0)
    assert report.summary.precision == 1.0


def test_two_plays_of_a_track_are_kept_apart():
    rows = compare(PROGRAM, [match(A, 77, 100, 60.0)], ON_AIR).rows
    assert not rows[0].found
    assert rows[4].found


def test_an_error_that_all_plays_share_is_the_clock_offset():
    late = [match(A, 0.7, 20.7, 30.0), match(B, 50.7, 80.7, 10.0), match(A, 77.7, 100.7, 60.0)]
    assert compare(PROGRAM, late, ON_AIR).summary.clock_offset_s == pytest.approx(-0.7)


def test_the_printed_report_is_plain_and_complete():
    out = io.StringIO()
    found_elsewhere = match(A, 0, 20, 90.0)
    show(compare(PROGRAM, [found_elsewhere, PERFECT[2], match(C, 41, 49, 0.0)], ON_AIR), Console(file=out, width=160))
    text = out.getvalue()
    assert "\x1b" not in text
    for expected in ("found, elsewhere in the track", "nothing, rightly", "WRONG: C", "MISSED", "2 of 3 plays found"):
        assert expected in text


def test_a_report_is_plain_values_for_json():
    values = compare(PROGRAM, PERFECT, ON_AIR).as_json()
    assert values["summary"]["found"] == 3
    assert values["rows"][1] == {
        "kind": "unknown music",
        "title": "X",
        "start_s": 20,
        "end_s": 40,
        "known": False,
        "found": False,
        "start_error_s": None,
        "position_error_s": None,
        "reported_s": None,
        "score": None,
        "n_matches": 0,
        "claims": (),
    }
