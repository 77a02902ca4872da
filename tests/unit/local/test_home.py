"""The home belongs to one process at a time, and says clearly when it cannot be used."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.errors import HomeBusy, HomeError, HomeTooNew
from monitor.local.home import held, running_at

HOLD = """
import sys, pathlib
from monitor.local.home import held
with held(pathlib.Path(sys.argv[1])) as home:
    with home.announced("http://127.0.0.1:1"):
        print("held", flush=True)
        sys.stdin.read()
"""


def test_a_home_is_made_with_its_layout(tmp_path: Path) -> None:
    with held(tmp_path / "a" / "b"):
        assert json.loads((tmp_path / "a" / "b" / "home.json").read_text()) == {"layout": 1}


def test_a_second_process_is_refused_and_finds_the_first_by_its_address(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(HomeBusy, match="another airtrace command"), held(tmp_path):
            pass
        assert running_at(tmp_path) == "http://127.0.0.1:1"
        other.communicate("")
    assert running_at(tmp_path) is None
    with held(tmp_path):
        pass


def test_nobody_runs_in_a_home_that_is_not_there(tmp_path: Path) -> None:
    assert running_at(tmp_path / "none") is None


def test_an_address_left_by_a_killed_process_is_not_believed(tmp_path: Path) -> None:
    with held(tmp_path):
        pass
    (tmp_path / "run.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": 1}))
    assert running_at(tmp_path) is None


def test_a_home_that_serves_nobody_is_busy(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(HomeBusy):
        running_at(tmp_path)


def test_a_newer_home_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home.json").write_text(json.dumps({"layout": 99}))
    with pytest.raises(HomeTooNew, match="newer Airtrace"), held(tmp_path):
        pass


def test_a_damaged_home_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home.json").write_text("{")
    with pytest.raises(HomeError, match="damaged"), held(tmp_path):
        pass


def test_a_home_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(HomeError, match="AIRTRACE_HOME"), held(file / "home"):
        pass
    with pytest.raises(HomeError, match="AIRTRACE_HOME"), held(Path("/proc/airtrace")):
        pass
