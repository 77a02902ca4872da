"""The live view without a terminal: a line for every match that opens or closes. With one: a panel."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from monitor.demo.program import Excerpt, Item, Kind, Program
from monitor.demo.screen import Screen

ON_AIR = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PROGRAM = Program(
    catalog=(),
    unknown=(),
    items=(
        Item(Kind.KNOWN, 0.0, 60.0, Excerpt(Path("/music/Wizz 3.ogg"), 30.0, 60.0)),
        Item(Kind.SPEECH, 60.0, 70.0),
    ),
    duration_s=70.0,
)


def match(state="open", end_s=12.0, title="Wizz 3"):
    def instant(seconds):
        return (ON_AIR + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")

    return {
        "id": "one",
        "stream": {"id": 1, "name": "demo"},
        "track": {"id": 1, "title": title, "artist": "Sean Hawk", "source": "/music/Wizz 3.ogg"},
        "detector": "fingerprint",
        "state": state,
        "start": instant(2.0),
        "end": instant(end_s),
        "track_start_s": 32.0,
        "track_end_s": 30.0 + end_s,
        "score": 0.934,
    }


class Elapsed:
    seconds = 5.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def elapsed():
    return Elapsed()


def screen(out, elapsed, *, terminal=False):
    console = Console(file=out, force_terminal=terminal, width=100, _environ={"TERM": "xterm-256color"})
    return Screen(PROGRAM, console, elapsed, lambda: ON_AIR)


def test_an_opened_and_a_closed_match_are_a_line_each(elapsed):
    out = io.StringIO()
    with screen(out, elapsed) as view:
        view.show([match()])
        elapsed.seconds = 9.0
        view.show([match(end_s=20.0)])  # extended: nothing to print
        view.tick()
        elapsed.seconds = 65.0
        view.show([match("closed", end_s=60.0)])
        view.show([match("closed", end_s=60.0)])
    station = "station: Wizz 3 (catalog track)"
    assert out.getvalue().splitlines() == [
        f" 0:05  playing  Sean Hawk - Wizz 3, since 0:02, at 0:32 of the track, score 0.93 | {station}",
        " 1:05  played   Sean Hawk - Wizz 3, 0:02-1:00, 0:32-1:30 of the track, score 0.93 | station: speech",
    ]


def test_a_match_first_seen_closed_has_both_lines(elapsed):
    out = io.StringIO()
    with screen(out, elapsed) as view:
        view.show([match("closed")])
    assert [line.split()[1] for line in out.getvalue().splitlines()] == ["playing", "played"]


def test_a_name_cannot_steer_the_terminal(elapsed):
    out = io.StringIO()
    with screen(out, elapsed) as view:
        view.show([match(title="[bold]evil\x1b[2J\n")])
    assert "\x1b" not in out.getvalue()
    assert "[bold]evil?[2J?" in out.getvalue()


def test_a_terminal_gets_a_panel_with_both_sides(elapsed):
    out = io.StringIO()
    with screen(out, elapsed, terminal=True) as view:
        view.tick()
        view.show([match()])
    text = out.getvalue()
    for expected in ("Airtrace demo", "nothing that it knows", "Sean Hawk - Wizz 3", "now at 0:42", "0:05 / 1:10"):
        assert expected in text
