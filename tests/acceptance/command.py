"""Runs the installed `airtrace` and checks its output, its exit code and that it leaves nothing running."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode
from urllib.request import urlopen

T = TypeVar("T")

PROGRAM = Path(sys.executable).parent / "airtrace"
# How long a test waits before it fails, on a machine with much other work. On a free one a command takes two seconds,
# and a window is filled, sent, matched and written in five.
COMMAND_S = 300.0
START_S = 180.0
SOON_S = 180.0
STOP_S = 90.0
POLL_S = 0.1
# Reconnects and gaps within seconds; the defaults are for networks with outages of a minute.
PATIENCE = {
    "AIRTRACE_INGEST__BACKOFF_FIRST_S": "0.2",
    "AIRTRACE_INGEST__MAX_BACKOFF_S": "1",
    "AIRTRACE_INGEST__MAX_BURST_S": "6",
    "AIRTRACE_INGEST__CONNECT_TIMEOUT_S": "3",
    "AIRTRACE_INGEST__POLL_S": "0.2",
    "AIRTRACE_INGEST__STALL_TIMEOUT_S": "3",
}
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def complains(self, *words: str, code: int) -> str:
        """The single line on standard error that says why it failed."""
        assert self.code == code, f"exit code {self.code}, {code} is documented: {self.err or self.out}"
        lines = self.err.splitlines()
        assert len(lines) == 1, f"not one line: {self.err}"
        assert lines[0].startswith("airtrace: "), lines[0]
        for word in words:
            assert word in lines[0], f"{word!r} is not in {lines[0]!r}"
        return lines[0]


@dataclass
class Running:
    """An `airtrace` that runs until it is stopped."""

    process: subprocess.Popen[bytes]
    home: Path
    out_file: Path
    log_file: Path
    was_killed: bool = False

    @property
    def out(self) -> str:
        return self.out_file.read_text()

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def get(self, noun: str, **query: str) -> Any:
        """The API's answer: for waiting, because a command for each look would be most of the machine's work."""
        url = json.loads((self.home / "run.json").read_text())["url"]
        with urlopen(f"{url}/api/v1/{noun}?{urlencode(query)}", timeout=COMMAND_S) as answer:
            return json.load(answer)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's lines about one kind of event."""
        lines = (json.loads(line) for line in self.log.splitlines() if line.startswith("{"))
        return [line for line in lines if line.get("event") == name]

    def stop(self) -> None:
        """Asks it to end, and checks its exit code and log; does nothing if the test has killed it."""
        if self.was_killed:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it does not stop within {STOP_S:.0f} s: {self.log[-3000:]}") from None
        assert code == 0, f"exit code {code}: {self.log[-3000:]}"
        assert "Traceback" not in self.log, self.log[-5000:]

    def wait_for(self, truth: Callable[[], T], seconds: float = SOON_S) -> T:
        """Waits until `truth` returns something true, and returns that; fails if this process ends."""
        found = until(lambda: truth() or self.process.poll() is not None, seconds, lambda: self.log)
        assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.log[-3000:]}"
        return found  # type: ignore[return-value]

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self.was_killed = True
        self.process.kill()
        self.process.wait()


@dataclass
class Terminal:
    """A command on a terminal, and everything it has drawn there."""

    process: subprocess.Popen[bytes]
    descriptor: int
    shown: str = ""

    def read(self) -> None:
        """Reads until the command and all its children that hold the terminal have ended."""
        while True:
            try:
                data = os.read(self.descriptor, 65536)
            except OSError:  # how Linux says that no process writes to it anymore
                return
            if not data:
                return
            self.shown += data.decode(errors="replace")

    def press(self, key: bytes) -> None:
        os.write(self.descriptor, key)

    def wait_for(self, text: str, seconds: float) -> None:
        until(lambda: text in self.shown or self.process.poll() is not None, seconds, lambda: self.shown)
        assert text in self.shown, self.shown[-5000:]


@dataclass
class Airtrace:
    """The installed command with a home of its own; `folder` holds logs and temporary files."""

    home: Path
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    _started: list[Running] = field(default_factory=list)

    def __call__(self, *arguments: object, exits: int | None = 0, **settings: str) -> Done:
        """Runs a command to its end; `exits=None` leaves the exit code to the caller."""
        done = subprocess.run(
            [str(PROGRAM), *map(str, arguments)],
            env=self.environment(settings),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_S,
            check=False,
        )
        ended = Done(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert "Traceback" not in ended.err, ended.err
        assert exits is None or ended.code == exits, f"exit code {ended.code}: {ended.err or ended.out}"
        return ended

    def json(self, *arguments: object) -> Any:
        """What a command prints with `--json`."""
        return self(*arguments, "--json").json

    @contextmanager
    def running(self, **settings: str) -> Iterator[Running]:
        """`airtrace run`, once it serves."""
        run = self.start("run", "--port", "0", **{**PATIENCE, **settings})
        run.wait_for(lambda: run.events("airtrace.running"), START_S)
        try:
            yield run
        finally:
            run.stop()

    def start(self, *arguments: object, **settings: str) -> Running:
        """Starts a command that keeps running; `end` kills it if nothing else has ended it."""
        name = f"{arguments[0]}-{len(self._started)}"
        out_file, log_file = self.folder / f"{name}.out", self.folder / f"{name}.log"
        with out_file.open("wb") as out, log_file.open("wb") as log:
            process = subprocess.Popen(
                [str(PROGRAM), *map(str, arguments)],
                env=self.environment(settings),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,  # its own process group, for a Ctrl-C that is meant for it alone
            )
        self._started.append(Running(process, self.home, out_file, log_file))
        return self._started[-1]

    @contextmanager
    def on_terminal(self, *arguments: object, **settings: str) -> Iterator[Terminal]:
        """A command whose input and output is a terminal."""
        ours, its = pty.openpty()
        process = subprocess.Popen(
            [str(PROGRAM), *map(str, arguments)],
            env={**self.environment(settings), "COLUMNS": "120", "LINES": "40"},
            cwd=self.folder,
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C on it becomes a signal
        )
        os.close(its)
        terminal = Terminal(process, ours)
        reading = threading.Thread(target=terminal.read)
        reading.start()
        try:
            yield terminal
        finally:
            process.kill()
            process.wait()
            reading.join()
            os.close(ours)

    def environment(self, settings: dict[str, str]) -> dict[str, str]:
        """Environment without variables of this process's own; TMPDIR marks what the command starts: see `left`."""
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRTRACE_", "PYTHON"))}
        music = {name: value for name, value in os.environ.items() if name == "AIRTRACE_MUSIC_CACHE"}
        own = {"AIRTRACE_HOME": str(self.home), "TMPDIR": str(temporary), "TERM": "xterm-256color"}
        return {**clean, **music, **own, **self.settings, **settings}

    def left(self) -> list[str]:
        """Command lines of the processes that it, or a process it started, has started and that still run."""
        return [line for pid, line in _processes() if self._is_ours(pid, line)]

    def _is_ours(self, pid: int, line: str) -> bool:
        try:
            return f"TMPDIR={self.folder / 'tmp'}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # gone meanwhile, or a system without /proc
            return str(self.home) in line

    def end(self) -> None:
        """Kills whatever a failed test has left running, and fails if there was anything."""
        for run in self._started:
            if run.process.poll() is None:
                run.kill()
        left = self.left()
        for pid, line in _processes():
            if self._is_ours(pid, line):
                os.kill(pid, signal.SIGKILL)
        assert not left, f"still running: {left}"


def until(truth: Callable[[], T], seconds: float, seen: Callable[[], str] = str) -> T:
    """Waits until `truth` returns something true, and returns that; else fails with what `seen` returns."""
    deadline_s = time.monotonic() + seconds
    while not (value := truth()):
        assert time.monotonic() < deadline_s, f"not within {seconds:.0f} s: {seen()[-5000:]}"
        time.sleep(POLL_S)
    return value


def _processes() -> list[tuple[int, str]]:
    listed = subprocess.run(["ps", "-eww", "-o", "pid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [(int(row[0]), row[2]) for row in rows if len(row) == 3 and "Z" not in row[1]]
