"""`airtrace demo` through the installed command: what it recognizes, and how it ends when somebody stops it."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from monitor.demo.program import Recording
from tests.acceptance.command import CONTROL, Airtrace, Running

# It registers an hour of music, then broadcasts for a minute.
pytestmark = pytest.mark.timeout(1200)

NEAR_S = 1.0
WHOLE_S = 900.0
ENDING_S = 60.0  # the station closes its connections, windows are processed, PostgreSQL stops
FIRST_LINES_S = 240.0
LINE = re.compile(r"== .+|\d+/\d+ .+|   \d+/\d+ .+: .+, \d+ MB| ?\d+:\d\d  play(ing|ed) .+ \| station: .+")


@dataclass(frozen=True)
class Ended:
    """How an interrupted demo ended, and what it left running."""

    code: int
    said: str
    log: str
    left: list[str]


@dataclass(frozen=True)
class Broadcast:
    """A demo that was interrupted while registering, then one with the same home that ran to its end."""

    command: Airtrace
    stopped: Ended
    report: dict[str, Any]
    err: str


@pytest.fixture(scope="module")
def broadcast(tmp_path_factory: pytest.TempPathFactory, music: dict[str, Recording]) -> Iterator[Broadcast]:
    """Shared by all tests of this file, because it takes minutes."""
    folder = tmp_path_factory.mktemp("demo")
    command = Airtrace(folder / "home", folder)
    try:
        first = command.start("demo", "--seconds", 60)
        first.wait_for(lambda: re.search(r"^[3-9]/\d+ ", first.log, re.MULTILINE), FIRST_LINES_S)
        stopped = _interrupted(command, first)
        whole = command.start("demo", "--seconds", 60, "--json")
        assert whole.process.wait(WHOLE_S) == 0, whole.log
        yield Broadcast(command, stopped, json.loads(whole.out), whole.log)
    finally:
        command.end()


def test_all_plays_are_found_where_they_were_and_nothing_else_is_reported(broadcast: Broadcast) -> None:
    summary, rows = broadcast.report["summary"], broadcast.report["rows"]
    kinds = {row["kind"] for row in rows}
    assert kinds >= {"catalog track", "unknown music", "speech", "speech over catalog track"}
    assert summary["plays"] == summary["found"] >= 2
    assert summary["false_claims"] == 0
    assert summary["duplicates"] == 0
    for row in rows:
        assert row["claims"] == []
        if row["known"]:
            assert abs(row["position_error_s"]) <= NEAR_S, row
            assert abs(row["start_error_s"]) <= NEAR_S, row
            assert row["reported_s"] == pytest.approx(row["end_s"] - row["start_s"], abs=2 * NEAR_S)


def test_progress_is_plain_lines_beside_the_json(broadcast: Broadcast) -> None:
    lines = broadcast.err.splitlines()
    assert not CONTROL.search(broadcast.err), "control codes where there is no terminal"
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert lines[0].startswith("== music in ")
    assert any("playing" in line for line in lines)


def test_ctrl_c_while_registering_leaves_nothing_running_and_the_next_demo_continues(broadcast: Broadcast) -> None:
    _assert_clean(broadcast.stopped)
    assert re.search(r"== catalog of \d+ tracks, \d+ to register", broadcast.err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_listening_ends_it_and_all_that_it_started(broadcast: Broadcast, number: int) -> None:
    run = broadcast.command.start("demo", "--seconds", 60)
    run.wait_for(lambda: "playing" in run.out)
    _assert_clean(_interrupted(broadcast.command, run, number), number)
    assert "0 to register" in run.out, "the catalog of the run before was not kept"


def test_a_killed_demo_takes_its_monitor_with_it(broadcast: Broadcast) -> None:
    command = broadcast.command
    killed = command.start("demo", "--seconds", 60)
    killed.wait_for(lambda: "on the air" in killed.out)
    killed.kill()
    following = command.start("demo", "--seconds", 60)
    following.wait_for(lambda: "on the air" in following.out)
    _assert_clean(_interrupted(command, following))


def test_a_second_demo_reports_which_process_uses_the_home_and_a_second_ctrl_c_leaves_nothing_running(
    broadcast: Broadcast,
) -> None:
    command = broadcast.command
    run = command.start("demo", "--seconds", 60)
    run.wait_for(lambda: "on the air" in run.out)
    done = command("demo", "--seconds", 60, exits=4)
    assert done.err.splitlines()[-1].startswith("airtrace: another airtrace command (`airtrace run`, process ")
    os.killpg(run.process.pid, signal.SIGINT)
    _assert_clean(_interrupted(command, run))


def test_a_terminal_shows_a_panel_and_ctrl_c_restores_it(broadcast: Broadcast) -> None:
    with broadcast.command.on_terminal("demo", "--seconds", 60) as terminal:
        terminal.wait_for("Airtrace demo", FIRST_LINES_S)
        terminal.wait_for("now at", FIRST_LINES_S)  # a track that is on air
        terminal.press(b"\x03")
        assert terminal.process.wait(ENDING_S) == 130
    shown = terminal.shown
    assert "Traceback" not in shown
    assert shown.rstrip().endswith("airtrace: interrupted")
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is still hidden"
    assert broadcast.command.left() == []


def test_too_little_music_is_reported_in_one_line(airtrace: Airtrace, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, words in {empty: "no audio files", tmp_path / "missing": "not a directory"}.items():
        done = airtrace("demo", "--music", folder, exits=4)
        assert done.err.splitlines()[-1].startswith("airtrace: ")
        assert words in done.err
    airtrace("demo", "--seconds", 5, exits=None).complains("--seconds", code=2)


def _interrupted(command: Airtrace, run: Running, number: int = signal.SIGINT) -> Ended:
    """Sends the signal to the whole process group, as Ctrl-C does."""
    before = len(run.log)
    os.killpg(run.process.pid, number)
    code = run.process.wait(ENDING_S)
    log = (command.home / "demo" / "run.log").read_text()
    return Ended(code, run.log[before:], log, command.left())


def _assert_clean(ended: Ended, number: int = signal.SIGINT) -> None:
    assert ended.code == 128 + number
    assert ended.said.splitlines()[-1:] == ["airtrace: interrupted"]
    assert "Traceback" not in ended.said + ended.log
    assert "airtrace.stopped" in ended.log, f"its monitor did not end in order: {ended.log[-3000:]}"
    assert ended.left == []
