"""The connection to Milvus: a server, or a Milvus Lite file. Calls run in a thread, and errors are translated."""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any, TypeVar

from ingest.redact import redact
from monitor.errors import DependencyError
from monitor.storage.milvus_indexes import is_file

T = TypeVar("T")

# For one call. Without it, pymilvus retries for minutes, and whatever waits for its thread cannot be stopped.
CALL_TIMEOUT_S = 20
CONNECT_TIMEOUT_S = 10
LOAD_TIMEOUT_S = 300  # a server first reads all vectors into memory: 40 s for a million
# Every search of Milvus Lite scans all rows that are not in a file yet: 3 s after 200,000 inserts with its default of
# 128 MB. With 2 MB, which is 3,000 rows, it takes 0.05 s, and inserts are as fast. The library reads this on import.
os.environ.setdefault("MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES", "2000000")


class MilvusConnection:
    """A pymilvus client whose calls run one after another in a dedicated thread, so that none blocks the event loop."""

    def __init__(self, connect: Callable[[], Any], executor: Executor, call_timeout_s: float = CALL_TIMEOUT_S) -> None:
        """`connect`: returns the client; the first call connects."""
        self._connect = connect
        self._client: Any = None
        self._executor = executor
        self._call_timeout_s = call_timeout_s

    async def call(self, method: str, *arguments: Any, timeout_s: float | None = None, **options: Any) -> Any:
        """Calls a method of the client.

        Raises:
            DependencyError: Milvus refuses it, or does not answer in time.
        """
        return await self.run(lambda: self.call_now(method, *arguments, timeout_s=timeout_s, **options))

    async def run(self, action: Callable[[], T]) -> T:
        """Runs a function that uses `call_now`, with no other call in between.

        Raises:
            DependencyError: Milvus is unreachable, refuses a call, or does not answer in time.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, _translated, action)

    async def connect(self) -> None:
        """Connects now; else the first call does.

        Raises:
            DependencyError: the server is unreachable, or another process has opened the file.
        """
        await self.run(self._connected)

    def close_now(self, uri: str) -> None:
        """Disconnects from `uri`, if it is connected, in the calling thread, which is that of `run`."""
        if self._client is not None:
            self._client.close()
            _release(uri)

    def call_now(self, method: str, *arguments: Any, timeout_s: float | None = None, **options: Any) -> Any:
        """Calls a method of the client in the calling thread, which is that of `run`."""
        timeout = self._call_timeout_s if timeout_s is None else timeout_s
        return getattr(self._connected(), method)(*arguments, timeout=timeout, **options)

    def _connected(self) -> Any:
        if self._client is None:
            self._client = self._connect()
        return self._client


def _translated(action: Callable[[], T]) -> T:
    from grpc import RpcError  # type: ignore[import-untyped]
    from pymilvus.exceptions import MilvusException

    try:
        return action()
    except MilvusException as error:
        raise DependencyError(f"Milvus: {error.message}") from error
    except RpcError as error:  # pymilvus does not catch all of them, such as a timeout
        raise DependencyError(f"Milvus: {error.code().name} {error.details()}") from error


@asynccontextmanager
async def open_connection(
    uri: str,
    token: str | None,
    *,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    call_timeout_s: float = CALL_TIMEOUT_S,
    on_first_call: bool = False,
) -> AsyncIterator[MilvusConnection]:
    """Connects to a Milvus server, or opens a Milvus Lite file; `on_first_call`: only when it is used.

    Raises:
        DependencyError: the server is unreachable, or another process has opened the file.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="milvus") as executor:
        connection = MilvusConnection(partial(_connect, uri, token, connect_timeout_s), executor, call_timeout_s)
        if not on_first_call:
            await connection.connect()
        try:
            yield connection
        finally:  # in the thread, which may still be connecting
            await asyncio.get_running_loop().run_in_executor(executor, connection.close_now, uri)


def import_client() -> None:
    """Imports pymilvus, which takes a second: call this in a thread while other parts start."""
    import pymilvus  # noqa: F401


def _require_lite() -> None:
    if find_spec("milvus_lite") is None:
        raise DependencyError(
            "Milvus Lite is not installed: pip install 'airtrace[embedded]', or name a server in AIRTRACE_MILVUS__URI"
        )


def _connect(uri: str, token: str | None, timeout_s: float) -> Any:
    from pymilvus import MilvusClient  # takes a second: imported only when used
    from pymilvus.exceptions import MilvusException

    if is_file(uri):
        _require_lite()

    # These log a traceback for every failed call, which we raise as an error anyway. Milvus Lite's server also logs one
    # for each call that it does not implement and that pymilvus does not need.
    for name in ("pymilvus", "grpc._server", "milvus_lite.server_manager"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")  # on systems without a runtime directory
    try:
        return MilvusClient(uri, token=token or "", timeout=timeout_s)
    except MilvusException as error:
        if is_file(uri):
            raise DependencyError(f"{uri} cannot be opened: another process has opened it, or it is damaged") from error
        raise DependencyError(
            f"Milvus at {redact(uri)} cannot be reached: check that it is running, or set AIRTRACE_MILVUS__URI"
        ) from error


def _release(uri: str) -> None:
    if is_file(uri):
        # pymilvus releases the file only at the end of the process, when another one may already use the home.
        from milvus_lite.server_manager import server_manager_instance  # type: ignore[import-untyped]

        server_manager_instance.release_server(uri)
