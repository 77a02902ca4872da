"""One process uses the home at a time, and the others learn why they cannot."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

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
# What versions before the library filelock did.
HOLD_BY_FLOCK = """
import fcntl, sys, pathlib
with (pathlib.Path(sys.argv[1]) / "lock").open("a+") as lock:
    fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(program: str, home: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the home until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def test_a_home_is_made_with_its_layout(tmp_path: Path) -> None:
    with held(tmp_path / "a" / "b"):
        assert json.loads((tmp_path / "a" / "b" / "home.json").read_text()) == {"layout": 1}


def test_a_second_process_is_refused_and_finds_the_first_by_its_address(tmp_path: Path) -> None:
    with another_process(HOLD, tmp_path) as other:
        with pytest.raises(HomeBusy, match=f"another airtrace command .*process {other.pid}"), held(tmp_path):
            pass
        assert running_at(tmp_path) == "http://127.0.0.1:1"
        other.communicate("")
    assert running_at(tmp_path) is None
    with held(tmp_path):
        pass


def test_a_killed_process_frees_the_home(tmp_path: Path) -> None:
    with another_process(HOLD, tmp_path) as other:
        other.kill()
        other.wait()
        assert (tmp_path / "run.json").exists(), "it had no time to clean up"
        assert running_at(tmp_path) is None
        with held(tmp_path):
            assert not (tmp_path / "run.json").exists()


def test_a_home_that_an_older_version_uses_is_busy(tmp_path: Path) -> None:
    with held(tmp_path):
        pass
    with another_process(HOLD_BY_FLOCK, tmp_path) as other:
        with pytest.raises(HomeBusy, match="another airtrace command"), held(tmp_path):
            pass
        with pytest.raises(HomeBusy):
            running_at(tmp_path)
        other.communicate("")


def test_an_older_version_is_refused_while_the_home_is_in_use(tmp_path: Path) -> None:
    with held(tmp_path):
        done = subprocess.run([sys.executable, "-c", HOLD_BY_FLOCK, str(tmp_path)], capture_output=True, text=True)
    assert "BlockingIOError" in done.stderr


def test_commands_that_ask_at_the_same_time_do_not_take_each_other_for_a_monitor(tmp_path: Path) -> None:
    with held(tmp_path):
        pass
    (tmp_path / "run.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": 2**22 + 1}))  # was killed
    asking = FileLock(tmp_path / "lock", thread_local=False)
    with asking:
        threading.Timer(0.05, asking.release).start()
        assert running_at(tmp_path) is None


def test_no_process_runs_in_a_home_that_does_not_exist(tmp_path: Path) -> None:
    assert running_at(tmp_path / "none") is None


def test_an_address_that_a_killed_process_left_is_ignored(tmp_path: Path) -> None:
    with held(tmp_path):
        pass
    (tmp_path / "run.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": 1}))
    assert running_at(tmp_path) is None


def test_a_home_whose_process_serves_no_api_is_busy(tmp_path: Path) -> None:
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
